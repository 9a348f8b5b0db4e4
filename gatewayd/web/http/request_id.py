"""Request ids: each response (``X-Request-Id``) and the log lines of its request carry the same id. A client, or a proxy in
front, may send its own."""

import re
import secrets
from collections.abc import Iterable
from typing import Final

HEADER: Final = "X-Request-Id"
STATE: Final = "gatewayd.request_id"
"""The key of the running request's id in the state of a connection."""
FIELD: Final = "request_id"
"""The key of the id in log lines."""
_NAME: Final = HEADER.lower().encode()
# The ids of proxies: hex (nginx), UUIDs (Envoy), "Root=1-67891233-abcdef" (AWS). No character that a log or a shell interprets.
_WELL_FORMED: Final = re.compile(rb"[A-Za-z0-9._:=/+@-]{1,128}\Z")


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id that the client sent, if it is well-formed; else a new one. Names of headers are in lower case."""
    for name, value in headers:
        if name == _NAME and _WELL_FORMED.match(value):
            return value.decode("ascii")
    return new_request_id()


def new_request_id() -> str:
    return secrets.token_hex(8)
