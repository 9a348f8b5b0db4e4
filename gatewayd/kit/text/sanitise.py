"""Makes every incoming and outgoing text safe: afterwards it can be encoded, stored and sent anywhere."""

import re

_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_END = re.compile("\r\n?")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f]")
# What no platform shows: without one other character a message is empty to the reader, and Telegram refuses it
# ("message text is empty"). White space, controls, zero-width and bidi marks, fillers, variation selectors, tags.
_VISIBLE = re.compile(
    "[^\\s\x00-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufffc\U000e0000-\U000e0fff]"
)


def sanitise(text: str) -> str:
    """Make any text safe to encode and to send.

    A lone surrogate (JSON can carry one) becomes U+FFFD, CR LF and CR become LF, any other C0 control character but tab
    and LF becomes a space. Idempotent, and never longer than the input.
    """
    if "\r" in text:
        text = _LINE_END.sub("\n", text)
    if not text.isprintable():  # a cheap test that nearly every short text passes
        text = _CONTROL.sub(" ", _SURROGATE.sub("\ufffd", text))
    return text


def is_blank(text: str) -> bool:
    """True when a reader would see nothing: only white space and invisible characters, or nothing at all."""
    return _VISIBLE.search(text) is None
