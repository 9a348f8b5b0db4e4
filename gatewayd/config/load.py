"""Loads a file into a GatewayConfig, in two steps: the keys of gatewayd, then the tables of accounts and agents by their
plug-ins."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar, cast

import msgspec
from msgspec import Struct

from gatewayd.config import checks
from gatewayd.config.approvers import ApproverChecks
from gatewayd.config.decode import INVALID, Decoder, known_keys, show_kind
from gatewayd.config.problems import Problems, listed, nearest, show
from gatewayd.config.secret_sources import SecretReader
from gatewayd.config.source import KeyPath, Source, Table
from gatewayd.config.unexpanded import check_unexpanded
from gatewayd.model.config import (
    AccountFrame,
    AccountSettings,
    AgentFrame,
    AgentSettings,
    ApprovalsSection,
    AuthSection,
    BindingConfig,
    BrokenPlugin,
    GatewayConfig,
    GatewaySection,
    LimitsSection,
    Name,
    OutboxSection,
    RetentionSection,
    SessionsSection,
)
from gatewayd.model.errors import PluginError
from gatewayd.plugins import Registry
from gatewayd.ports.agent import AgentPlugin
from gatewayd.ports.channel import ChannelPlugin

EMBEDDED: Final = Path(__file__).with_name("default.toml").read_bytes()
"""Applies when there is no file at all; its agent when a file has no [agents]."""

SECTIONS: Final[Mapping[str, type[Struct]]] = {
    "gateway": GatewaySection,
    "sessions": SessionsSection,
    "outbox": OutboxSection,
    "limits": LimitsSection,
    "retention": RetentionSection,
    "approvals": ApprovalsSection,
    "auth": AuthSection,
}
"""The tables without keys of plug-ins. Every key in them has a default."""
KEYS: Final = (*SECTIONS, "agents", "channels", "bindings")
"""The top-level tables of the file."""

S = TypeVar("S", bound=Struct)
P = TypeVar("P", ChannelPlugin, AgentPlugin)


def load_config(path: Path | None, registry: Registry, env: Mapping[str, str]) -> GatewayConfig:
    """Read and check the configuration; ``path`` None is the embedded default (see ``find_config``).

    Reads the files of secrets, and imports the settings struct of each plug-in in use.

    :raises ConfigError: it has every problem of the file.
    """
    source = Source(EMBEDDED) if path is None else Source.read(path)
    return _Loader(source, registry, env).load()


class _Loader:
    """One loading of one source."""

    def __init__(self, source: Source, registry: Registry, env: Mapping[str, str]) -> None:
        self._source = source
        self._table = source.table
        self._registry = registry
        self._problems = Problems(source)
        self._sound_gateway: GatewaySection | None = None  # None, too, where it has a problem
        folder = Path() if source.path is None else source.path.parent
        self._decoder = Decoder(self._problems, SecretReader(self._problems, env, folder.absolute()))

    def load(self) -> GatewayConfig:
        if self._source.writable_by is not None:
            self._problems.warn((), self._source.writable_by)
        config = self._frame()
        agents = dict(self._agents())
        accounts = dict(self._accounts())
        bindings = dict(self._bindings())
        self._cross_check(config, agents, accounts, bindings)
        check_unexpanded(self._problems, self._table)
        self._problems.raise_any()
        return msgspec.structs.replace(
            config,
            agents=tuple(agent for agent in agents.values() if agent),
            accounts=tuple(account for account in accounts.values() if account),
            bindings=tuple(bindings.values()),
            warnings=(*self._problems.warnings, *self._registry.problems),
            broken=self._problems.broken,
        )

    def _frame(self) -> GatewayConfig:
        """The sections without keys of plug-ins."""
        problems = self._problems
        before = len(problems)
        gateway = self._section("gateway", GatewaySection)
        checks.check_gateway(problems, gateway)
        self._sound_gateway = gateway if len(problems) == before else None
        for key in self._table:
            if key not in KEYS:
                problems.add((key,), "unknown key", allowed=listed(KEYS), nearest=nearest(key, KEYS))
        return GatewayConfig(
            gateway=msgspec.structs.replace(gateway, public_url=gateway.public_url and gateway.public_url.rstrip("/")),
            sessions=self._section("sessions", SessionsSection),
            outbox=self._section("outbox", OutboxSection),
            limits=self._section("limits", LimitsSection),
            retention=self._section("retention", RetentionSection),
            approvals=self._section("approvals", ApprovalsSection),
            auth=self._section("auth", AuthSection),
            source=None if self._source.path is None else str(self._source.path),
        )

    def _cross_check(
        self,
        config: GatewayConfig,
        agents: Mapping[str, AgentSettings | None],
        accounts: Mapping[tuple[str, str], AccountSettings | None],
        bindings: Mapping[int, BindingConfig],
    ) -> None:
        """The checks between tables. The name of a broken agent or account (None) is known, too."""
        known = checks.Known(tuple(agents), tuple(accounts), self._registry.channel_ids)
        checks.check_identities(self._problems, config.sessions, known)
        checks.check_tokens(self._problems, config.auth, known)
        checks.check_defaults(self._problems, [agent for agent in agents.values() if agent])
        for account in filter(None, accounts.values()):
            checks.check_group_agents(self._problems, account, known)
        for index, binding in bindings.items():
            checks.check_binding(self._problems, binding, ("bindings", index), known)
        checks.check_matches(self._problems, bindings)
        checks.check_credentials(self._problems, filter(None, accounts.values()))
        manifests = self._registry.manifests(channel for channel, _ in accounts if channel in self._registry.channel_ids)
        approvers = ApproverChecks(self._problems, accounts, manifests, self._registry.channel_ids)
        approvers.check(config.approvals, filter(None, agents.values()))
        if not accounts:
            self._problems.warn((), "no account is configured: nobody can write to an agent")

    def _section(self, name: str, kind: type[S]) -> S:
        """The section with its valid keys. The other keys are problems."""
        values = self._decoder.values(self._table.get(name, {}), (kind,), (name,)) or {}
        return kind(**{key: value for key, value in values.items() if value is not INVALID})

    def _bindings(self) -> Iterator[tuple[int, BindingConfig]]:
        found = self._table.get("bindings", [])
        if not isinstance(found, list):
            self._problems.add(("bindings",), "must be an array of tables", found=show_kind(found), allowed="[[bindings]]")
            return
        for index, table in enumerate(found):
            if binding := self._decoder.struct(table, BindingConfig, ("bindings", index)):
                yield index, binding

    def _agents(self) -> Iterator[tuple[str, AgentSettings | None]]:
        found = self._table.get("agents", Source(EMBEDDED).table["agents"])
        if found == {}:
            self._problems.add(
                ("agents",), "has no agent", allowed="[agents.NAME], or no [agents] at all for an agent that echoes"
            )
        for name, table in self._tables(found, ("agents",)):
            yield name, self._agent(name, table, ("agents", name))

    def _agent(self, name: str, table: Table, key: KeyPath) -> AgentSettings | None:
        core = table.get("core", AgentFrame().core)
        plugin: AgentPlugin | BrokenPlugin | None = None
        if isinstance(core, str):  # else the decoding of the frame reports it
            plugin = self._plugin("agent core", core, self._registry.agent_ids, self._registry.agent, (*key, "core"))
        built = self._two_structs(table, AgentFrame, plugin, key)
        return None if built is None else AgentSettings(name, *built)

    def _accounts(self) -> Iterator[tuple[tuple[str, str], AccountSettings | None]]:
        for channel, table in self._tables(self._table.get("channels", {}), ("channels",)):
            key = ("channels", channel)
            for word in table.keys() - {"accounts"}:
                here = f"accounts (the keys of an account are in [channels.{channel}.accounts.NAME])"
                self._problems.add((*key, word), "unknown key", allowed=here)
            plugin = self._plugin("channel", channel, self._registry.channel_ids, self._registry.channel, key)
            accounts = table.get("accounts", {})
            if accounts == {}:
                self._problems.add(key, "has no account", allowed=f"[channels.{channel}.accounts.NAME]")
            if isinstance(plugin, ChannelPlugin) and plugin.one_account and isinstance(accounts, dict) and len(accounts) > 1:
                self._problems.add((*key, "accounts"), f"{channel} can have one account only", found=str(len(accounts)))
            for account, own in self._tables(accounts, (*key, "accounts")):
                yield (channel, account), self._account(plugin, channel, account, own)

    def _account(
        self, plugin: ChannelPlugin | BrokenPlugin | None, channel: str, account: str, table: Table
    ) -> AccountSettings | None:
        key = ("channels", channel, "accounts", account)
        built = self._two_structs(table, AccountFrame, plugin, key)
        if built is None:
            return None
        checks.check_account(self._problems, built[0], key, self._registry.channel_or_placeholder(channel))
        return AccountSettings(channel, account, *built)

    def _two_structs(
        self, table: Table, frame: type[S], plugin: ChannelPlugin | AgentPlugin | BrokenPlugin | None, key: KeyPath
    ) -> tuple[S, Struct] | None:
        """The keys of gatewayd and the settings of the plug-in from one table. None: they have problems."""
        if isinstance(plugin, ChannelPlugin | AgentPlugin):
            try:
                return self._decoded(table, frame, plugin, key)
            except PluginError as error:
                plugin = self._park(key, error)
        # Only the keys of gatewayd can be checked.
        ours = self._ours(table, frame, key)
        return None if ours is None or plugin is None else (ours, plugin)

    def _decoded(
        self, table: Table, frame: type[S], plugin: ChannelPlugin | AgentPlugin, key: KeyPath
    ) -> tuple[S, Struct] | None:
        """:raises PluginError: the plug-in cannot be used, or its check failed."""
        settings = self._settings_struct(plugin, frame, key)
        if settings is None:
            self._ours(table, frame, key)
            return None
        built = self._decoder.structs(table, (frame, settings), key)
        if built is None:
            return None
        checks.check_settings(self._problems, built[1], key, self._sound_gateway)
        return cast(S, built[0]), built[1]

    def _ours(self, table: Table, frame: type[S], key: KeyPath) -> S | None:
        return self._decoder.struct({word: table[word] for word in known_keys(frame) if word in table}, frame, key)

    def _park(self, key: KeyPath, error: PluginError) -> BrokenPlugin:
        self._problems.park(key, error.reason)
        return BrokenPlugin(error.reason)

    def _settings_struct(self, plugin: ChannelPlugin | AgentPlugin, frame: type[Struct], key: KeyPath) -> type[Struct] | None:
        """:raises PluginError: the plug-in has no usable settings."""
        settings = self._registry.settings(plugin)
        if clash := sorted(set(known_keys(settings)) & set(known_keys(frame))):
            self._problems.add(key, f"the settings {plugin.settings!r} of this plug-in use keys of gatewayd: {listed(clash)}")
            return None
        return settings

    def _plugin(
        self, what: str, name: str, ids: tuple[str, ...], get: Callable[[str], P], key: KeyPath
    ) -> P | BrokenPlugin | None:
        """The plug-in ``name`` of ``ids``, or the reason why it cannot be used. None: it is not installed, which is a problem."""
        if name not in ids:
            found, close = show(name), nearest(name, ids)
            self._problems.add(key, f"no {what} of this kind is installed", found=found, allowed=listed(ids), nearest=close)
            return None
        try:
            return get(name)
        except PluginError as error:
            return self._park(key, error)

    def _tables(self, found: object, key: KeyPath) -> Iterator[tuple[str, Table]]:
        """The tables with a valid name, by name. Any other entry is a problem."""
        if not isinstance(found, dict):
            self._problems.add(key, "must be a table", found=show_kind(found))
            return
        for name, table in found.items():
            if not self._decoder.fits_name(name, Name, (*key, name)):
                continue
            if isinstance(table, dict):
                yield name, table
            else:
                self._problems.add((*key, name), "must be a table", found=show_kind(table))
