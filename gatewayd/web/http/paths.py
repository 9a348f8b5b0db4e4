"""Each path has one spelling, so that what a proxy in front of us lets through by its path is what is asked here. Pure."""

import re
from typing import Final

PROBE_PATHS: Final = ("/health", "/healthz", "/readyz")
"""The paths that load balancers ask (api/health.py answers). They take no connection slot and may name any Host."""

# RFC 3986, section 2.3: an escape of an unreserved character is another spelling of it. An escaped slash, backslash or control
# character is none of ours.
_OTHER_SPELLING: Final = re.compile(
    rb"//|%(?![0-9A-Fa-f]{2})|%(?:2[DEF]|3[0-9]|4[1-9A-F]|5[0-9ACF]|6[1-9A-F]|7[0-9AEF]|[01][0-9A-F])", re.I
)


def is_one_spelling(raw_path: bytes) -> bool:
    """Whether a path, without its query and as it was sent, is written as we write it."""
    return _OTHER_SPELLING.search(raw_path) is None
