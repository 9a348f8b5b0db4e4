"""Foreign texts on a terminal: none of them looks like something else."""

import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.cells import cell_len

from gatewayd.cli.ctl.commands.approvals import _full
from gatewayd.cli.ctl.output.screen import field
from gatewayd.cli.ctl.wording import one_line, visible
from gatewayd.model.records.approval import Vote
from tests.cli.test_gatewayctl_commands import ALLOWED, SHELL

INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
LABELS = ("id", "agent", "session", "tool", "input", "asked", "for", "asks", "vote", "state", "answer", "note")
FOREIGN = st.one_of(
    st.text(alphabet=st.characters()),
    st.lists(st.sampled_from(["\n", "\r", "\x85", "\u2028", "\u202e", "input    ls", "state    allowed", " " * 71])).map("".join),
)


@given(st.text(max_size=8, alphabet="abc"), FOREIGN, st.integers(20, 100))
def test_a_label_begins_a_line_and_no_text_does(label: str, text: str, width: int) -> None:
    first, *further = field(label, text, width=width)
    assert first[:9] == f"{label:<9}"
    assert all(line.startswith(" " * 9) for line in further)
    assert all(cell_len(line) <= width for line in (first, *further)), "nor does a terminal begin one"
    assert "".join(line[9:] for line in (first, *further)) == visible(text).replace("\n", "")


@given(FOREIGN, FOREIGN, FOREIGN, FOREIGN)
@example("shell\ninput    {}", "{}", "main", "me")
@example("shell", "x" * 62 + "state    allowed", "main", "me")
def test_no_tool_input_or_name_looks_like_another_field(tool: str, given_input: str, origin: str, by: str) -> None:
    plain = replace(SHELL, input="{}", asked_by="x", groups=("team",), votes=(Vote("a", True, 1.0),), session_grant="tool")
    for row in (plain, replace(ALLOWED, input="{}", asked_by="x", scope="session")):
        odd = replace(
            row,
            tool=tool,
            input=given_input,
            origin=origin,
            asked_by=by or "x",
            votes=tuple(replace(v, by=by) for v in row.votes),
        )
        if row.decided_by:
            odd = replace(odd, decided_by=by or "x", note=by or "x")
        lines = _full(odd, 1.0, 80)
        assert labels(lines) == labels(_full(row, 1.0, 80))
        assert not [char for line in lines for char in line if unicodedata.category(char) in INVISIBLE]


def labels(lines: list[str]) -> list[str]:
    assert all(line[:9].strip() in (*LABELS, "") for line in lines)
    return [line[:9].strip() for line in lines if line[:9].strip()]


@given(FOREIGN)
def test_a_name_on_one_line_hides_nothing(text: str) -> None:
    line = one_line(text, at_most=10_000)
    assert not [char for char in line if unicodedata.category(char) in INVISIBLE]
    assert line == " ".join(visible(text).replace("\n", "\\n").split())
