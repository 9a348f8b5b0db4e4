"""A reply that grows in its chat while the agent writes it: its beginning is a row of the outbox, and its end is an edit of that
row. docs/decisions/0018-a-reply-that-grows.md."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Protocol

import anyio
from msgspec.structs import replace

from gatewayd.hub.configured import Configured
from gatewayd.hub.outbox.bodies import bodies_of, pieces_of
from gatewayd.hub.outbox.drafts import draft_replies
from gatewayd.hub.outbox.outbox import Outbox, until_stored
from gatewayd.hub.turns.outcome import STOPPED, marked
from gatewayd.hub.turns.run import RunningTurn
from gatewayd.hub.turns.turn import LiveTurn
from gatewayd.model.errors import NotFound, OutcomeUnknown, SendRejected, StoreRefused, TryAgain
from gatewayd.model.lifecycle import OUTBOUND_OPEN
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import EditText, RichText, SendText
from gatewayd.ports.channel import ChannelPlugin
from gatewayd.ports.store import OutboundDraft, OutboundRow, Store

BEGIN_SECONDS: Final = 1.0
"""A reply that is complete before is sent as one message."""
BEGIN_CHARACTERS: Final = 40
EVERY_SECONDS: Final = 1.0
DOUBT_SECONDS: Final = 5.0
"""How long after a call that was cut it may still change the message."""


class GrowingAccounts(Protocol):
    """The accounts, as growing replies need them: hub/accounts/manager.py."""

    def grows_every(self, channel: str, account: str, peer: Peer) -> float | None: ...

    async def grow(self, channel: str, account: str, peer: Peer, message_id: str, text: RichText, *, key: str) -> None: ...


class Growth:
    """The growing reply of one turn, over its attempts and the lives of the process. A turn has at most one: a turn that is run
    again goes on with it."""

    def __init__(self, turn: LiveTurn, store: Store, outbox: Outbox, configured: Configured, accounts: GrowingAccounts) -> None:
        self._turn = turn
        self._store = store
        self._outbox = outbox
        self._accounts = accounts
        self._envelope = turn.rows[-1].envelope
        self._configured = configured
        self._row: OutboundRow | None = None
        self._shown = RichText("")
        self._message_id: str | None = None
        self._is_over = False
        self._next_at: float | None = None
        self._doubt_until = 0.0
        self._every = EVERY_SECONDS

    @property
    def _plugin(self) -> ChannelPlugin | None:
        """None: the channel is not configured any more."""
        envelope = self._envelope
        is_known = envelope.channel in self._configured.plugins
        return self._configured.plugin_for(envelope.channel, envelope.account, envelope.peer) if is_known else None

    async def find(self) -> None:
        """Find the row that an earlier life of the process has begun."""
        rows = await until_stored(lambda: self._store.outbound_by("turn_id", self._turn.turn_id))
        for row in rows:
            if isinstance(row.payload, SendText) and row.payload.grows:
                self._row, self._shown = row, row.payload.body
                self._note_doubt()  # that life may have ended in a call

    async def show(self, running: RunningTurn) -> bool:
        """Show the text so far, at the pace of the channel. False: replies do not grow in this chat."""
        envelope = self._envelope
        every = self._accounts.grows_every(envelope.channel, envelope.account, envelope.peer)
        if self._row is None and every is None:
            return False
        self._every = max(EVERY_SECONDS, every or 0.0)
        if self._next_at is None:
            self._note_pause(BEGIN_SECONDS)
        is_shown = False
        while not is_shown:
            await anyio.sleep_until(self._next_at or 0.0)
            with suppress(StoreRefused):
                is_shown = await self._show(running.text_so_far)
            if not is_shown:
                self._note_pause(self._every)
        return True

    async def _show(self, text: str) -> bool:
        """Whether it is shown, as far as it will be."""
        plugin = self._plugin
        if self._is_over or plugin is None:
            return True
        if self._row is None:
            await self._begin(text, plugin)
            return True
        body = next(iter(bodies_of(text, plugin)), RichText(""))
        # A turn that is run again begins anew, and a message that becomes shorter is hard to read.
        if len(body.text) < len(self._shown.text) or body == self._shown:
            return True
        message_id = await self._find_message_id(self._row)
        if message_id is None:
            return self._is_over
        await self._grow(self._row, message_id, body)
        return self._is_over or self._shown == body

    async def _begin(self, text: str, plugin: ChannelPlugin) -> None:
        drafts = draft_replies(self._envelope, text, plugin, turn_id=self._turn.turn_id)
        if not drafts or len(drafts[0].payload.body.text) < BEGIN_CHARACTERS:
            return
        assert isinstance(drafts[0].payload, SendText), "a reply is a text"
        payload = replace(drafts[0].payload, parts=1, grows=True)
        # No checkpoint behind the commit: what is in the store is known here, so that it gets its end.
        [self._row] = await self._outbox.write([replace(drafts[0], payload=payload)])
        self._shown = payload.body
        self._note_pause(self._every)

    async def _find_message_id(self, begun: OutboundRow) -> str | None:
        """None: it is not sent yet, or cannot be edited."""
        if self._message_id is None:
            row = await self._store.get_outbound(begun.id)
            self._message_id = None if row is None or row.receipt is None else row.receipt.message_id
            self._is_over = self._message_id is None and (row is None or row.state not in OUTBOUND_OPEN)
        return self._message_id

    async def _grow(self, row: OutboundRow, message_id: str, body: RichText) -> None:
        pause = self._every
        try:
            # A call that was cancelled may change the message after its end. The account limits how long it takes.
            with anyio.CancelScope(shield=True):
                await self._accounts.grow(row.channel, row.account, row.payload.peer, message_id, body, key=row.send_key)
            self._shown = body
        except TryAgain as error:
            pause = max(self._every, error.after_seconds or 0.0)
        except (SendRejected, NotFound):
            self._is_over = True
        except OutcomeUnknown:
            self._note_doubt()
        self._note_pause(pause)

    def _note_doubt(self) -> None:
        self._doubt_until = anyio.current_time() + DOUBT_SECONDS

    def _note_pause(self, seconds: float) -> None:
        self._next_at = max(self._next_at or 0.0, anyio.current_time() + seconds)

    async def end(self, text: str, *, is_answer: bool) -> list[OutboundDraft] | None:
        """The rows that end the turn with this text, the edit of the growing reply first. What is no answer is written under
        what is shown already. None: no reply grows."""
        row = self._row
        if row is None:
            return None
        await anyio.sleep_until(self._doubt_until)
        plugin = self._plugin
        drafts: Sequence[OutboundDraft] = ()
        if is_answer and plugin is not None:
            drafts = draft_replies(self._envelope, text, plugin, turn_id=row.turn_id)
        bodies = [draft.payload.body for draft in drafts] or self._ended(text or STOPPED, plugin, has_note=not is_answer)
        return _ending(row, bodies)

    def _ended(self, note: str, plugin: ChannelPlugin | None, *, has_note: bool) -> list[RichText]:
        if not has_note or plugin is None:
            return [self._shown]
        is_markdown = plugin.text_format == "markdown"
        text = marked(self._shown.text, note) if is_markdown else f"{self._shown.text.rstrip()}\n\n{note}"
        body = RichText(text, self._shown.spans)
        return pieces_of(body, plugin)


def _ending(row: OutboundRow, bodies: Sequence[RichText]) -> list[OutboundDraft]:
    """The edit of the growing reply, and the further parts."""
    peer, parts = row.payload.peer, len(bodies)
    edit = EditText(peer, bodies[0], of=row.id, or_send=True)
    more = [SendText(peer, body, part=part, parts=parts) for part, body in enumerate(bodies[1:], 2)]
    where = OutboundDraft(row.channel, row.account, row.conversation, edit, row.turn_id)
    return [where, *(replace(where, payload=payload) for payload in more)]
