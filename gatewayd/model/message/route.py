"""The answer to: which agent, which session."""

from typing import Literal

from msgspec import Struct

Rule = Literal["peer", "parent_peer", "group", "guild", "team", "account", "channel", "default"]


class Route(Struct, frozen=True, omit_defaults=True):
    """``rule`` is the kind of binding that matched, ``binding`` its index in the configuration; None where the group's own
    ``agent`` (the rule group) or the default decided."""

    agent_id: str
    session_key: str
    rule: Rule
    binding: int | None = None


class Explained(Route, frozen=True, omit_defaults=True):
    """A route, and in words who may talk there. ``verdict`` is what becomes of a message of the sender that was asked for, if one
    was; ``decided_by`` the key of the account's configuration that says so, or "pairing"; ``reason`` that of the dropped row."""

    who: str = ""
    verdict: Literal["admit", "pair", "drop"] | None = None
    decided_by: str = ""
    reason: str = ""
