"""What a channel is: a manifest that imports no driver, an opener, and an open account with two methods.

A driver is one folder: ``__init__.py`` (the manifest ``PLUGIN``), ``wire.py`` (pure: the platform's bytes to structs and back)
and ``channel.py`` (I/O). The kind of error that it raises says what to do next, see ``gatewayd.model.errors``. How to write
one: docs/how-to/write-a-channel.md.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from random import Random
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from msgspec import Struct

from gatewayd.model.message.envelope import Attachment, InboundEnvelope
from gatewayd.model.message.payload import OutboundPayload, Receipt, Signal
from gatewayd.ports.store import State

if TYPE_CHECKING:
    import httpx2
    from structlog.typing import FilteringBoundLogger

TextUnit = Literal["utf16", "bytes", "chars"]
TextFormat = Literal["markdown", "rich", "plain"]


class TextLimit(Struct, frozen=True):
    """The longest text of one message, in UTF-16 code units, UTF-8 bytes or code points."""

    size: int
    unit: TextUnit


class ChannelPlugin(Struct, frozen=True):
    """The manifest. Loading it imports no driver code: ``settings`` and ``open`` are named as ``module:attribute``.

    The driver takes our own name out of a command that is addressed by name (``/stop@us``). A command with another name is for
    another bot.

    ``settings`` names a frozen msgspec Struct (``forbid_unknown_fields``) for the account's own keys; ``open`` names a
    ``ChannelOpener``. ``text_format`` says what ``RichText.text`` of a SendText is; ``text_limit`` None means no limit.
    ``webhook``: the channel may implement ReceivesWebhooks. ``authenticates_peers``: the channel itself
    admits people (as the login of the web chat does), so ``dm_policy`` defaults to open. ``resend_is_safe``: the platform drops a
    repeated send by itself, so rows in ``sending`` may be sent again after a crash. ``buttons``: SendText.choices are shown,
    and a press arrives as an envelope of the kind button (``text`` the choice's data, ``message_id`` the message it was
    under, ``press`` the platform's id of the press); without it a text says what to write instead. ``edits``: EditText is
    carried out; without it the hub sends a new text. ``id_pattern`` is a regular expression
    that every id matches as a whole, and ``id_form`` says the same in words. Any other value in ``allow_from`` and ``groups`` is
    an error of the configuration, because it would match nobody.
    """

    id: str
    label: str
    settings: str
    open: str
    text_format: TextFormat = "markdown"
    text_limit: TextLimit | None = None
    webhook: bool = False
    authenticates_peers: bool = False
    resend_is_safe: bool = False
    one_account: bool = False
    buttons: bool = False
    edits: bool = False
    id_pattern: str | None = None
    id_form: str = "an id of the channel"


class AccountConfig(Struct, frozen=True):
    """What a driver knows about its account: name, decoded settings, and the public webhook URL if there is one."""

    channel: str
    account: str
    settings: Struct
    webhook_url: str | None = None


class Deliver(Protocol):
    """Journal envelopes. Returns after the commit: only then may the driver acknowledge them. Waits while the inbox is full.

    ``save_state`` (key, value) is stored in the account's state in the same transaction, e.g. a poll offset. Envelopes seen
    before are skipped. Of envelopes with an id that has a NUL character or more than 2,048 bytes, or with a text that is no
    Unicode, nothing is stored: that is a bug of the driver.
    """

    async def __call__(self, envelopes: Sequence[InboundEnvelope], *, save_state: tuple[str, str] | None = None) -> None: ...


class ConnectionReporter(Protocol):
    """What a driver reports about its transport. All three methods are synchronous and cheap."""

    def connected(self, identity: str | None = None) -> None:
        """The platform has accepted us under this identity: the account is ``connected``."""

    def heard(self) -> None:
        """The inbound transport works (a poll returned, a frame arrived), even if it carried no message."""

    def expect_silence(self, at_most_seconds: float | None) -> None:
        """From now on, a longer silence means that the transport hangs. None (the default): silence is normal."""


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

    def now(self) -> float:
        """Unix seconds."""


class Channel(Protocol):
    """One open account."""

    async def listen(self, deliver: Deliver) -> None:
        """Receive until cancelled. Raises TryAgain, NeedsOperator; returning is a bug. A webhook-mode driver waits here
        and may check its registration from time to time."""

    async def send(self, payload: OutboundPayload) -> Receipt:
        """Send one payload. Called one at a time per conversation, concurrently across conversations.

        :raises TryAgain: it was surely not sent. ``scope`` says what has to wait: this conversation, everything that the account
            ``"sends"`` (it is too fast, as the platform or the driver says), or the account, which is connected anew.
        :raises SendRejected: the platform refuses this payload for good.
        :raises OutcomeUnknown: it was perhaps sent.
        :raises NeedsOperator: the account cannot go on.
        """


class ChannelOpener(Protocol):
    """``open(account, services)``: connects nothing that ``listen`` can connect; closes everything it opened, within seconds."""

    def __call__(self, account: AccountConfig, services: ChannelServices, /) -> AbstractAsyncContextManager[Channel]: ...


@runtime_checkable
class ShowsSignals(Protocol):
    """A channel that can show typing, a draft, or the answer to a button press. Best effort: its errors are ignored, it may be
    cancelled at any time, and it ignores a kind of signal that it cannot show."""

    async def signal(self, signal: Signal) -> None: ...


class WebhookRequest(Struct, frozen=True):
    """One HTTP request at ``/v1/webhooks/{channel}/{account}``. Header names are lower case; the body is size-checked already."""

    method: str
    headers: Mapping[str, str]
    query: str
    body: bytes


class WebhookReply(Struct, frozen=True):
    """What to journal, and what to answer after the commit. A status of 400 and up journals nothing. ``save_state``
    (key, value) is stored in the same transaction as the envelopes; without any it is not stored."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain"
    envelopes: tuple[InboundEnvelope, ...] = ()
    save_state: tuple[str, str] | None = None


@runtime_checkable
class ReceivesWebhooks(Protocol):
    """A channel with a webhook. ``receive`` is pure and quick: check the signature or secret in constant time, parse."""

    def receive(self, request: WebhookRequest) -> WebhookReply: ...

    async def received(self, request: WebhookRequest, reply: WebhookReply) -> None:
        """Called in the background after the commit and the answer, e.g. to answer a callback. Best effort."""


@runtime_checkable
class ChecksHeaders(Protocol):
    """A channel with a webhook whose secret is in a header. A wrong secret is refused before the body is read."""

    def check_headers(self, headers: Mapping[str, str]) -> WebhookReply | None:
        """Pure and quick, as ``receive``, which has to check the headers, too. None: they are good, read the body."""


@runtime_checkable
class FetchesMedia(Protocol):
    """A channel whose attachments can be fetched on demand."""

    async def fetch(self, attachment: Attachment, *, at_most_bytes: int) -> bytes:
        """:raises SendRejected: too large, or gone. :raises TryAgain: an outage."""
