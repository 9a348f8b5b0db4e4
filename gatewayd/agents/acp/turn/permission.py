"""Translates a permission request of an agent into a ToolRequest, and a decision into the answer. Pure."""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw

from gatewayd.agents.acp.wire import PermissionOption, ToolCallFields, given, read
from gatewayd.model.records.approval import Decision, ToolRequest

CANCELLED: Final = {"outcome": {"outcome": "cancelled"}}
"""The answer that the protocol prescribes for every open request of a prompt that is cancelled."""

_TOOL_MAX: Final = 100


def tool_request(call: ToolCallFields) -> ToolRequest:
    """The request for operators and rules.

    The tool is the call's kind (read, edit, delete, move, search, execute, think, fetch, switch_mode, other), which the agent
    takes from a fixed list. It is not the title, which often has text of the model: the model must not be able to name a tool
    for which there is a rule. The input is rawInput with the title in it. Without a rawInput it is what the agent shows to
    people: the title, the content (a diff) and the locations.

    It has no ref: no id of an agent is unique for ever, and a run never outlives gatewayd. So when a turn is run again, its
    earlier request is found by tool and input.

    :raises Malformed: the input is not what JSON is.
    """
    raw = read(call.raw_input, object) if given(call.raw_input) else None
    if isinstance(raw, dict) and raw:
        values: dict[object, object] = dict(raw)
    elif raw is None or raw == {}:
        values = {name: read(value, object) for name, value in _shown(call) if given(value)}
    else:
        values = {"input": raw}
    if call.title:
        name = "title"
        while name in values:
            name = f"_{name}"
        values[name] = call.title
    return ToolRequest(
        tool=(call.kind or "other")[:_TOOL_MAX],
        input=msgspec.json.encode(values, order="sorted").decode(),
    )


def _shown(call: ToolCallFields) -> tuple[tuple[str, Raw], ...]:
    return ("content", call.content), ("locations", call.locations)


def answer(decision: Decision, options: Sequence[PermissionOption]) -> dict[str, object]:
    """The answer to a permission request. An option is chosen by its kind: the ids are the agent's own.

    Never an "always": nobody here could see or revoke the agent's memory of it. Without a fitting option the request is
    cancelled, which runs nothing. The kind of refusal is in ``_meta``, for agents that look there.
    """
    wanted = "allow_once" if decision.allowed else "reject_once"
    fitting = next((option.option_id for option in options if option.kind == wanted), None)
    if fitting is None and decision.allowed:
        fitting = next((option.option_id for option in options if option.kind == "reject_once"), None)
    outcome = {"outcome": "cancelled"} if fitting is None else {"outcome": "selected", "optionId": fitting}
    if decision.allowed:
        return {"outcome": outcome}
    why = {"decision": decision.outcome, "note": decision.note}
    return {"outcome": outcome, "_meta": {"gatewayd": {name: text for name, text in why.items() if text}}}


def can_be_allowed(options: Sequence[PermissionOption]) -> bool:
    """Whether the agent offers to run the tool this once."""
    return any(option.kind == "allow_once" for option in options)
