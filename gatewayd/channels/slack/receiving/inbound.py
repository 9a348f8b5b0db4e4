"""What Slack tells us, as envelopes. Pure, but for what is remembered of threads and people."""

from collections.abc import Callable, Mapping

from msgspec import Raw, Struct

from gatewayd.channels.slack.receiving.people import People
from gatewayd.channels.slack.receiving.threads import Threads
from gatewayd.channels.slack.settings import SlackSettings
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.ports.channel import AccountConfig


class Bot(Struct, frozen=True):
    """Who we are (auth.test; bots.info for the app). ``team`` is the id of the workspace that the token is of."""

    team: str
    user_id: str
    bot_id: str | None = None
    app_id: str | None = None
    name: str | None = None


class Read(Struct, frozen=True):
    """What came of an event. ``state`` is stored with the envelopes. ``ignored``: in words, why there are none."""

    envelopes: tuple[InboundEnvelope, ...] = ()
    state: Mapping[str, str] = {}
    ignored: str | None = None


class Receiver:
    """Of one account. The methods take what Slack has sent, and are quick.

    :raises Malformed: it cannot be read who did what where.
    """

    def __init__(
        self,
        account: AccountConfig,
        bot: Bot,
        settings: SlackSettings,
        threads: Threads,
        people: People,
        now: Callable[[], float],
    ) -> None:
        self.bot = bot
        self._account = account
        self._settings = settings
        self._threads = threads
        self._people = people
        self._now = now

    def event(self, payload: bytes | Raw) -> Read:
        """The body of an Events API callback, which is also the payload of an ``events_api`` frame."""
        return Read(ignored="not read yet")

    def interaction(self, payload: bytes | Raw) -> Read:
        """A press of a button, or a shortcut."""
        return Read(ignored="not read yet")

    def command(self, payload: bytes | Raw | Mapping[str, str]) -> Read:
        """A slash command: the JSON of a ``slash_commands`` frame, or the fields of the form."""
        return Read(ignored="not read yet")
