"""A conversation of the web chat as the page shows it: its lines from the store, and the stream of its events."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final, Literal

import anyio
import anyio.to_thread
import msgspec
from msgspec import Struct

from gatewayd.channels.webchat.channel import Page, PageUpdate, WebchatChannel, client_id_of
from gatewayd.channels.webchat.login import Login, find_login
from gatewayd.kit.html import markdown_to_html
from gatewayd.kit.transcript import ChatLine, lines_of
from gatewayd.model.errors import Overloaded, StoreRefused
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import Choice
from gatewayd.ports.channel import HttpDesk

HISTORY_LINES: Final = 200
PING_SECONDS: Final = 15.0
_DRAFT_CHARS_PER_SECOND: Final = 200_000  # a draft is sent whole each time: the longer it is, the less often


class Line(Struct, frozen=True, omit_defaults=True):
    """One line: ``text`` of the person, or safe ``html`` of the agent with rows of ``buttons``, after the last edit. ``at`` is
    Unix seconds; ``client`` is the id that a page gave its message."""

    id: str
    sender: Literal["you", "agent"] = msgspec.field(name="from")
    at: float
    state: str
    text: str = ""
    client: str = ""
    html: str = ""
    buttons: tuple[tuple[Choice, ...], ...] = ()


class History(Struct, frozen=True):
    """The newest lines, oldest first. The stream goes on at ``cursor``. ``more``: there are older lines."""

    name: str
    lines: list[Line]
    cursor: str
    more: bool


class DraftShown(Struct, frozen=True):
    """The reply so far, as safe HTML."""

    turn: str
    html: str


class Answered(Struct, frozen=True):
    """The response to a button press, for the page that sent ``press``."""

    press: str
    text: str


class Cursor(Struct, frozen=True):
    """The position of a page: the newest row of the inbox and of the outbox that it has. As text: ``12.7``."""

    inbound: int = 0
    outbound: int = 0

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """:raises ValueError: it is not a cursor."""
        inbound, _, outbound = text.partition(".")
        return cls(int(inbound), int(outbound))

    def __str__(self) -> str:
        return f"{self.inbound}.{self.outbound}"

    def is_before(self, line: ChatLine) -> bool:
        """Whether the page lacks this line or its newest edit."""
        return max(line.id, line.edit) > (self.inbound if line.direction == "in" else self.outbound)

    def is_edit(self, line: ChatLine) -> bool:
        """Whether the page has an older version of this line."""
        return line.direction == "out" and line.id <= self.outbound

    def past(self, lines: list[ChatLine]) -> "Cursor":
        return Cursor(
            max([self.inbound, *(line.id for line in lines if line.direction == "in")]),
            max([self.outbound, *(max(line.id, line.edit) for line in lines if line.direction == "out")]),
        )


class Conversation:
    """The web chat of one login. Holds no resources."""

    def __init__(self, desk: HttpDesk, login: Login) -> None:
        self.name = login.name
        self.session = login.id
        self._desk = desk
        self._login = login

    async def history(self, limit: int) -> History:
        """:raises StoreRefused: it cannot be read."""
        newest = await self._transcript(limit + 1)
        lines = newest[-limit:]
        return History(self.name, await self._shown(lines), str(Cursor().past(lines)), more=len(newest) > limit)

    async def lines_after(self, cursor: Cursor) -> tuple[list[Line], list[Line], Cursor]:
        """The newer lines, the lines edited since, and the cursor after them. Edits of lines that are not among the newest ones
        are left out.

        :raises StoreRefused: it cannot be read.
        """
        lines = [line for line in await self._transcript(HISTORY_LINES) if cursor.is_before(line)]
        edited = [line for line in lines if cursor.is_edit(line)]
        new = [line for line in lines if not cursor.is_edit(line)]
        return await self._shown(new), await self._shown(edited), cursor.past(lines)

    async def is_open(self) -> bool:
        """Whether the login has not ended. :raises StoreRefused: it cannot be read."""
        return await find_login(self._desk.logins, self._login.token, self._desk.now()) is not None

    async def _transcript(self, limit: int) -> list[ChatLine]:
        return lines_of(await self._desk.transcript(Peer("dm", self.name), limit=limit))

    async def _shown(self, lines: list[ChatLine]) -> list[Line]:
        return await anyio.to_thread.run_sync(_show, lines, self.name)


async def feed(conversation: Conversation, channel: WebchatChannel, cursor: Cursor) -> AsyncIterator[bytes]:
    """The stream of a page, as server-sent events: hello, then message, edit, answer, draft, typing and ping.

    It ends when the login or the channel ends, or the store fails: the page reconnects and learns why.
    """
    # Overloaded: another page took the last slot, and the stream ends at once.
    with suppress(Overloaded, StoreRefused), channel.subscribe(conversation.name, conversation.session) as page:
        # The login may have ended before the page was subscribed.
        if not await conversation.is_open():
            return
        yield _event("hello")
        update: PageUpdate | None = PageUpdate(lines=True)  # lines may have come between the history and this stream
        beat_at = anyio.current_time() + PING_SECONDS
        while update is not None:
            pause_seconds, events = 0.0, []
            if update.lines:
                lines, edited, cursor = await conversation.lines_after(cursor)
                events += [_event("edit", line) for line in edited] + [_event("message", line) for line in lines]
            events += [_event("answer", Answered(answer.press, answer.text)) for answer in update.answers]
            if update.draft is not None:
                html = await anyio.to_thread.run_sync(markdown_to_html, update.draft.text)
                events.append(_event("draft", DraftShown(update.draft.turn_id, html)))
                pause_seconds = len(html) / _DRAFT_CHARS_PER_SECOND
            elif update.typing:
                events.append(_event("typing"))
            if anyio.current_time() >= beat_at:
                if not await conversation.is_open():
                    return
                events.append(_event("ping"))
                beat_at = anyio.current_time() + PING_SECONDS
            if events:
                yield b"".join(events)
            await anyio.sleep(pause_seconds)
            update = await _next_update(page, until=beat_at)


async def _next_update(page: Page, *, until: float) -> PageUpdate | None:
    """What happens next; no update at all when it is time for a ping; None when the channel is closed."""
    with anyio.CancelScope(deadline=until):
        return await page.wait_update()
    return PageUpdate()


def _show(lines: list[ChatLine], name: str) -> list[Line]:
    return [_own_line(line, name) if line.direction == "in" else _agent_line(line) for line in lines]


def _own_line(line: ChatLine, name: str) -> Line:
    client = client_id_of(line.event_key, name)
    return Line(id=f"in-{line.id}", sender="you", at=line.at, state=line.state, text=line.text, client=client)


def _agent_line(line: ChatLine) -> Line:
    html = markdown_to_html(line.text)
    return Line(id=f"out-{line.id}", sender="agent", at=line.at, state=line.state, html=html, buttons=line.choices)


def _event(kind: str, data: Struct | None = None) -> bytes:
    body = b"{}" if data is None else msgspec.json.encode(data)
    return b"event: " + kind.encode() + b"\ndata: " + body + b"\n\n"
