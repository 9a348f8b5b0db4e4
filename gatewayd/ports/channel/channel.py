"""An open account: two methods that every channel has, and protocols for what only some can do."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.envelope import Attachment, InboundEnvelope, Peer
from gatewayd.model.message.payload import OutboundPayload, Receipt, RichText, Signal
from gatewayd.ports.channel.manifest import TextLimit
from gatewayd.ports.channel.services import AccountConfig, ChannelServices, Deliver


class Channel(Protocol):
    """One open account."""

    async def listen(self, deliver: Deliver) -> None:
        """Receive until cancelled. Raises TryAgain, NeedsOperator; returning is a bug. A webhook-mode driver waits here
        and may check its registration from time to time. When the daemon stops, this is cancelled first, and sends go on until
        the account is closed."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        """Send one payload. Called one at a time per conversation, concurrently across conversations.

        ``key`` is the identity of this send: the same in each attempt, also after a restart, and never used for another payload.
        It matches ``[a-z0-9]{1,25}`` and goes into the platform's own field for it, where there is one (Discord's nonce, Matrix's
        txnId, a Message-ID).

        :raises TryAgain: this call surely sent nothing. ``scope`` says what has to wait: this conversation, everything that the
            account ``"sends"`` (it is too fast, as the platform or the driver says), or the account, which is connected anew.
        :raises SendRejected: the platform refuses this payload for good.
        :raises OutcomeUnknown: it was perhaps sent. The hub decides whether it is repeated.
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


@runtime_checkable
class ShowsGrowth(Protocol):
    """A channel in which a reply grows in its message while the agent writes (the manifest's ``grows``).

    The message begins as a SendText with ``grows``. ``grow`` shows more of it, and an EditText of it is its end. After that
    ``grow`` is not called for it any more.
    """

    def grows_every(self, peer: Peer) -> float | None:
        """The least pause between two calls of ``grow`` in this chat, in seconds. None: replies do not grow there, because the
        channel shows drafts, or cannot edit. Synchronous and quick."""

    async def grow(self, peer: Peer, message_id: str, text: RichText, *, key: str) -> None:
        """Show ``text``, the whole text so far, in the message that was sent with this ``key``. It fits into one message. Best
        effort: what is not shown is shown by the next call, or by the end. One call at a time for each message; a call that
        takes more than some seconds is cancelled.

        :raises TryAgain: not now, and nothing was shown. ``after_seconds`` is the pause that the platform wants.
        :raises SendRejected: the message cannot be edited any more.
        """


@runtime_checkable
class FetchesMedia(Protocol):
    """A channel whose attachments can be fetched on demand."""

    async def fetch(self, attachment: Attachment, *, at_most_bytes: int) -> bytes:
        """:raises SendRejected: too large, or gone. :raises TryAgain: an outage."""


@runtime_checkable
class RecallsThreads(Protocol):
    """A channel that can tell what was said in a thread before (the manifest's ``recalls``)."""

    async def earlier(self, envelope: InboundEnvelope, *, at_most: int) -> Sequence[Earlier]:
        """The newest messages of the envelope's thread (``peer.thread``) that are older than the envelope, the oldest first, with
        the message that began the thread. Of messages that were changed or deleted, what is there now. Asked once for each
        session, before its first turn, which waits for it for some seconds.

        :raises TryAgain, SendRejected: they cannot be read. The turn begins without them.
        """


@runtime_checkable
class Reconciles(Protocol):
    """A channel that can look up whether a send of unknown outcome had its effect (the manifest's ``reconciles``)."""

    async def find_sent(self, payload: OutboundPayload, *, key: str, since: float) -> Receipt | None:
        """The receipt of the send with this ``key``, first attempted at ``since`` (Unix seconds). None: it surely had no effect,
        so it may be sent again.

        :raises TryAgain: it cannot be told now. :raises OutcomeUnknown: it can never be told.
        """


@runtime_checkable
class LimitsText(Protocol):
    """A channel whose limit depends on the peer or on the connection."""

    def limit_of(self, peer: Peer) -> TextLimit:
        """The limit for this peer, at most the manifest's. Synchronous and quick. If it cannot hold every character, or is
        an error, the manifest's limit counts."""
