"""What changes from one configuration to the next, and what of it can be put in force while everything runs. Pure."""

from collections.abc import Iterator, Mapping
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
"""The keys that are read once, when the daemon starts, by the name of their section."""

_EFFECTS: Final[Mapping[str, str]] = {
    "[gateway].public_url": "accounts of channels with webhooks are reconnected",
    "[gateway].bind": "the daemon goes on listening where it does",
}
K = TypeVar("K")

_REROUTED: Final = "also for messages that wait"


class Difference(Struct, frozen=True):
    """``applied`` can be put in force at once, ``needs_restart`` cannot. ``same_accounts`` and ``same_agents`` count those that
    nothing touches."""

    applied: tuple[Change, ...]
    needs_restart: tuple[Change, ...]
    same_accounts: int
    same_agents: int


def difference(old: GatewayConfig, new: GatewayConfig) -> Difference:
    """What is not the same in the new one."""
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
    """``new`` as far as it can be put in force in a daemon that runs with ``old``: what needs a restart stays."""
    kept = {
        section: replace(getattr(new, section), **{key: getattr(getattr(old, section), key) for key in keys})
        for section, keys in NEEDS_RESTART.items()
    }
    return replace(new, **kept)


def reopens(old: AgentSettings, new: AgentSettings) -> bool:
    """Whether the agent's core has to be opened anew. What only the hub looks at (approvals, say) does not."""
    return old.frame.core != new.frame.core or not _same(old.settings, new.settings)


def reconnects(old: AccountSettings, new: AccountSettings) -> bool:
    """Whether the account's driver has to be opened anew. Who may write, and how, only the hub looks at."""
    return not _same(old.settings, new.settings)


def _same(old: Struct, new: Struct) -> bool:
    """A plugin's struct may compare itself as it likes."""
    try:
        with third_party():
            return bool(old == new)
    except Exception:
        return False


def _sections_of(config: GatewayConfig) -> list[str]:
    """The names of the tables that are wholly ours."""
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
    """Tables by name, as approvals.groups and auth.tokens."""
    for name in sorted(old.keys() - new.keys()):
        yield Change("removed", f"[{table}.{name}]")
    for name, after in new.items():
        before = old.get(name)
        if before is None:
            yield Change("added", f"[{table}.{name}]")
        elif before != after:
            yield Change("changed", f"[{table}.{name}]", _changed_keys(before, after))


def _agents(old: GatewayConfig, new: GatewayConfig) -> Iterator[Change]:
    before, after = _agents_by_name(old), _agents_by_name(new)
    for name in sorted(before.keys() - after.keys()):
        yield Change("removed", f"[agents.{name}]", effect="closed when its turns have ended; what waits for it is routed anew")
    for name, agent in after.items():
        known = before.get(name)
        if known is None:
            yield Change("added", f"[agents.{name}]")
        elif known != agent:
            keys = (*_changed_keys(known.frame, agent.frame), *_changed_settings(known.settings, agent.settings))
            yield Change(
                "changed", f"[agents.{name}]", keys, "reopened when its turns have ended" if reopens(known, agent) else ""
            )
    if before and after and old.default_agent != new.default_agent:
        yield Change("changed", "[agents]", effect=f"{new.default_agent} answers where no binding matches")


def _accounts(old: GatewayConfig, new: GatewayConfig) -> Iterator[Change]:
    before, after = _accounts_by_name(old), _accounts_by_name(new)
    for name in sorted(before.keys() - after.keys()):
        yield Change("removed", _table_of(*name), effect="stopped; what waits in its outbox stays in the store")
    for name, account in after.items():
        known = before.get(name)
        if known is None:
            yield Change("added", _table_of(*name))
        elif known != account:
            keys = (*_changed_keys(known.frame, account.frame), *_changed_settings(known.settings, account.settings))
            yield Change("changed", _table_of(*name), keys, _effect_on(known, account))


def _effect_on(old: AccountSettings, new: AccountSettings) -> str:
    if not new.frame.enabled:
        return "stopped" if old.frame.enabled else ""
    if not old.frame.enabled:
        return "started"
    return "reconnected; what waits for it is kept" if reconnects(old, new) else ""


def _changed_keys(old: Struct, new: Struct) -> tuple[str, ...]:
    return tuple(key for key in new.__struct_fields__ if getattr(old, key) != getattr(new, key))


def _changed_settings(old: Struct, new: Struct) -> tuple[str, ...]:
    """Of a plugin's own keys. Another plugin's settings have other keys, and then ``core`` is named already."""
    return _changed_keys(old, new) if type(old) is type(new) else ()


def _count_same(old: Mapping[K, Struct], new: Mapping[K, Struct]) -> int:
    return sum(old.get(name) == value for name, value in new.items())


def _holds_tables(value: object) -> bool:
    return isinstance(value, dict) and any(isinstance(item, Struct) for item in value.values())


def _agents_by_name(config: GatewayConfig) -> dict[str, AgentSettings]:
    return {agent.agent_id: agent for agent in config.agents}


def _accounts_by_name(config: GatewayConfig) -> dict[tuple[str, str], AccountSettings]:
    return {(account.channel, account.account): account for account in config.accounts}


def _table_of(channel: str, account: str) -> str:
    return f"[channels.{channel}.accounts.{account}]"
