"""The configuration in force, where every part reads it."""

from collections.abc import Callable, Mapping

from gatewayd.hub.voters import Voters
from gatewayd.model.config import AccountSettings, AgentSettings, GatewayConfig
from gatewayd.ports.channel import ChannelPlugin


class Configured:
    """One for all parts: whoever reads it has the same configuration as everybody else. Parts that have something to do when it
    changes follow it.

    ``plugins`` are those of the configured channels: the mapping only grows. ``accounts`` are by channel and name, ``agents`` by
    their id; ``voters`` are who is one person.
    """

    config: GatewayConfig
    accounts: Mapping[tuple[str, str], AccountSettings]
    agents: Mapping[str, AgentSettings]
    voters: Voters

    def __init__(self, config: GatewayConfig, plugins: Mapping[str, ChannelPlugin]) -> None:
        self._plugins = dict(plugins)
        self.plugins: Mapping[str, ChannelPlugin] = self._plugins
        self._followers: list[Callable[[GatewayConfig], None]] = []
        self._take(config)

    def follow(self, reconfigure: Callable[[GatewayConfig], None]) -> None:
        """Have this called with every configuration from the next one on, when it is in force: one step that neither waits nor
        fails. For parts, when they are made."""
        self._followers.append(reconfigure)

    def add_plugins(self, plugins: Mapping[str, ChannelPlugin]) -> None:
        """What a configuration needs is here before it is put in force."""
        self._plugins.update(plugins)

    def replace(self, config: GatewayConfig) -> None:
        """Put a configuration in force that was checked: every part has it when this returns. A part that fails is a bug; then
        every part has the one before it."""
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
