"""What was said while nobody listened, from conversations.history and conversations.replies."""

from gatewayd.channels.slack.api import SlackApi
from gatewayd.channels.slack.receiving.inbound import Receiver
from gatewayd.channels.slack.receiving.threads import Threads
from gatewayd.channels.slack.settings import SlackSettings
from gatewayd.ports.channel import ChannelServices, Deliver


class Backfill:
    """Of one account."""

    def __init__(
        self, api: SlackApi, services: ChannelServices, settings: SlackSettings, receiver: Receiver, threads: Threads
    ) -> None:
        self._api = api
        self._services = services
        self._settings = settings
        self._receiver = receiver
        self._threads = threads

    async def run(self, deliver: Deliver) -> None:
        """Deliver what was missed, after a start and after each gap. When it is called again while it runs, it begins again."""
