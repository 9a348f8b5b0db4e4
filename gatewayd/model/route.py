"""The answer to: which agent, which session."""

from typing import Literal

from msgspec import Struct

Rule = Literal["peer", "parent_peer", "guild", "team", "account", "channel", "default"]


class Route(Struct, frozen=True, omit_defaults=True):
    """``rule`` is the kind of binding that matched, ``binding`` its index in the configuration (None for the default)."""

    agent_id: str
    session_key: str
    rule: Rule
    binding: int | None = None
