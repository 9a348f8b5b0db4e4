"""The policy of an agent: rules that allow or deny a tool request without a person. Pure."""

import json
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from gatewayd.model.config import ApprovalRule
from gatewayd.model.records.approval import ToolRequest

Action = Literal["allow", "ask", "deny"]

GOES_ON: Final = frozenset(";&|<>()$`\\\r\n")
"""Characters by which a shell command goes on to another one, reads or writes a file, or runs one inside it (POSIX shell, 2.2
to 2.6). In an allow rule ``*`` stands for none of them: "git status*" is not to allow "git status; rm -rf /"."""


def judge(rules: Sequence[ApprovalRule], request: ToolRequest) -> tuple[Action, str]:
    """The action of the first rule that fits, and its name ("rule 2"). If none fits: ask.

    If a request shows only a part of its input, the strictest possible answer counts: deny before ask, ask before allow.
    """
    values, doubt = _values(request.input), ""
    for number, rule in enumerate(rules, 1):
        fits = _fits(rule, request, values)
        if fits is None and rule.action == "ask":
            doubt = doubt or f"rule {number}"
        elif fits or (fits is None and rule.action == "deny"):
            return ("ask", doubt) if doubt and rule.action == "allow" else (rule.action, f"rule {number}")
    return "ask", doubt


def _fits(rule: ApprovalRule, request: ToolRequest, values: dict[str, str] | None) -> bool | None:
    """None: that depends on input that the request does not show."""
    if not matches(rule.tool, request.tool):
        return False
    if values is None:
        # Input that cannot be read fits every deny rule and no other.
        return rule.action == "deny"
    barred = GOES_ON if rule.action == "allow" else frozenset[str]()
    if not all(matches(pattern, values[key], barred) for key, pattern in rule.input.items() if key in values):
        return False
    if rule.input.keys() <= values.keys():
        return True
    return False if request.whole else None


def matches(pattern: str, text: str, barred: frozenset[str] = frozenset()) -> bool:
    """Whether ``pattern``, in which ``*`` stands for any characters but ``barred`` ones, is the whole of ``text``.

    Takes the leftmost place for each piece between stars, so the time is bounded by the product of the lengths. No other place
    would do better: whichever it is, the pieces take up as many barred characters, and all of the text's have to be in them.
    """
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    if not text.startswith(first):
        return False
    at, end = len(first), len(text) - len(rest[-1])
    for piece in rest[:-1]:
        found = text.find(piece, at, max(at, end))
        if found < 0 or not barred.isdisjoint(text[at:found]):
            return False
        at = found + len(piece)
    return at <= end and text.endswith(rest[-1]) and barred.isdisjoint(text[at:end])


def _values(text: str) -> dict[str, str] | None:
    """The input's keys with their values as text: a string as it is, anything else as JSON. Without any when it is no object;
    None when it cannot be read: it is no JSON, is nested too deeply, or names a key twice, of which one reader takes the first
    and another the last (RFC 8259, section 4)."""
    try:
        whole = json.loads(text, object_pairs_hook=_without_repetition)
        if whole is not _OBJECT:
            return {}
        found = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError):
        return None
    return {key: _text(value) for key, value in found.items()}


_OBJECT = object()


def _without_repetition(pairs: list[tuple[str, object]]) -> object:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key is there twice")
    return _OBJECT


def _text(value: msgspec.Raw) -> str:
    try:
        return msgspec.json.decode(value, type=str)
    except msgspec.DecodeError:
        return bytes(value).decode()
