"""What somebody is in a chat. Pure."""

from collections.abc import Collection
from typing import Literal

from gatewayd.model.config import AccountFrame
from gatewayd.model.message.envelope import InboundEnvelope, Writer

Role = Literal["own_chat", "writer", "operator", "commander", "member"]
"""The strongest first. In a direct message everybody is in their own chat. In a group: the writer of what is at stake (a turn
that runs, a question), an operator of the account, one of the group's ``commands``, or only a member."""


def role_of(envelope: InboundEnvelope, frame: AccountFrame, writers: Collection[Writer] = ()) -> Role:
    """What the sender of ``envelope`` is in its chat. ``writers`` are those of what is at stake. Whoever is more than a member
    may act on it: stop that turn, begin a new session, answer that question.

    What a program says of who wrote is hearsay: it makes nobody an operator, and a writer only of what it brought itself.
    """
    if envelope.peer.kind == "dm":
        return "own_chat"
    if envelope.writer in writers:
        return "writer"
    if envelope.via is not None:
        return "member"
    if envelope.sender.id in frame.operators:
        return "operator"
    commanders = frame.group_rules(envelope.peer.id).commands
    return "commander" if envelope.sender.id in commanders or "*" in commanders else "member"
