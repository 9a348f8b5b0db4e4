"""The registry of plug-ins: the entry points ``gatewayd.channels`` and ``gatewayd.agents`` of the installed distributions.

Built-in plug-ins have entry points, too. The module of an entry point is imported for its manifest, the driver for its settings
or its opener, and neither before. A broken plug-in is an error only for the accounts or agents that use it.

Entry points file format: https://packaging.python.org/en/latest/specifications/entry-points/
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Final, Generic, TypeVar, cast

from msgspec import Struct, convert, to_builtins
from msgspec.inspect import type_info

from gatewayd.actor.border import describe, third_party
from gatewayd.kit.text.split import check_limit
from gatewayd.model.errors import PluginError
from gatewayd.ports.agent import AgentOpener, AgentPlugin
from gatewayd.ports.channel import API, ChannelOpener, ChannelPlugin, ServesHttp, unusable_routes
from gatewayd.ports.proxy import AgentProxy

CHANNELS: Final = "gatewayd.channels"
AGENTS: Final = "gatewayd.agents"

Manifest = TypeVar("Manifest", bound=ChannelPlugin | AgentPlugin)


class Offer(Struct, frozen=True):
    """One entry point: its id, its distribution, and the manifest or the way to it."""

    id: str
    distribution: str
    target: EntryPoint | ChannelPlugin | AgentPlugin


def placeholder(plugin_id: str) -> ChannelPlugin:
    """The manifest of a channel whose own cannot be loaded."""
    return ChannelPlugin(id=plugin_id, label=plugin_id, settings="-", open="-")


class Registry:
    """The kinds of channels and agent cores. Make it by :meth:`installed`, or by :meth:`of` in a test."""

    def __init__(self, channels: Iterable[Offer], agents: Iterable[Offer], problems: Iterable[str] = ()) -> None:
        self._channels = _PluginSet("channel", ChannelPlugin, channels)
        self._agents = _PluginSet("agent core", AgentPlugin, agents)
        self.problems = tuple(problems)
        """One sentence for each distribution whose entry points could not be read."""

    @classmethod
    def installed(cls) -> "Registry":
        """Read the entry points of every distribution on ``sys.path``. Imports no plug-in; never raises for a broken one."""
        offers: dict[str, list[Offer]] = {CHANNELS: [], AGENTS: []}
        problems: list[str] = []
        seen: set[str] = set()
        for distribution in distributions():
            try:
                with third_party():
                    _read(distribution, offers, seen)
            except Exception as error:
                problems.append(f"the entry points of {_name(distribution)} cannot be read: {describe(error)}")
        return cls(offers[CHANNELS], offers[AGENTS], problems)

    @classmethod
    def of(cls, channels: Iterable[ChannelPlugin] = (), agents: Iterable[AgentPlugin] = ()) -> "Registry":
        """Exactly these manifests."""
        return cls(
            [Offer(plugin.id, "given directly", plugin) for plugin in channels],
            [Offer(plugin.id, "given directly", plugin) for plugin in agents],
        )

    @property
    def channel_ids(self) -> tuple[str, ...]:
        """Every offered channel, sorted, whether or not it can be loaded."""
        return self._channels.ids

    @property
    def agent_ids(self) -> tuple[str, ...]:
        """Every offered kind of agent core, sorted, whether or not it can be loaded."""
        return self._agents.ids

    def channel(self, channel: str) -> ChannelPlugin:
        """:raises PluginError: unknown, broken, or offered by two distributions."""
        return self._channels.get(channel)

    def channel_or_placeholder(self, channel: str) -> ChannelPlugin:
        """As ``channel``. A channel that cannot be used has a placeholder: only its accounts are parked."""
        try:
            return self.channel(channel)
        except PluginError:
            return placeholder(channel)

    def manifests(self, channels: Iterable[str]) -> dict[str, ChannelPlugin]:
        """The manifests of these channels by id, with placeholders."""
        return {channel: self.channel_or_placeholder(channel) for channel in channels}

    def agent(self, core: str) -> AgentPlugin:
        """:raises PluginError: unknown, broken, or offered by two distributions."""
        return self._agents.get(core)

    def settings(self, plugin: ChannelPlugin | AgentPlugin) -> type[Struct]:
        """The struct of the plug-in's own keys. Imports its module.

        :raises PluginError: it cannot be imported, is no Struct, or has a field that msgspec cannot decode.
        """
        found = self._resolve(plugin, plugin.settings)
        if not (isinstance(found, type) and issubclass(found, Struct)):
            raise PluginError(f"{self._owner(plugin)}: settings {plugin.settings!r} is not a msgspec Struct")
        try:
            with third_party():
                type_info(found)
        except Exception as error:
            what = f"settings {plugin.settings!r} cannot be decoded: {describe(error)}"
            raise PluginError(f"{self._owner(plugin)}: {what}") from error
        return found

    def channel_opener(self, plugin: ChannelPlugin) -> ChannelOpener:
        """Imports the driver. :raises PluginError: it cannot be imported, or is not callable."""
        return cast(ChannelOpener, self._callable(plugin))

    def agent_opener(self, plugin: AgentPlugin) -> AgentOpener:
        """Imports the driver. :raises PluginError: it cannot be imported, or is not callable."""
        return cast(AgentOpener, self._callable(plugin))

    def agent_proxies(self, on_broken: Callable[[PluginError], None]) -> dict[str, AgentProxy]:
        """The proxies of agent cores, by kind. Imports every manifest; a broken one is skipped here. ``on_broken`` gets the error
        of each proxy that cannot be used."""
        found: dict[str, AgentProxy] = {}
        for kind in self.agent_ids:
            with suppress(PluginError):
                plugin = self.agent(kind)
                try:
                    found |= self._proxy(plugin)
                except PluginError as error:
                    on_broken(error)
        return found

    def channels_with_routes(self) -> list[ChannelPlugin]:
        """The channels that serve HTTP, by id. Imports every manifest; a broken one is skipped here."""
        found = []
        for channel in self.channel_ids:
            with suppress(PluginError):
                found.append(self.channel(channel))
        return [plugin for plugin in found if plugin.http is not None]

    def http_of(self, plugin: ChannelPlugin) -> ServesHttp:
        """What serves its routes. Imports it. :raises PluginError: it cannot be imported, or serves nothing."""
        assert plugin.http is not None, "only a channel with routes is asked"
        found = self._resolve(plugin, plugin.http)
        if not isinstance(found, ServesHttp):
            raise PluginError(f"{self._owner(plugin)}: http {plugin.http!r} is not a ServesHttp")
        return found

    def _proxy(self, plugin: AgentPlugin) -> dict[str, AgentProxy]:
        if plugin.proxy is None:
            return {}
        found = self._resolve(plugin, plugin.proxy)
        if not isinstance(found, AgentProxy):
            raise PluginError(f"{self._owner(plugin)}: proxy {plugin.proxy!r} is not an AgentProxy")
        return {plugin.id: found}

    def _callable(self, plugin: ChannelPlugin | AgentPlugin) -> object:
        found = self._resolve(plugin, plugin.open)
        if not callable(found):
            raise PluginError(f"{self._owner(plugin)}: open {plugin.open!r} is not callable")
        return found

    def _resolve(self, plugin: ChannelPlugin | AgentPlugin, reference: str) -> object:
        module, colon, attribute = reference.partition(":")
        if not (module and colon and attribute):
            raise PluginError(f"{self._owner(plugin)}: {reference!r} is not of the form module:attribute")
        try:
            with third_party():
                found: object = import_module(module)
                for part in attribute.split("."):
                    found = getattr(found, part)
                return found
        except Exception as error:
            raise PluginError(f"{self._owner(plugin)}: {reference!r} cannot be imported: {describe(error)}") from error

    def _owner(self, plugin: ChannelPlugin | AgentPlugin) -> str:
        return (self._channels if isinstance(plugin, ChannelPlugin) else self._agents).owner(plugin.id)


class _PluginSet(Generic[Manifest]):
    """The plug-ins of one kind. Manifests are loaded at the first use and kept."""

    def __init__(self, kind: str, manifest: type[Manifest], offers: Iterable[Offer]) -> None:
        self._kind = kind
        self._manifest = manifest
        self._offers: dict[str, list[Offer]] = {}
        for offer in offers:
            self._offers.setdefault(offer.id, []).append(offer)
        self._loaded: dict[str, Manifest] = {}

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(sorted(self._offers))

    def owner(self, plugin_id: str) -> str:
        names = " and ".join(offer.distribution for offer in self._offers.get(plugin_id, ()))
        return f'{self._kind} "{plugin_id}" ({names or "not registered"})'

    def get(self, plugin_id: str) -> Manifest:
        if plugin_id not in self._loaded:
            self._loaded[plugin_id] = self._load(plugin_id)
        return self._loaded[plugin_id]

    def _load(self, plugin_id: str) -> Manifest:
        offers = self._offers.get(plugin_id, [])
        if not offers:
            raise PluginError(f'no {self._kind} "{plugin_id}" is installed; there are: {", ".join(self.ids) or "none"}')
        if len(offers) > 1:
            raise PluginError(f"{self.owner(plugin_id)} is offered more than once; uninstall all but one")
        target: object = offers[0].target
        if isinstance(target, EntryPoint):
            target = self._import(target, plugin_id)
        if not isinstance(target, self._manifest):
            wanted = self._manifest.__name__
            raise PluginError(f"{self.owner(plugin_id)}: the manifest is a {type(target).__name__}, not a {wanted}")
        if target.id != plugin_id:
            raise PluginError(f'{self.owner(plugin_id)}: the manifest calls itself "{target.id}"')
        if isinstance(target, ChannelPlugin) and target.api != API:
            what = f"is written for version {target.api} of the channel port, and this gatewayd has version {API}"
            raise PluginError(f"{self.owner(plugin_id)} {what}: install a release of the plug-in that fits")
        if isinstance(target, ChannelPlugin):
            self._check_values(target)
            if (why_not := unusable_routes(target)) is not None:
                raise PluginError(f"{self.owner(plugin_id)}: {why_not}")
        return target

    def _check_values(self, plugin: ChannelPlugin) -> None:
        """The hub reckons with them where no border of a plug-in is near."""
        try:
            convert(to_builtins(plugin), ChannelPlugin)
            for limit in filter(None, (plugin.text_limit, plugin.caption_limit)):
                check_limit(limit)
        except Exception as error:
            raise PluginError(f"{self.owner(plugin.id)}: {describe(error)}") from error

    def _import(self, entry_point: EntryPoint, plugin_id: str) -> object:
        try:
            with third_party():
                return cast(object, entry_point.load())
        except Exception as error:
            raise PluginError(f"{self.owner(plugin_id)}: {entry_point.value!r} cannot be imported: {describe(error)}") from error


def _read(distribution: Distribution, offers: Mapping[str, list[Offer]], seen: set[str]) -> None:
    """Add the entry points of a distribution. Of two copies the first on ``sys.path`` counts, as in an import."""
    text = distribution.read_text("entry_points.txt")
    # Most distributions have none for gatewayd, and the parsing is most of the cost of importlib.metadata.entry_points().
    if not text or not any(group in text for group in offers):
        return
    name = _name(distribution)
    if (key := name.partition(" ")[0].lower().replace("_", "-").replace(".", "-")) in seen:
        return
    seen.add(key)
    for entry_point in distribution.entry_points:
        if entry_point.group in offers:
            offers[entry_point.group].append(Offer(entry_point.name, name, entry_point))


def _name(distribution: Distribution) -> str:
    try:
        with third_party():
            if distribution.name:
                return f"{distribution.name} {distribution.version}"
    except Exception:
        return str(getattr(distribution, "_path", "a distribution without readable metadata"))
    # Without METADATA the folder still names it.
    return str(getattr(distribution, "_path", "a distribution without metadata"))
