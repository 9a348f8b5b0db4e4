"""How many examples hypothesis makes of a property that says its own number."""

from hypothesis import settings


def examples(number: int) -> int:
    """``number``; in the quick suite two fifths of it, as of all properties (tests/conftest.py)."""
    return max(number * 2 // 5, 1) if settings.get_current_profile_name() == "quick" else number
