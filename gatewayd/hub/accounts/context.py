"""What all accounts share, and what one life hands to its driver."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Protocol

from gatewayd.hub.accounts.transport import Reporter
from gatewayd.hub.configured import Configured
from gatewayd.hub.events import EventLog
from gatewayd.hub.outbox.outbox import Outbox
from gatewayd.hub.state import OwnState
from gatewayd.kit.files import open_file
from gatewayd.model.config import AccountSettings
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.model.message.payload import SendFile
from gatewayd.ports.channel import OutgoingFile
from gatewayd.ports.store import AccountReport, InboundRow, StateRows, StateValue

if TYPE_CHECKING:
    import httpx2
    from structlog.typing import FilteringBoundLogger


class Journal(Protocol):
    """Where messages are committed: the inbox."""

    async def deliver(
        self,
        envelopes: Sequence[InboundEnvelope],
        *,
        state: Sequence[StateValue] = (),
        reports: Sequence[AccountReport] = (),
    ) -> list[InboundRow]: ...


GapEnd = Callable[[str, str], None]
"""Called with channel and account when the account is connected, and was not before: its platform may have lost something. Never
waits."""


class QueueSource(Protocol):
    """The backlog, as accounts need it."""

    def waiting_of(self, channel: str, account: str) -> int: ...

    def full_since(self, channel: str, account: str) -> float | None: ...


@dataclass(frozen=True)
class AccountContext:
    """What all accounts share. ``redact`` takes secrets out of texts. ``files`` is the folder of the files to send."""

    outbox: Outbox
    backlog: QueueSource
    state: StateRows
    http: "httpx2.AsyncClient"
    log: "FilteringBoundLogger"
    rng: Random
    now: Callable[[], float]
    redact: Callable[[str], str]
    configured: Configured
    events: EventLog
    files: Path | None


class Services:
    """``ChannelServices`` for one life."""

    def __init__(
        self, settings: AccountSettings, connection: Reporter, context: AccountContext, log: "FilteringBoundLogger"
    ) -> None:
        self.http = context.http
        self.connection = connection
        self.state = OwnState(context.state, settings.channel, settings.account)
        self.log = log
        self.rng = context.rng
        self._now = context.now
        self._files = context.files

    def open_file(self, payload: SendFile) -> AbstractAsyncContextManager[OutgoingFile]:
        return open_file(self._files, payload.file, payload.size_bytes)

    def now(self) -> float:
        return self._now()
