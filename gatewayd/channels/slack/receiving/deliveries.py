"""Takes what all connections receive to ``deliver``, in the order of arrival, and acknowledges it after the commit.

Slack waits three seconds for an acknowledgement. Then it sends an event again: at once, after a minute and after five
(slackapi/python-slack-sdk issue 1280; Slack, "Events API", "Retries"). It does not send a command or a press again. So a late
acknowledgement makes a duplicate, which the hub knows by its key, while an early one could lose an event.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn

import anyio
import anyio.lowlevel
from msgspec import Struct

from gatewayd.actor.wakeup import Wakeup
from gatewayd.channels.slack.receiving.gaps import Gaps
from gatewayd.channels.slack.receiving.inbound import Read, Receiver
from gatewayd.channels.slack.wire.frames import Frame, is_rate_limited
from gatewayd.kit.json import Malformed
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.ports.channel import NO_STATE, ChannelServices, Deliver, DeliveryReport

ANSWER_SECONDS: Final = 3.0
"""So long Slack waits for an acknowledgement (slackapi/python-slack-sdk issue 1280)."""
WAITING: Final = 1_000
"""The envelopes that wait for their commit. More are not taken: Slack sends them again."""
WAITING_BYTES: Final = 16 * 1024 * 1024
IN_ONE_COMMIT: Final = 100

_SHOWN: Final = 40
_LATE: Final = "acknowledgements"
_FULL: Final = "waiting events"


def in_turn(deliver: Deliver, seen: Callable[[Sequence[InboundEnvelope]], None]) -> Deliver:
    """The same, one call after the other in the order in which they begin. What comes now and what is read back may be of one
    conversation, and of two calls at once the hub promises no order. ``seen`` is told first."""
    turn = anyio.Lock()

    async def deliver_in_turn(
        envelopes: Sequence[InboundEnvelope],
        *,
        state: Mapping[str, str] = NO_STATE,
        reports: Sequence[DeliveryReport] = (),
    ) -> None:
        async with turn:
            seen(envelopes)
            await deliver(envelopes, state=state, reports=reports)

    return deliver_in_turn


class Received(Struct, frozen=True):
    """A frame with an ``envelope_id``. ``at`` is when it came, on the clock of the event loop."""

    frame: Frame
    size: int
    at: float
    acknowledge: Callable[[str], None]


class Deliveries:
    """A bounded queue, and the loop that commits what is in it. Adding to it never waits, so that connections are read on."""

    def __init__(self, receiver: Receiver, services: ChannelServices, gaps: Gaps) -> None:
        self._receiver = receiver
        self._services = services
        self._gaps = gaps
        self._waiting: deque[Received] = deque()
        self._bytes = 0
        self._added = Wakeup()
        self._is_full = False
        self._is_late = False

    def add(self, received: Received) -> None:
        """Let it wait for its commit. When too much waits, it is dropped, and not acknowledged."""
        if len(self._waiting) >= WAITING or self._bytes + received.size > WAITING_BYTES:
            if not self._is_full:
                self._is_full = True
                self._receiver.note_gap()  # before anything that comes after it is read
                self._say_lacks(_FULL, f"{len(self._waiting)} wait for the store: more are not taken, and Slack sends them again")
            return
        self._waiting.append(received)
        self._bytes += received.size
        self._added.notify()

    async def run(self, deliver: Deliver) -> NoReturn:
        """Whatever ``deliver`` raises ends it; then nothing of the batch is acknowledged."""
        while True:
            while not self._waiting:
                await self._added.wait()
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), IN_ONE_COMMIT))]
            await self._commit(batch, deliver)
            self._bytes -= sum(received.size for received in batch)
            for received in batch:
                received.acknowledge(received.frame.envelope_id or "")
            if not self._waiting:
                self._note_idle()

    async def _commit(self, batch: Sequence[Received], deliver: Deliver) -> None:
        envelopes: list[InboundEnvelope] = []
        state: dict[str, str] = {}
        await self._receiver.meet([received.frame.payload for received in batch])
        for received in batch:
            read = self._read(received.frame)
            if read is not None:
                envelopes += read.envelopes
                state.update(read.state)
        if not envelopes and not state:
            await anyio.lowlevel.checkpoint()
            return
        late_at = batch[0].at + ANSWER_SECONDS
        async with anyio.create_task_group() as group:
            group.start_soon(self._tell_when_late, late_at)
            await deliver(envelopes, state=state)
            group.cancel_scope.cancel()

    def _note_idle(self) -> None:
        """All that has come is committed."""
        if self._is_late:
            self._is_late = False
            self._services.connection.lacks(_LATE, None)
        if self._is_full:
            self._is_full = False
            self._services.connection.lacks(_FULL, None)
            self._gaps.note()  # Slack may have given up to send what was dropped

    def _read(self, frame: Frame) -> Read | None:
        """None: nothing is to be delivered. It is acknowledged all the same, or Slack would send it again."""
        log, receiver = self._services.log, self._receiver
        if frame.retry_attempt:
            log.info("slack_sends_again", attempt=frame.retry_attempt, reason=(frame.retry_reason or "")[:_SHOWN])
        try:
            match frame.type:
                case "events_api" if is_rate_limited(frame.payload):
                    self._gaps.note_rate_limit()
                    return None
                case "events_api":
                    read = receiver.event(frame.payload)
                case "interactive":
                    read = receiver.interaction(frame.payload)
                case "slash_commands":
                    read = receiver.command(frame.payload)
                case _:
                    log.warning("slack_unknown_frame", type=frame.type[:_SHOWN])
                    return None
        except Malformed as malformed:
            log.warning("slack_event_skipped", type=frame.type, reason=str(malformed))
            return None
        if read.ignored is not None:
            log.debug("slack_event_ignored", reason=read.ignored)
        return read

    async def _tell_when_late(self, at: float) -> None:
        await anyio.sleep_until(at)
        if not self._is_late:
            self._is_late = True
            why = f"what Slack sends is stored later than {ANSWER_SECONDS:g} s after it has come: Slack sends it again"
            self._say_lacks(_LATE, why)

    def _say_lacks(self, what: str, reason: str) -> None:
        self._services.log.warning("slack_too_slow", reason=reason)
        self._services.connection.lacks(what, reason)
