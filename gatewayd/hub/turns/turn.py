"""One turn in progress: its messages, its agent and its state. The table of the states is gatewayd/model/turn.py."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import anyio
from msgspec import Struct
from msgspec.structs import replace

from gatewayd.hub.approvals.questions import Offer
from gatewayd.hub.turns.slots import Slot
from gatewayd.model.lifecycle import StopReason
from gatewayd.model.message.envelope import InboundEnvelope, Writer
from gatewayd.model.message.intents import Intent, NewSession
from gatewayd.model.message.route import Route
from gatewayd.model.turn import TURN, IllegalMove, Phase, TurnState
from gatewayd.ports.store import InboundRow

_NOTICES_MAX: Final = 5


class WaitingMessage(Struct, frozen=True):
    """A row in a lane, with its intent. A row that was begun in the lane's session before a restart comes first: it may be in
    progress there, while an older row that was begun in another session, or that a person has retried, is not. Rows from another
    session come next. Other rows come by id, the order of the commits: two deliveries may resume in either order."""

    id: int
    row: InboundRow
    route: Route
    intent: Intent

    def __lt__(self, other: "WaitingMessage") -> bool:
        return self.rank < other.rank

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """Rows of a lower rank come first."""
        return self.begun_in != self.route.session_key, self.begun_in is None, self.id

    @property
    def begun_in(self) -> str | None:
        """The session in which its turn has begun, also in an earlier life of the process. The turn is new to every other one."""
        return None if self.row.turn_id is None else self.row.session_key or self.route.session_key

    @property
    def message(self) -> InboundEnvelope:
        """The message as its agent gets it: of ``/new TEXT`` only TEXT, and without what answers it at its platform."""
        envelope = self.row.envelope
        if envelope.answer_with is not None:
            envelope = replace(envelope, answer_with=None)
        return replace(envelope, text=self.intent.text) if isinstance(self.intent, NewSession) else envelope


class LiveTurn:
    """The state of a turn that the lane and the reply engine share. It begins when its messages leave the lane's queue."""

    def __init__(
        self,
        batch: Sequence[WaitingMessage],
        slot: Slot,
        *,
        has_slot: bool,
        on_move: Callable[["LiveTurn"], None],
        offer: Offer,
        now: float,
    ) -> None:
        """``has_slot``: the slot was acquired already. ``on_move`` is called with each new state, ``offer`` with each question
        that the turn has shown. ``now``: Unix seconds."""
        self.batch = batch
        self.rows = rows = [waiting.row for waiting in batch]
        self.route = batch[-1].route
        self.intent = batch[0].intent
        self.offer = offer
        self.began_at = now
        self.turn_id = rows[0].turn_id or new_turn_id(rows[0])
        self.attempt = max(row.attempts for row in rows)
        self.stop_reason: StopReason | None = None
        self._slot = slot
        self._has_slot = has_slot
        self._on_move = on_move
        self._state: TurnState = "preparing"
        self._was_at_core = False
        self._scope = anyio.CancelScope()
        self._notices: set[str] = set()
        self._ended = anyio.Event()

    @property
    def state(self) -> TurnState:
        return self._state

    @property
    def phase(self) -> Phase:
        return TURN[self._state].phase

    @property
    def is_over(self) -> bool:
        """Whether it does not ask its core any more."""
        return self.phase == "over"

    @property
    def was_running(self) -> bool:
        """Whether an earlier life of the process began it."""
        return any(row.state == "running" for row in self.rows)

    @property
    def is_busy(self) -> bool:
        """Whether it does more than wait for people or for its agent."""
        return TURN[self._state].slot == "keeps"

    @property
    def is_untouched(self) -> bool:
        """Whether its agent has not seen any of it, in an earlier life of the process either."""
        return not self._was_at_core and self.batch[-1].begun_in != self.route.session_key

    @property
    def ids(self) -> list[int]:
        return [row.id for row in self.rows]

    @property
    def names(self) -> Mapping[str, str]:
        """The fields of its log lines."""
        envelope = self.rows[-1].envelope
        return {
            "channel": envelope.channel,
            "account": envelope.account,
            "session_key": self.route.session_key,
            "turn_id": self.turn_id,
            "event_key": envelope.event_key,
            "agent": self.route.agent_id,
        }

    @property
    def messages(self) -> list[InboundEnvelope]:
        """The messages as its agent gets them."""
        return [waiting.message for waiting in self.batch]

    @property
    def writers(self) -> frozenset[Writer]:
        return frozenset(row.envelope.writer for row in self.rows)

    def may(self, to: TurnState) -> bool:
        """Whether the table allows this move."""
        return to in TURN[self._state].becomes

    def move(self, to: TurnState) -> None:
        """:raises IllegalMove: the table does not allow this move."""
        if not self.may(to):
            raise IllegalMove(self._state, to)
        self._state = to
        self._was_at_core |= self.phase == "core"
        if not self.is_busy:
            self._release_slot()
        if to == "ended":
            self._ended.set()
        self._on_move(self)

    def advance(self, to: TurnState) -> bool:
        """Move, unless the turn is over. Returns whether it moved."""
        may = not self.is_over
        if may:
            self.move(to)
        return may

    def stop(self, why: StopReason) -> None:
        """End it now. ``why`` becomes the reason of its rows, unless it is ending already."""
        if self.may("ending"):
            self.stop_reason = why
            self.move("ending")
            self._scope.cancel()

    def hand_over(self) -> None:
        """End it here, so that another agent takes its messages: its rows stay open."""
        if self.may("moving"):
            self.move("moving")
            self._scope.cancel()

    def begin_attempt(self) -> int:
        """Count an attempt that begins now."""
        self.attempt += 1
        return self.attempt

    def leave_core(self) -> None:
        """The call of the core has returned or failed."""
        if self.phase == "core":
            self.move("preparing")

    def bind(self, scope: anyio.CancelScope) -> None:
        """``stop`` and ``hand_over`` cancel this scope from now on."""
        self._scope = scope
        if self.is_over:
            scope.cancel()

    async def rest(self, wait: Callable[[], Awaitable[object]]) -> None:
        """Wait for ``wait``, or until the turn is over. The slot is free meanwhile: the outage of one agent must not block other
        turns."""
        with anyio.CancelScope() as scope:
            self.bind(scope)
            if self.advance("waiting_for_agent"):
                await wait()
            if self.advance("waiting_for_slot"):
                await self.take_slot()
                self.advance("preparing")

    async def pause(self, seconds: float) -> None:
        """Rest for so many seconds."""
        await self.rest(partial(anyio.sleep, seconds))

    def wait_for_people(self) -> None:
        """Release the slot while people think about their answer."""
        if self._state == "at_core":
            self.move("waiting_for_people")
        elif self._state == "waiting_for_people":
            self._release_slot()

    async def take_slot(self) -> None:
        """Returns when it has a slot."""
        if self._has_slot:
            return
        await self._slot.acquire()
        if self._has_slot or TURN[self._state].slot == "none":
            # Another task of this turn has acquired one meanwhile; or the turn needs none any more, for example because a core
            # that ignores its cancellation asks after the end.
            self._slot.release()
        else:
            self._has_slot = True

    def _release_slot(self) -> None:
        if self._has_slot:
            self._has_slot = False
            self._slot.release()

    def is_new_notice(self, notice: str) -> bool:
        """Whether to show this sentence of the agent: each sentence once, and only a few in all."""
        is_new = notice not in self._notices and len(self._notices) < _NOTICES_MAX
        if is_new:
            self._notices.add(notice)
        return is_new

    def open_messages(self) -> list[WaitingMessage]:
        """Its messages for another turn, with their rows as the store has them after its attempts."""
        if self.attempt == max(row.attempts for row in self.rows):
            return list(self.batch)
        begun: dict[str, Any] = {"state": "running", "turn_id": self.turn_id, "session_key": self.route.session_key}
        return [replace(each, row=replace(each.row, attempts=self.attempt, **begun)) for each in self.batch]

    async def wait_ended(self) -> None:
        await self._ended.wait()


def new_turn_id(row: InboundRow) -> str:
    """The id of the turn that begins with this row. A retried dead letter begins another turn: the answers and permissions of the
    first turn do not count for it."""
    return f"turn-{row.id}" if not row.retries else f"turn-{row.id}-{row.retries}"
