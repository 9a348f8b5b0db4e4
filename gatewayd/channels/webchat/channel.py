"""The web chat's driver. Its transport is gatewayd's own HTTP server: ``http.py`` calls ``receive`` and ``subscribe``.

What a page shows is the journal: the inbox rows and the outbox rows of its conversation, an edit being a row that changes
another. So ``send`` only notifies the open pages, and a page that was closed meanwhile reads the journal when it comes back.
"""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
import anyio.lowlevel
from msgspec import Struct
from msgspec.structs import replace

from gatewayd.actor.wakeup import Wakeup
from gatewayd.channels.webchat.settings import WebchatSettings
from gatewayd.model.errors import Overloaded
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.message.payload import Draft, EditText, OutboundPayload, PressAnswer, Receipt, Signal, Typing
from gatewayd.ports.channel import AccountConfig, ChannelServices, Deliver

PAGES_PER_NAME = 20
ANSWERS_KEPT = 20
"""How many answers to button presses wait for one page. Older ones are dropped, which does no harm."""


class PageUpdate(Struct, frozen=True):
    """The changes since the last update of a page. The page shows them in this order: new and changed lines, the answers to
    presses, then what the agent does."""

    lines: bool = False
    answers: tuple[PressAnswer, ...] = ()
    typing: bool = False
    draft: Draft | None = None


class Page:
    """One open page. Holds one update, into which later changes are merged: a page that reads slowly costs no memory.
    ``session`` is the id of the login that it was opened with."""

    def __init__(self, session: str = "") -> None:
        self.session = session
        self._update = PageUpdate()
        self._closed = False
        self._something = Wakeup()

    async def wait_update(self) -> PageUpdate | None:
        """The changes since the last call. Waits for the first. None: the channel is closed; the page comes back later."""
        if not self._closed:
            await self._something.take()
        if self._closed:
            return None
        update, self._update = self._update, PageUpdate()
        return update

    def tell_line(self, *, ends_draft: bool) -> None:
        """The conversation has a new line, or a changed one. A line from the agent replaces its draft."""
        if ends_draft:
            self._tell(replace(self._update, lines=True, typing=False, draft=None))
        else:
            self._tell(replace(self._update, lines=True))

    def tell_signal(self, signal: Signal) -> None:
        match signal:
            case PressAnswer():
                self._tell(replace(self._update, answers=(*self._update.answers, signal)[-ANSWERS_KEPT:]))
            case Draft():
                self._tell(replace(self._update, typing=True, draft=signal))
            case Typing():
                self._tell(replace(self._update, typing=True))

    def close(self) -> None:
        self._closed = True
        self._something.notify()

    def _tell(self, update: PageUpdate) -> None:
        self._update = update
        self._something.notify()


class WebchatChannel:
    """The one account of the web chat. A peer is a login's name: the same name on two devices is one conversation."""

    def __init__(self, account: AccountConfig, settings: WebchatSettings, services: ChannelServices) -> None:
        self._settings = settings
        self._account = account
        self._services = services
        self._deliver: Deliver | None = None
        self._pages: dict[str, list[Page]] = {}
        self._closed = False

    async def listen(self, deliver: Deliver) -> None:
        """Connected at once, and until cancelled: pages come to us."""
        self._deliver = deliver
        self._services.connection.connected()
        try:
            await anyio.sleep_forever()
        finally:
            self._deliver = None

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        """Notify the open pages. The outbox row is the message itself; it gets an id, so that a button press can name it."""
        self._tell_line(payload.peer.id, ends_draft=not isinstance(payload, EditText))
        await anyio.lowlevel.checkpoint()
        return Receipt(payload.message_id if isinstance(payload, EditText) else secrets.token_hex(8))

    async def signal(self, signal: Signal) -> None:
        for page in self._pages.get(signal.peer.id, ()):
            page.tell_signal(signal)
        await anyio.lowlevel.checkpoint()

    async def receive(self, name: str, text: str, client_message_id: str) -> str:
        """Journal one message of ``name`` and return its event key. Returns after the commit; waits while the inbox is full.

        ``client_message_id`` is random and made by the page: the same message posted twice has one event key, so it is one turn.

        :raises Overloaded: the account is stopping, nothing was stored.
        """
        envelope = self._envelope(name, _event_key(name, client_message_id), text)
        await self._journal(envelope)
        self._tell_line(name, ends_draft=False)
        return envelope.event_key

    async def press(self, name: str, message_id: str, data: str, press: str) -> str:
        """Journal one press of a button by ``name`` and return its event key. Otherwise as ``receive``.

        ``message_id`` is that of the receipt. ``press`` is random and made by the page; the answer is addressed to it.
        """
        envelope = self._envelope(name, f"{name}:press:{press}", data)
        await self._journal(replace(envelope, kind="button", message_id=message_id, press=press))
        return envelope.event_key

    @contextmanager
    def subscribe(self, name: str, session: str = "") -> Iterator[Page]:
        """An open page of ``name``, for as long as the block lasts. ``session``: see :meth:`close_pages_of`.

        :raises Overloaded: too many pages are open, or the account is stopping.
        """
        self.check_limits(name)
        page = Page(session)
        mine = self._pages.setdefault(name, [])
        mine.append(page)
        try:
            yield page
        finally:
            mine.remove(page)
            if not mine:
                self._pages.pop(name, None)

    def check_limits(self, name: str) -> None:
        """:raises Overloaded: ``subscribe`` would refuse."""
        if self._closed:
            raise Overloaded("the web chat is stopping")
        if len(self._pages.get(name, ())) >= PAGES_PER_NAME or self.open_pages >= self._settings.max_pages:
            raise Overloaded("too many pages of this chat are open; close one and reload")

    def close_pages_of(self, name: str, session: str) -> None:
        """End the streams of one login; each page comes back, and is asked to log in."""
        for page in self._pages.get(name, ()):
            if page.session == session:
                page.close()

    def pages_of(self, name: str, session: str) -> int:
        """How many pages are open with one login."""
        return sum(page.session == session for page in self._pages.get(name, ()))

    @property
    def open_pages(self) -> int:
        return sum(map(len, self._pages.values()))

    def close(self) -> None:
        """End every page's stream, and open no more; each comes back by itself."""
        self._closed = True
        for pages in self._pages.values():
            for page in pages:
                page.close()

    def _envelope(self, name: str, event_key: str, text: str) -> InboundEnvelope:
        return InboundEnvelope(
            channel=self._account.channel,
            account=self._account.account,
            event_key=event_key,
            kind="message",
            peer=Peer(kind="dm", id=name),
            sender=Sender(id=name, name=name),
            text=text,
            addressed=True,
            received_at=self._services.now(),
        )

    async def _journal(self, envelope: InboundEnvelope) -> None:
        if self._deliver is None:
            raise Overloaded("the web chat is not taking messages just now")
        self._services.connection.heard()
        await self._deliver([envelope])

    def _tell_line(self, name: str, *, ends_draft: bool) -> None:
        for page in self._pages.get(name, ()):
            page.tell_line(ends_draft=ends_draft)


def _event_key(name: str, client_message_id: str) -> str:
    return f"{name}:{client_message_id}"


def client_id_of(event_key: str, name: str) -> str:
    """The id that a page of ``name`` gave its message; empty for one that came in by another way."""
    prefix = _event_key(name, "")
    return event_key.removeprefix(prefix) if event_key.startswith(prefix) else ""


@asynccontextmanager
async def open_webchat(account: AccountConfig, services: ChannelServices) -> AsyncIterator[WebchatChannel]:
    """The ChannelOpener of the manifest. Opens nothing; leaving it closes every page's stream."""
    assert isinstance(account.settings, WebchatSettings)
    channel = WebchatChannel(account, account.settings, services)
    try:
        yield channel
    finally:
        channel.close()
