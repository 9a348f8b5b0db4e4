"""Halves of surrogate pairs in JSON text. Pure."""

import re
from typing import Final

# A run of backslashes is even before an escape: what follows an odd one is text. After \u, D800 to DBFF is the first half of a
# pair and DC00 to DFFF the second (RFC 8259, section 7).
_SUSPICIOUS: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE: Final = re.compile(
    rb"(?<!\\)((?:\\\\)*)(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
_PAIR_LENGTH: Final = 12


def mend_surrogates(data: bytes) -> bytes:
    """JSON text in which each escape of half a surrogate pair is one of U+FFFD; pairs stay, and so does all else.

    JSON allows a half (JavaScript writes one when it cuts a text in the middle of an emoji), UTF-8 does not, and msgspec refuses
    the whole text. The time is linear in the bytes, for any bytes.
    """
    return _ESCAPE.sub(_mended, data) if _SUSPICIOUS.search(data) else data


def _mended(match: re.Match[bytes]) -> bytes:
    return match[0] if len(match[2]) == _PAIR_LENGTH else match[1] + rb"\ufffd"
