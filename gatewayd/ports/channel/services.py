"""What the hub hands to a driver: its account, its state, its log, its HTTP client, and ``deliver``."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.model.message.payload import SendFile
from gatewayd.model.message.report import DeliveryReport
from gatewayd.ports.store import State

if TYPE_CHECKING:
    import httpx2
    from structlog.typing import FilteringBoundLogger

NO_STATE: Final[Mapping[str, str]] = MappingProxyType({})


class AccountConfig(Struct, frozen=True):
    """What a driver knows about its account: name, decoded settings, and the public webhook URL if there is one."""

    channel: str
    account: str
    settings: Struct
    webhook_url: str | None = None


class Deliver(Protocol):
    """Journal envelopes and delivery reports. Returns after the commit: only then may the driver acknowledge them. Waits while
    the inbox is full.

    ``state`` is stored in the account's state in the same transaction, e.g. a poll offset. Envelopes seen
    before are skipped. Of envelopes with an id that has a NUL character or more than 2,048 bytes, or with a text that is no
    Unicode, nothing is stored: that is a bug of the driver. ``reports`` are about messages of this account, in the same
    transaction.
    """

    async def __call__(
        self,
        envelopes: Sequence[InboundEnvelope],
        *,
        state: Mapping[str, str] = NO_STATE,
        reports: Sequence[DeliveryReport] = (),
    ) -> None: ...


class ConnectionReporter(Protocol):
    """What a driver reports about its transport. All methods are synchronous and cheap."""

    def connected(self, identity: str | None = None, *, resumed: bool = False) -> None:
        """The platform has accepted us under this identity: the account is ``connected``. ``resumed``: of an interruption that is
        over, everything comes that happened meanwhile, presses, too (see ``repeats_presses`` of the manifest)."""

    def connect_within(self, seconds: float) -> None:
        """Connecting, also after an interruption, may take this long: more than 0 and at most 3,600. The default is 60. When it
        takes longer, the account is opened anew."""

    def interrupted(self, reason: str) -> None:
        """The transport is away, and the driver connects again by itself (a session is resumed). Until ``connected`` the account
        is ``interrupted``, and its sends wait. Raise TryAgain instead where a new life is as good."""

    def lacks(self, what: str, reason: str | None) -> None:
        """A part of the connected account does not work (a shard, a channel that cannot be joined): it is degraded. None as
        ``reason``: this part works again."""

    def heard(self) -> None:
        """The inbound transport works (a poll returned, a frame arrived), even if it carried no message."""

    def expect_silence(self, at_most_seconds: float | None) -> None:
        """From now on, a longer silence means that the transport hangs. None (the default): silence is normal."""


class OutgoingFile(Protocol):
    """The bytes of a file that is being sent, in order."""

    async def read(self, at_most_bytes: int) -> bytes:
        """The next bytes; none at the end. :raises SendRejected: the file has changed since it was written."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The bytes that are left, in chunks of 64 KiB. Raises as ``read``."""


class ChannelServices(Protocol):
    """What the hub hands to a driver."""

    @property
    def http(self) -> "httpx2.AsyncClient":
        """The shared HTTP client. Never closed by the driver; every call sets its own timeout."""

    @property
    def connection(self) -> ConnectionReporter: ...

    @property
    def state(self) -> State: ...

    @property
    def log(self) -> "FilteringBoundLogger":
        """Bound to channel and account."""

    @property
    def rng(self) -> Random: ...

    def open_file(self, payload: SendFile) -> AbstractAsyncContextManager[OutgoingFile]:
        """The bytes of a file to send. ``payload.size_bytes`` is how many they are.

        :raises SendRejected: the file is gone, or is not what was written.
        """

    def now(self) -> float:
        """Unix seconds."""
