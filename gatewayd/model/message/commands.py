"""The chat commands, in one table. What is one is decided in gatewayd/model/message/intents.py. Pure.

Every other text goes to the agent unchanged, also one that begins with a slash.
"""

import re
from typing import Final, Literal

from msgspec import Struct

from gatewayd.model.lifecycle import DoneReason
from gatewayd.model.message.envelope import InboundEnvelope

When = Literal["at_once", "in_place", "approval", "answer"]
"""at_once, also while a turn runs; in_place: after what came before it in its lane; approval: by
hub/approvals/responses.py; answer: to the question that is open."""
May = Literal["everybody", "own", "role", "approver", "asked"]
"""own: for what is one's own, and with a role for what is others'; role: in a group only with a role (model/message/roles.py).
Enforced before a handler runs (hub/turns/chat_commands.py), for approvers by hub/approvals/responses.py, and for who was asked by
the question."""
CommandResult = tuple[DoneReason, str]
"""What a command comes to: the reason that ends its row, and the reply to its sender."""


class Command(Struct, frozen=True):
    """``help`` says what it does; ``help_own`` what it does for somebody without a role, None where that is the same, or nothing.
    ``connectors``: also a message that a program brought can be it. ``menu``: platforms show it to everybody."""

    name: str
    when: When
    may: May
    help: str
    argument: str = ""
    help_own: str | None = None
    connectors: bool = True
    menu: bool = True


COMMANDS: Final = (
    Command("/help", "at_once", "everybody", "Show the commands that you may use here"),
    Command(
        "/new", "in_place", "role", "Begin a new session after the waiting messages; a text becomes its first message", "[TEXT]"
    ),
    Command(
        "/stop",
        "at_once",
        "own",
        "Stop the running turn, and drop the waiting messages",
        help_own="Stop your own turn, and drop your waiting messages",
    ),
    Command("/status", "at_once", "everybody", "Show the running turn and the waiting messages"),
    Command("/whoami", "at_once", "everybody", "Show your id, the id of this chat, and which agent answers"),
    Command("/start", "at_once", "everybody", "Show who answers here", menu=False),
    Command("/skip", "answer", "asked", "Leave a question of the agent unanswered", menu=False),
    Command("/approve", "approval", "approver", "Allow a request once", "CODE [NOTE]", connectors=False, menu=False),
    Command("/deny", "approval", "approver", "Deny a request", "CODE [NOTE]", connectors=False, menu=False),
    Command(
        "/show",
        "approval",
        "approver",
        "Show the whole input of a request, or a reply again",
        "CODE",
        connectors=False,
        menu=False,
    ),
)
"""In the order in which help and menus list them."""

_ADDRESSED: Final = re.compile(r"/[A-Za-z0-9_]{1,64}@[A-Za-z0-9_]{1,64}")


def is_for_another_bot(envelope: InboundEnvelope) -> bool:
    """Whether a message in a group begins with a command that is addressed to another bot by its name."""
    is_own = envelope.forwarded is None and envelope.via_bot is None
    if envelope.peer.kind == "dm" or envelope.kind not in ("message", "edit") or not is_own:
        return False
    first = envelope.text.split(maxsplit=1)[:1]
    return bool(first) and _ADDRESSED.fullmatch(first[0]) is not None
