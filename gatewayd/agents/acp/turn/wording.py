"""The sentences with which a user reads how a prompt ended. Pure."""

from collections.abc import Mapping
from typing import Final

from gatewayd.agents.acp.turn.prompt import PromptEnd
from gatewayd.model.lifecycle import Outcome

FORGOTTEN: Final = "The agent was started again and has forgotten this conversation."

_STOPPED: Final[Mapping[str, str]] = {
    "max_tokens": "The reply ends here: the model may not write more in one go.",
    "max_turn_requests": "The agent stopped here: it may not take more steps in one turn.",
    "refusal": "The model refused to go on with this.",
    "cancelled": "The agent stopped before it was done.",
}
_NOT_DONE: Final[Mapping[Outcome, str]] = {
    "denied": "The operator said no, so it was not done.",
    "expired": "Nobody answered the request for permission in time, so it was not done.",
    "withdrawn": "The request for permission was withdrawn, so it was not done.",
    "undeliverable": "Nobody could be asked for permission, so it was not done.",
}


def final_text(end: PromptEnd) -> str:
    """The reply. Empty if the agent said nothing, as many do after a refused permission."""
    if why := _STOPPED.get(end.stop_reason):
        return f"{end.text}\n\n{why}".strip()
    if not end.text and end.refused is not None:
        note = f" ({end.refused.note})" if end.refused.note else ""
        return f"{_NOT_DONE[end.refused.outcome]}{note}" if end.refused.outcome in _NOT_DONE else ""
    return end.text
