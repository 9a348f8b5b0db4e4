"""Each path has one spelling, so that a proxy in front and gatewayd read the same path. Pure."""

import re
from typing import Final

PROBE_PATHS: Final = ("/health", "/healthz", "/readyz")
"""The paths that load balancers ask (api/health.py answers). They take no connection slot and may name any Host."""

# RFC 3986, section 2.3: an escaped unreserved character is another spelling of it. No path here has an escaped slash,
# backslash or control character.
_OTHER_SPELLING: Final = re.compile(
    rb"//|%(?![0-9A-Fa-f]{2})|%(?:2[DEF]|3[0-9]|4[1-9A-F]|5[0-9ACF]|6[1-9A-F]|7[0-9AEF]|[01][0-9A-F])", re.I
)


def is_one_spelling(raw_path: bytes) -> bool:
    """Whether a path, as it was sent and without its query, has the one spelling."""
    return _OTHER_SPELLING.search(raw_path) is None
