"""What was said in a thread before somebody spoke to the agent there."""

from msgspec import Struct

from gatewayd.model.message.envelope import Sender


class Earlier(Struct, frozen=True, omit_defaults=True):
    """One earlier message. ``ours``: the account wrote it itself. ``sent_at`` is the platform's time in Unix seconds."""

    sender: Sender
    text: str
    sent_at: float | None = None
    ours: bool = False
