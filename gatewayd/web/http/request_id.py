"""One id for each request: in its answer (``X-Request-Id``) and in the log lines that it leads to, so that the one is found by
the other. A client, or a proxy in front, may bring its own."""

import re
import secrets
from collections.abc import Iterable
from typing import Final

HEADER: Final = "X-Request-Id"
STATE: Final = "gatewayd.request_id"
"""Where the state of a connection holds the id of the request under way."""
FIELD: Final = "request_id"
"""What it is called in log lines."""
_NAME: Final = HEADER.lower().encode()
# What proxies make: hex (nginx), UUIDs (Envoy), "Root=1-67891233-abcdef" (AWS). Nothing that a log or a shell reads as more.
_WELL_FORMED: Final = re.compile(rb"[A-Za-z0-9._:=/+@-]{1,128}\Z")


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The client's, where it sent one that is well-formed; else a new one. Names of headers are in lower case."""
    for name, value in headers:
        if name == _NAME and _WELL_FORMED.match(value):
            return value.decode("ascii")
    return new_request_id()


def new_request_id() -> str:
    return secrets.token_hex(8)
