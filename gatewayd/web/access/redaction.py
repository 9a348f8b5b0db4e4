"""What a program is not shown: people and what they write are for the role operator only.

A program that carries the messages of one network, or that measures, must not read the chats of the others.
"""

import re
from typing import Final

import msgspec
from msgspec.structs import replace

from gatewayd.model.records.event import Event
from gatewayd.model.status import AccountStatus, AgentStatus, Snapshot
from gatewayd.web.access.auth import Identity

_SHOWN: Final = frozenset(
    {
        *("id", "turn_id", "channel", "account", "agent", "version", "state", "reason", "event_kind", "direction", "count"),
        *("applied", "needs_restart", "writes", "shown", "votes", "quorum", "expires_at"),
    }
)
"""The fields of an event that every role sees. No peer, sender, session key, tool or name is among them."""
_CODE: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,130}")
"""The form of names, ids and reason codes. A reason in words may quote a message."""


def may_see_people(identity: Identity) -> bool:
    return identity.role == "operator"


def redacted_event(event: Event) -> Event:
    """An event without people."""
    data = msgspec.json.decode(event.data, type=dict[str, object])
    shown = {key: value for key, value in data.items() if key in _SHOWN and not (isinstance(value, str) and not _is_code(value))}
    return replace(event, data=msgspec.Raw(msgspec.json.encode(shown)))


def redacted_agent(agent: AgentStatus) -> AgentStatus:
    """An agent without its last error, which may quote a message."""
    return replace(agent, last_error=None)


def redacted_account(account: AccountStatus) -> AccountStatus:
    """An account without its groups."""
    return replace(account, open_groups=())


def redacted_snapshot(snapshot: Snapshot) -> Snapshot:
    """The status of the daemon without people."""
    agents, accounts = map(redacted_agent, snapshot.agents), map(redacted_account, snapshot.accounts)
    return replace(snapshot, agents=tuple(agents), accounts=tuple(accounts))


def _is_code(text: str) -> bool:
    return _CODE.fullmatch(text) is not None
