"""The configuration in force, in one place for all parts, and the text limits of the open accounts."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import structlog
from msgspec.structs import replace

from gatewayd.actor.border import Bug, describe, third_party
from gatewayd.hub.voters import Voters
from gatewayd.kit.text.split import check_limit
from gatewayd.model.config import AccountSettings, AgentSettings, GatewayConfig
from gatewayd.model.ids import Peer
from gatewayd.ports.channel import ChannelPlugin, LimitsText, TextLimit

_log = structlog.get_logger("gatewayd.channels")


class Configured:
    """All parts read the configuration here, so they all have the same one. A part that must act on a change follows it.

    ``plugins`` are the plug-ins of the configured channels; the mapping only grows. The keys of ``accounts`` are channel and
    name, those of ``agents`` are ids. ``voters`` links the identities of one person.
    """

    config: GatewayConfig
    accounts: Mapping[tuple[str, str], AccountSettings]
    agents: Mapping[str, AgentSettings]
    voters: Voters

    def __init__(self, config: GatewayConfig, plugins: Mapping[str, ChannelPlugin]) -> None:
        self._plugins = dict(plugins)
        self.plugins: Mapping[str, ChannelPlugin] = self._plugins
        self._followers: list[Callable[[GatewayConfig], None]] = []
        self._limits: dict[tuple[str, str], LimitsText] = {}
        self._take(config)

    def follow(self, reconfigure: Callable[[GatewayConfig], None]) -> None:
        """Call ``reconfigure`` with each later configuration when it is in force. It must not wait or fail. Parts call this when
        they are made."""
        self._followers.append(reconfigure)

    def add_plugins(self, plugins: Mapping[str, ChannelPlugin]) -> None:
        """Add the plug-ins of a configuration, before it is put in force."""
        self._plugins.update(plugins)

    def plugin_for(self, channel: str, account: str, peer: Peer) -> ChannelPlugin:
        """The manifest for texts to this peer: its limit is that of the peer, as far as the open account says one.

        :raises KeyError: the channel is not configured.
        """
        plugin, limits = self._plugins[channel], self._limits.get((channel, account))
        if limits is None:
            return plugin
        try:
            with third_party():
                limit: object = limits.limit_of(peer)
                if not isinstance(limit, TextLimit):
                    raise Bug(f"limit_of gives a {type(limit).__name__}, not a TextLimit")
                check_limit(limit)
        except Exception as error:
            _log.error("limit_of_failed", channel=channel, account=account, reason=describe(error))
            return plugin
        return replace(plugin, text_limit=limit)

    @contextmanager
    def limited(self, channel: str, account: str, limits: LimitsText) -> Iterator[None]:
        """Inside, ``plugin_for`` asks this open account."""
        self._limits[channel, account] = limits
        try:
            yield
        finally:
            if self._limits.get((channel, account)) is limits:
                del self._limits[channel, account]

    def replace(self, config: GatewayConfig) -> None:
        """Put a checked configuration in force: every part has it when this returns. If a part fails, which is a bug, every part
        gets the earlier configuration again."""
        before = self.config
        try:
            self._put_in_force(config)
        except Exception:
            self._put_in_force(before)
            raise

    def _put_in_force(self, config: GatewayConfig) -> None:
        self._take(config)
        for reconfigure in self._followers:
            reconfigure(config)

    def _take(self, config: GatewayConfig) -> None:
        self.config = config
        self.accounts = {(account.channel, account.account): account for account in config.accounts}
        self.agents = {agent.agent_id: agent for agent in config.agents}
        self.voters = Voters(config.sessions.identity_links)
