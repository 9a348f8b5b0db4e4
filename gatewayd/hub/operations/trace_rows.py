"""The rows of a trace: all rows that belong to one message, found by any of its ids."""

import re
from collections.abc import Collection, Iterator
from typing import Final

from msgspec import Struct

from gatewayd.model.records.approval import Approval
from gatewayd.model.records.audit import AuditRow
from gatewayd.model.records.dead_letter import NotADeadLetter, parse_ref
from gatewayd.model.records.question import QuestionRow
from gatewayd.ports.store import Account, InboundKey, InboundRow, OutboundKey, OutboundRow, Store, ref_of

_TURN: Final = re.compile(r"turn-([1-9][0-9]{0,17})(-[0-9]+)?", re.ASCII)
_TURNS_OF_RETRIES: Final = 20
_OTHERS: Final = 10
"""For each message so many rows of each other kind."""


class TraceRows(Struct, frozen=True):
    """The rows of a trace, each list in order. ``more``: there are more rows than the limit."""

    inbound: list[InboundRow]
    outbound: list[OutboundRow]
    approvals: list[Approval]
    questions: list[QuestionRow]
    audit: list[AuditRow]
    more: bool = False


async def gather(store: Store, wanted: str, *, accounts: Collection[Account], limit: int) -> TraceRows:
    """What an id leads to: in-N, out-N, a turn's, approval's or question's id or code, the platform's id of a message or of its
    event (also as CHANNEL/ACCOUNT/ID; of an event without them only in ``accounts``), or a session key.

    From there to the turns, and to all that belongs to them: at most the ``limit`` newest messages, and ten times as many of each
    other kind.
    """
    gathering = _Gathering(store, limit)
    await gathering.find(wanted, accounts)
    await gathering.follow_turns()
    return await gathering.rows()


class _Gathering:
    """Collects rows, each once."""

    def __init__(self, store: Store, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._most_others = _OTHERS * limit
        self._inbound: dict[int, InboundRow] = {}
        self._outbound: dict[int, OutboundRow] = {}
        self._approvals: dict[str, Approval] = {}
        self._questions: dict[str, QuestionRow] = {}
        self._turns: dict[str, None] = {}

    async def find(self, wanted: str, accounts: Collection[Account]) -> None:
        """What the id itself names. It may be several things at once: platforms number as they like."""
        try:
            direction, number = parse_ref(wanted)
        except NotADeadLetter:
            await self._find_by_name(wanted)
            await self._find_on_platform(wanted, accounts)
            return
        if direction == "in":
            await self._take_message(number)
        elif (reply := await self._store.get_outbound(number)) is not None:
            self._outbound[number] = reply

    async def _find_by_name(self, wanted: str) -> None:
        if _TURN.fullmatch(wanted):
            await self._take_turn(wanted)
        for request in (await self._store.get_approval(wanted), await self._store.get_question(wanted)):
            if request is not None:
                await self._take_turn(request.turn_id)
        await self._take_messages("session_key", wanted)

    async def _find_on_platform(self, wanted: str, accounts: Collection[Account]) -> None:
        parts = wanted.split("/", 2)
        named = [((parts[0], parts[1]), parts[2])] if len(parts) == 3 else []
        for account, key in [*((account, wanted) for account in accounts), *named]:
            if (message := await self._store.find_inbound(*account, key)) is not None:
                self._inbound[message.id] = message
            await self._take_messages("given_key", key, account)
        await self._take_messages("message_id", wanted)
        await self._take_replies("message_id", wanted)
        for account, message_id in named:
            await self._take_messages("message_id", message_id, account)
            await self._take_replies("message_id", message_id, account)

    async def follow_turns(self) -> None:
        """From the turns of what was found to all that belongs to them."""
        for reply in list(self._outbound.values()):
            if reply.turn_id is not None:
                await self._take_turn(reply.turn_id)
        for row in list(self._inbound.values()):
            self._turns.update(dict.fromkeys(_turns_of(row)))
        for turn_id in self._turns:
            await self._take_messages("turn_id", turn_id)
            await self._take_replies("turn_id", turn_id)
            self._approvals.update([(found.id, found) for found in await self._store.approvals_of(turn_id)])
            self._questions.update([(found.id, found) for found in await self._store.questions_of(turn_id)])

    async def _take_turn(self, turn_id: str) -> None:
        """A turn bears the number of its first message, also when that runs under another turn by now."""
        self._turns[turn_id] = None
        if named := _TURN.fullmatch(turn_id):
            await self._take_message(int(named[1]))

    async def _take_message(self, number: int) -> None:
        if (row := await self._store.get_inbound(number)) is not None:
            self._inbound[number] = row

    async def _take_messages(self, key: InboundKey, value: str, account: Account | None = None) -> None:
        for row in await self._store.inbound_by(key, value, account=account, limit=self._limit + 1):
            self._inbound[row.id] = row

    async def _take_replies(self, key: OutboundKey, value: str, account: Account | None = None) -> None:
        for row in await self._store.outbound_by(key, value, account=account, limit=self._most_others + 1):
            self._outbound[row.id] = row

    async def rows(self) -> TraceRows:
        """The newest of each kind, by number or time."""
        most = self._most_others
        inbound = sorted(self._inbound.values(), key=lambda row: row.id)
        outbound = sorted(self._outbound.values(), key=lambda row: row.id)
        approvals = sorted(self._approvals.values(), key=lambda row: (row.created_at, row.ordinal))
        questions = sorted(self._questions.values(), key=lambda row: (row.created_at, row.ordinal))
        more = len(inbound) > self._limit or max(len(outbound), len(approvals), len(questions)) > most
        inbound, outbound = inbound[-self._limit :], outbound[-most:]
        audit = await self._store.audit_about([*map(ref_of, inbound), *map(ref_of, outbound)], limit=most)
        return TraceRows(inbound, outbound, approvals[-most:], questions[-most:], audit, more)


def _turns_of(row: InboundRow) -> Iterator[str]:
    """The turns of a message: that of each retry, and the one that it ran in."""
    for retry in range(row.retries, max(-1, row.retries - _TURNS_OF_RETRIES), -1):
        yield f"turn-{row.id}-{retry}" if retry else f"turn-{row.id}"
    if row.turn_id is not None:
        yield row.turn_id
