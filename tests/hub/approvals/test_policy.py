"""Rules: what an agent may do without asking anybody."""

from functools import cache
from typing import Literal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatewayd.hub.approvals.policy import GOES_ON, judge, matches
from gatewayd.model.config import ApprovalRule
from gatewayd.model.records.approval import ToolRequest

Word = Literal["allow", "ask", "deny"]


def shell(command: object) -> ToolRequest:
    return ToolRequest("shell", msgspec.json.encode({"command": command}).decode())


def rule(action: Word, command: str | None = None, *, tool: str = "shell") -> ApprovalRule:
    return ApprovalRule(action, tool, {} if command is None else {"command": command})


def test_without_a_rule_that_fits_somebody_is_asked() -> None:
    assert judge((), shell("ls")) == ("ask", "")
    assert judge((rule("allow", "pwd"), rule("deny", tool="write")), shell("ls")) == ("ask", "")


@pytest.mark.parametrize(
    ("rules", "verdict"),
    [
        ((rule("deny", "rm *"), rule("allow")), ("deny", "rule 1")),
        ((rule("allow"), rule("deny", "rm *")), ("allow", "rule 1")),
        ((rule("allow", "ls"), rule("ask", "rm*"), rule("deny")), ("ask", "rule 2")),
        ((rule("allow", "ls"), rule("deny", "rmdir"), rule("allow", tool="sh*")), ("allow", "rule 3")),
    ],
)
def test_the_first_rule_that_fits_decides(rules: tuple[ApprovalRule, ...], verdict: tuple[str, str]) -> None:
    assert judge(rules, shell("rm -rf x")) == verdict


@pytest.mark.parametrize(
    "command",
    [f"git status{character}rm -rf ~" for character in sorted(GOES_ON)]
    + ["git status && rm x", "git status $(rm x)", "git status >/etc/passwd", "git status \\\nrm x"],
)
def test_an_allowed_command_goes_on_to_no_other(command: str) -> None:
    assert judge((rule("allow", "git status*"),), shell(command)) == ("ask", "")
    # The same pattern does forbid, and what stands in it literally is meant.
    assert judge((rule("deny", "git status*"),), shell(command)) == ("deny", "rule 1")
    assert judge((rule("allow", command.replace("*", "")),), shell(command)) == ("allow", "rule 1")


def test_a_star_may_be_harmless_beside_a_barred_character_of_the_rule() -> None:
    rules = (rule("allow", "make * && make *"),)
    assert judge(rules, shell("make a && make b"))[0] == "allow"
    assert judge(rules, shell("make a && make b && make c"))[0] == "ask"
    assert judge(rules, shell("make a && rm && make c"))[0] == "ask"


@pytest.mark.parametrize(
    ("value", "pattern"),
    [(5, "5"), (True, "true"), (None, "null"), (["rm", "-rf"], '["rm",*]'), ({"a": 1}, '{"a":1}'), ("", ""), ("5", "5")],
)
def test_values_that_are_no_strings_are_compared_as_json(value: object, pattern: str) -> None:
    assert judge((rule("deny", pattern),), shell(value)) == ("deny", "rule 1")
    assert judge((rule("deny", pattern + "!"),), shell(value)) == ("ask", "")


def test_a_key_that_is_not_there_fits_nothing() -> None:
    both = ApprovalRule("allow", "*", {"command": "*", "directory": "/tmp"})  # noqa: S108
    assert judge((both,), shell("ls")) == ("ask", "")
    assert judge((both,), ToolRequest("shell", '{"command":"ls","directory":"/tmp"}'))[0] == "allow"
    assert judge((both,), ToolRequest("shell", '{"command":"ls","directory":"/"}'))[0] == "ask"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        '"command"',
        '{"command":"ls"',
        '{"command":"ls"} ',
        '{"command":"ls"}x',
        '{"command":"rm","command":"ls"}',
        '{"command":"ls","more":{"a":1,"a":2}}',
        '{"\\u0063ommand":"rm","command":"ls"}',
        '{"command":"ls","deep":' + "[" * 50_000 + "]" * 50_000 + "}",
        '{"command":"ls","long":' + "9" * 5000 + "}",
        '{"command":"ls","half":"\\ud800"}',
    ],
)
def test_input_that_cannot_be_read_in_one_way_only_is_never_allowed_by_what_it_says(text: str) -> None:
    allowed = judge((rule("allow", "ls"),), ToolRequest("shell", text))[0]
    assert allowed == ("allow" if text == '{"command":"ls"} ' else "ask")
    # What nobody can read is whatever is forbidden.
    for forbidden in (rule("deny"), rule("deny", "*sudo*")):
        verdict = judge((forbidden, rule("allow")), ToolRequest("shell", text))
        readable = text in ('{"command":"ls"} ', "[]", '"command"') and forbidden.input
        assert verdict == (("allow", "rule 2") if readable else ("deny", "rule 1"))


@pytest.mark.parametrize("text", ["null", "[]", '"ls"', "{}"])
def test_an_input_without_keys_fits_what_asks_for_none(text: str) -> None:
    assert judge((rule("deny", "*"), rule("allow")), ToolRequest("shell", text)) == ("allow", "rule 2")


def slowly(pattern: str, text: str, barred: frozenset[str]) -> bool:
    """Every way to share out the text over the stars."""

    @cache
    def fits(p: int, t: int) -> bool:
        if p == len(pattern):
            return t == len(text)
        if pattern[p] != "*":
            return t < len(text) and text[t] == pattern[p] and fits(p + 1, t + 1)
        return fits(p + 1, t) or (t < len(text) and text[t] not in barred and fits(p, t + 1))

    return fits(0, 0)


SMALL = st.text("ab;", max_size=12)
PATTERN = st.text("ab;*", max_size=10)


@given(PATTERN, SMALL, st.sampled_from([frozenset[str](), frozenset(";"), frozenset("a;")]))
@example("*;b*;*", ";b;b;", frozenset(";"))
@example("a*a", "a", frozenset[str]())
@example("**", "", frozenset[str]())
def test_globs_are_as_a_slow_reference_says(pattern: str, text: str, barred: frozenset[str]) -> None:
    assert matches(pattern, text, barred) == slowly(pattern, text, barred)


@given(st.lists(st.text("ab;", max_size=4), min_size=1, max_size=5), st.lists(st.text("abc", max_size=3), min_size=4, max_size=4))
def test_what_a_pattern_was_made_from_fits_it(pieces: list[str], between: list[str]) -> None:
    text = pieces[0] + "".join(gap + piece for gap, piece in zip(between, pieces[1:], strict=False))
    assert matches("*".join(pieces), text)
    assert matches("*".join(pieces), text, frozenset(";"))


class Watched(str):
    """A text that notes where it is searched."""

    __slots__ = ("searched",)
    searched: list[tuple[int, int]]

    def find(self, piece: str, start: int = 0, end: int | None = None) -> int:  # type: ignore[override]
        found = super().find(piece, start, len(self) if end is None else end)
        self.searched.append((start, found))
        return found


@pytest.mark.parametrize("stars", [1, 10, 1000])
def test_an_adversary_cannot_make_it_look_twice(stars: int) -> None:
    text = Watched("a" * 5000)
    text.searched = []
    assert not matches("*a" * stars + "*b*", text)
    # One search for each piece, each from where the one before it ended: nothing is tried again.
    assert len(text.searched) <= stars + 1
    assert [start for start, _ in text.searched[1:]] == [found + 1 for _, found in text.searched[:-1]]


PARTS = st.dictionaries(st.sampled_from(["command", "directory", "file"]), st.sampled_from(["ls", "rm x", "/etc"]))
RULES = st.lists(
    st.builds(
        ApprovalRule,
        action=st.sampled_from(["allow", "ask", "deny"]),
        input=st.dictionaries(st.sampled_from(["command", "directory", "file"]), st.sampled_from(["*", "ls", "rm*", "/*"])),
    ),
    max_size=4,
)


@given(RULES, PARTS, PARTS)
@example([ApprovalRule("ask", input={"file": "*"}), ApprovalRule("allow")], {}, {"file": "ls"})
@example([ApprovalRule("ask", input={"file": "*"}), ApprovalRule("deny")], {}, {})
def test_of_what_a_request_does_not_show_the_rules_take_the_worst(
    rules: list[ApprovalRule], shown: dict[str, str], hidden: dict[str, str]
) -> None:
    part = ToolRequest("shell", msgspec.json.encode(shown).decode(), whole=False)
    whole = ToolRequest("shell", msgspec.json.encode({**hidden, **shown}).decode())
    if judge(rules, whole)[0] == "deny":
        assert judge(rules, part)[0] == "deny"
    if judge(rules, part)[0] == "allow":
        assert judge(rules, whole)[0] == "allow"
