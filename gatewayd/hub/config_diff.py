"""The difference between two configurations, and which changes need a restart. Pure."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from gatewayd.actor.border import third_party
from gatewayd.model.config import AccountSettings, AgentSettings, GatewayConfig
from gatewayd.model.reload import Change

NEEDS_RESTART: Final[Mapping[str, frozenset[str]]] = {
    "gateway": frozenset(
        {"state_dir", "bind", "max_body_bytes", "max_connections", "max_connections_per_address", "log_level", "stall_seconds"}
    ),
}
"""The keys that the daemon reads only at its start, by section."""

_EFFECTS: Final[Mapping[str, str]] = {
    "[gateway].public_url": "accounts of channels with webhooks are reconnected",
    "[gateway].bind": "the daemon listens on the old address",
}
K = TypeVar("K", str, tuple[str, str])
V = TypeVar("V", bound=Struct)

_REROUTED: Final = "also for waiting messages"


class Difference(Struct, frozen=True):
    """``applied`` are changes that can be put in force at once, ``needs_restart`` the others. ``same_accounts`` and
    ``same_agents`` count the accounts and agents without a change."""

    applied: tuple[Change, ...]
    needs_restart: tuple[Change, ...]
    same_accounts: int
    same_agents: int


def difference(old: GatewayConfig, new: GatewayConfig) -> Difference:
    """The changes from ``old`` to ``new``."""
    sections = [change for name in _sections_of(new) for change in _section(name, getattr(old, name), getattr(new, name))]
    restart = [change for change in sections if _needs_restart(change)]
    return Difference(
        applied=(
            *(change for change in sections if change not in restart),
            *_agents(old, new),
            *_accounts(old, new),
            *([Change("changed", "[[bindings]]", effect=_REROUTED)] if old.bindings != new.bindings else []),
        ),
        needs_restart=tuple(restart),
        same_accounts=_count_same(_accounts_by_name(old), _accounts_by_name(new)),
        same_agents=_count_same(_agents_by_name(old), _agents_by_name(new)),
    )


def in_force(old: GatewayConfig, new: GatewayConfig) -> GatewayConfig:
    """``new``, with the values of ``old`` for the keys that need a restart."""
    kept = {
        section: replace(getattr(new, section), **{key: getattr(getattr(old, section), key) for key in keys})
        for section, keys in NEEDS_RESTART.items()
    }
    return replace(new, **kept)


def reopens(old: AgentSettings, new: AgentSettings) -> bool:
    """Whether the core of the agent must be opened anew. Settings that only the hub reads, such as approvals, need that not."""
    return old.frame.core != new.frame.core or not _same(old.settings, new.settings)


def reconnects(old: AccountSettings, new: AccountSettings) -> bool:
    """Whether the driver of the account must be opened anew. Settings that only the hub reads need that not."""
    return not _same(old.settings, new.settings)


def _same(old: Struct, new: Struct) -> bool:
    """Compare settings of a plug-in, whose struct may define its own comparison."""
    try:
        with third_party():
            return bool(old == new)
    except Exception:
        return False


def _sections_of(config: GatewayConfig) -> list[str]:
    """The sections of which plug-ins have no part."""
    return [name for name in config.__struct_fields__ if isinstance(getattr(config, name), Struct)]


def _section(name: str, old: Struct, new: Struct) -> Iterator[Change]:
    for key in _changed_keys(old, new):
        before, after = getattr(old, key), getattr(new, key)
        if _holds_tables(before) or _holds_tables(after):
            yield from _tables(f"{name}.{key}", before, after)
        else:
            yield Change("changed", f"[{name}]", (key,), _EFFECTS.get(f"[{name}].{key}", ""))


def _needs_restart(change: Change) -> bool:
    keys = NEEDS_RESTART.get(change.table.strip("[]"), frozenset())
    return not keys.isdisjoint(change.keys)


def _tables(table: str, old: Mapping[str, Struct], new: Mapping[str, Struct]) -> Iterator[Change]:
    """Named tables, such as approvals.groups and auth.tokens."""
    return _changes(old, new, lambda name: f"[{table}.{name}]", lambda before, after: (_changed_keys(before, after), ""))


def _agents(old: GatewayConfig, new: GatewayConfig) -> Iterator[Change]:
    def change(before: AgentSettings, after: AgentSettings) -> tuple[tuple[str, ...], str]:
        return _changed_settings(before, after), "reopened when its turns have ended" if reopens(before, after) else ""

    gone = "closed when its turns have ended; its waiting messages are routed anew"
    yield from _changes(_agents_by_name(old), _agents_by_name(new), lambda name: f"[agents.{name}]", change, gone=gone)
    if old.agents and new.agents and old.default_agent != new.default_agent:
        yield Change("changed", "[agents]", effect=f"{new.default_agent} answers where no binding matches")


def _accounts(old: GatewayConfig, new: GatewayConfig) -> Iterator[Change]:
    def change(before: AccountSettings, after: AccountSettings) -> tuple[tuple[str, ...], str]:
        return _changed_settings(before, after), _effect_on(before, after)

    def table(name: tuple[str, str]) -> str:
        return "[channels.{}.accounts.{}]".format(*name)

    gone = "stopped; its waiting replies stay in the store"
    return _changes(_accounts_by_name(old), _accounts_by_name(new), table, change, gone=gone)


def _changes(
    old: Mapping[K, V],
    new: Mapping[K, V],
    table: Callable[[K], str],
    change: Callable[[V, V], tuple[tuple[str, ...], str]],
    *,
    gone: str = "",
) -> Iterator[Change]:
    """Named tables that were added, removed or changed. ``change`` gives the changed keys of a table and their effect, ``gone``
    is the effect of a removal."""
    for name in sorted(old.keys() - new.keys()):
        yield Change("removed", table(name), effect=gone)
    for name, after in new.items():
        before = old.get(name)
        if before is None:
            yield Change("added", table(name))
        elif before != after:
            yield Change("changed", table(name), *change(before, after))


def _effect_on(old: AccountSettings, new: AccountSettings) -> str:
    if not new.frame.enabled:
        return "stopped" if old.frame.enabled else ""
    if not old.frame.enabled:
        return "started"
    return "reconnected; its waiting replies are kept" if reconnects(old, new) else ""


def _changed_keys(old: Struct, new: Struct) -> tuple[str, ...]:
    return tuple(key for key in new.__struct_fields__ if getattr(old, key) != getattr(new, key))


def _changed_settings(old: AccountSettings | AgentSettings, new: AccountSettings | AgentSettings) -> tuple[str, ...]:
    """The keys of an account or agent. Another plugin's settings have other keys, and then ``core`` is named already."""
    own = _changed_keys(old.settings, new.settings) if type(old.settings) is type(new.settings) else ()
    return (*_changed_keys(old.frame, new.frame), *own)


def _count_same(old: Mapping[K, Struct], new: Mapping[K, Struct]) -> int:
    return sum(old.get(name) == value for name, value in new.items())


def _holds_tables(value: object) -> bool:
    return isinstance(value, dict) and any(isinstance(item, Struct) for item in value.values())


def _agents_by_name(config: GatewayConfig) -> dict[str, AgentSettings]:
    return {agent.agent_id: agent for agent in config.agents}


def _accounts_by_name(config: GatewayConfig) -> dict[tuple[str, str], AccountSettings]:
    return {(account.channel, account.account): account for account in config.accounts}
