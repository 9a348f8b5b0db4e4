"""Characters that Python calls printable and no screen shows."""

from typing import Final

UNSEEN: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
"""Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties.txt, and the empty braille pattern."""
