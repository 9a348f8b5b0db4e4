from hypothesis import example, given
from hypothesis import strategies as st

from gatewayd.kit.text.visible import visible


@given(st.text(max_size=200))
@example("\u202e\u2800\n\t")
def test_what_is_made_visible_hides_nothing_and_changes_nothing_that_is_seen(hidden: str) -> None:
    seen = visible(hidden)
    assert seen.replace("\n", "").isprintable()
    assert visible(seen) == seen
    assert [c for c in hidden if c in seen and c.isascii() and c.isalnum()] == [c for c in hidden if c.isascii() and c.isalnum()]
