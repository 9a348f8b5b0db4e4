"""Text of other people, made safe to show: a character that a reader cannot see is written as its number."""

from typing import Final

UNSEEN: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
"""Characters that Python calls printable and no screen shows: Default_Ignorable_Code_Point of Unicode's
DerivedCoreProperties.txt, and the empty braille pattern."""


def is_visible(char: str) -> bool:
    """Whether a screen shows the character. The only visible blank is the space: a reader cannot tell another blank from it."""
    return char.isprintable() and char not in UNSEEN


def visible(text: str) -> str:
    """The text with each invisible character but the line feed written as ``\\u{NUMBER}``, so that it neither hides nor reorders
    anything."""
    return "".join(char if char == "\n" or is_visible(char) else f"\\u{{{ord(char):x}}}" for char in text)
