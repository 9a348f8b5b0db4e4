"""What the contract needs of the tests of a channel: the other side of the network.

Every harness is a ``Harness``. What only some networks have is a protocol of its own. Where a harness lacks one, the contract
fails, unless the manifest does not promise it, or the author says in ``excuses`` why the network has no such thing.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, get_args, runtime_checkable

from msgspec import Struct

from gatewayd.model.message.envelope import Peer
from gatewayd.ports.channel import AccountConfig, ReportKind, WebhookRequest

if TYPE_CHECKING:
    from gatewayd.testing.channel_contract.account import Account

SendFailure = Literal["outage", "rate limit", "pace", "rejected", "revoked", "cut", "half"]
Place = Literal["other", "group", "thread"]
Ability = Literal[
    "breaks",
    "edits in",
    "files in",
    "pings",
    "redelivery",
    "replies",
    "reports",
    "secrets",
    "silence",
    "stalls",
    "webhooks",
]

SEND_FAILURES: tuple[SendFailure, ...] = get_args(SendFailure)
PLACES: tuple[Place, ...] = get_args(Place)
ABILITIES: tuple[Ability, ...] = get_args(Ability)


class Harness(Protocol):
    """One account and its platform, for one test. ``peer`` is a user: ``produce`` lets this user write, and we can send to them.

    The platform outlives the driver, which is opened and closed as often as the contract wants.

    ``failures`` are the ways in which the platform can make the next send (or edit) fail, and how to arrange for each:

    - outage: nothing was sent, and it may be tried again;
    - rate limit: nothing was sent, and the platform says how long to wait;
    - pace: a rate limit of the whole account, which waits with its sends and stays connected;
    - rejected: this one payload is refused for good;
    - revoked: the credential is void;
    - cut: the connection ends after the platform has carried it out, and before it has said so;
    - half: it takes the first piece of a text that is sent in pieces, and refuses the next one.
    """

    @property
    def account(self) -> AccountConfig: ...

    @property
    def peer(self) -> Peer: ...

    @property
    def failures(self) -> Mapping[SendFailure, Callable[[], Awaitable[None]]]: ...

    async def produce(self, text: str) -> None:
        """``peer`` writes ``text``. Returns when it has happened on the platform, without waiting for the driver."""

    async def received(self) -> Sequence[str]:
        """The texts that the platform shows to ``peer``, oldest first, as plain text."""


# By the words of the manifest.


@runtime_checkable
class AcknowledgesHarness(Harness, Protocol):
    """Of a channel that ``acknowledges``."""

    async def acknowledged(self) -> int:
        """How many of the produced messages the driver has acknowledged: the platform will not send them again."""

    async def wait_acknowledged(self, count: int) -> None:
        """Returns once that many are."""


class Button(Struct, frozen=True):
    """A button as the platform shows it, with the data that its press sends."""

    label: str
    data: str


class Shown(Struct, frozen=True):
    """A message as the platform shows it now. ``buttons`` are in the order of reading; ``reply_to`` is the message it answers."""

    id: str
    text: str
    buttons: tuple[Button, ...] = ()
    reply_to: str | None = None


@runtime_checkable
class ShowsHarness(Harness, Protocol):
    """Of a channel whose messages have ids. Alone it is the ability ``replies``."""

    async def shown(self) -> Sequence[Shown]:
        """What the platform shows to ``peer``, oldest first."""


@runtime_checkable
class EditsHarness(ShowsHarness, Protocol):
    """Of a channel with ``edits``."""

    @property
    def unknown_message(self) -> str | None:
        """The id of a message that is not there; None where a driver cannot know which are."""


@runtime_checkable
class ButtonsHarness(EditsHarness, Protocol):
    """Of a channel with ``buttons``."""

    async def press(self, message_id: str, data: str) -> None:
        """``peer`` presses the button with this data. Returns when it has happened on the platform."""

    async def wait_answers(self, count: int) -> Sequence[str]:
        """The answers to the presses that ``peer`` was shown, in order. Returns once there are that many."""


@runtime_checkable
class FilesHarness(Harness, Protocol):
    """Of a channel with ``files``."""

    async def received_files(self) -> Sequence[tuple[str, bytes, str]]:
        """Name, content and caption of the files that the platform shows to ``peer``, oldest first."""


# Of whom the driver is the server.


@runtime_checkable
class CallsHarness(Harness, Protocol):
    """Of a network that calls us: by webhook, or at routes of the channel's own."""

    def reach(self, account: "Account | None") -> None:
        """The account listens, or (None) it does not: who calls then gets no answer."""


@runtime_checkable
class WebhooksHarness(CallsHarness, Protocol):
    """Of a channel with ``webhook``; the ability ``webhooks``."""

    async def genuine(self, text: str) -> WebhookRequest:
        """A request of the platform: ``peer`` has written ``text``. It is not sent."""

    def forged(self, genuine: WebhookRequest) -> Sequence[WebhookRequest]:
        """The same from somebody who does not know the secret: without a signature, with another one, with another body."""


@runtime_checkable
class ArrivesHarness(Harness, Protocol):
    """Of a network whose clients connect to the driver."""

    async def wait_there(self) -> None:
        """Returns once a send would find ``peer``."""


# By what the network has.


@runtime_checkable
class PlacesHarness(Harness, Protocol):
    """``places`` are the peers beside ``peer``: another user (``other``), a group, and a thread in it.

    ``people`` are the ids of two members of the group, as the platform has them. The first is ``peer``'s, the second
    ``other``'s, if there are these.
    """

    @property
    def places(self) -> Mapping[Place, Peer]: ...

    @property
    def people(self) -> tuple[str, str]: ...

    async def write(self, text: str, *, peer: Peer, sender: str, mentions: bool = False) -> None:
        """As ``produce``, by this person, in one of the places. ``mentions``: the text is for us, in the platform's own way;
        the driver may leave the name in the text or take it out."""

    async def received_in(self, peer: Peer) -> Sequence[str]:
        """As ``received``, in one of the places. What is in a thread is not in its group."""


@runtime_checkable
class BreaksHarness(Harness, Protocol):
    """The ability ``breaks``: the driver has a connection, or a request that waits, which can be cut."""

    async def cut(self) -> None:
        """The connection breaks, and there is no new one until ``heal``."""

    async def heal(self) -> None: ...


@runtime_checkable
class SilenceHarness(Harness, Protocol):
    """The ability ``silence``: a connection that is up and dead (half-open)."""

    async def go_silent(self) -> None:
        """From now on nothing comes from the platform. What is connected stays so, and a new connection gets no answer."""


@runtime_checkable
class PingsHarness(Harness, Protocol):
    """The ability ``pings``: the platform throws out who does not answer."""

    async def ping(self) -> None:
        """Returns once the driver has answered."""


@runtime_checkable
class StallsHarness(Harness, Protocol):
    """The ability ``stalls``: a send may wait for the platform's answer."""

    async def stall(self) -> None:
        """From now on the platform does not answer what is sent to ``peer``. Others get their answers."""


@runtime_checkable
class RedeliversHarness(Harness, Protocol):
    """The ability ``redelivery``: the platform sends an event again when it is not sure that it has arrived."""

    async def redeliver(self) -> None:
        """The latest event comes once more, though it was acknowledged."""


@runtime_checkable
class ReportsHarness(Harness, Protocol):
    """The ability ``reports``: the platform tells what became of a message that it took."""

    async def report(self, message_id: str, kind: ReportKind) -> None:
        """The platform tells this of one of our messages."""


@runtime_checkable
class EditsInHarness(Harness, Protocol):
    """The ability ``edits in``: users can change what they wrote."""

    async def correct(self, text: str) -> None:
        """``peer`` changes their latest message to ``text``."""


@runtime_checkable
class FilesInHarness(Harness, Protocol):
    """The ability ``files in``: users send files."""

    async def produce_file(self, name: str, content: bytes) -> None:
        """As ``produce``, with a file."""


PROTOCOLS: Mapping[Ability, type[Harness]] = {
    "breaks": BreaksHarness,
    "edits in": EditsInHarness,
    "files in": FilesInHarness,
    "pings": PingsHarness,
    "redelivery": RedeliversHarness,
    "reports": ReportsHarness,
    "silence": SilenceHarness,
    "stalls": StallsHarness,
    "webhooks": WebhooksHarness,
}
"""What a harness with the ability is. The others cannot be seen: ``replies``, ``secrets``."""
