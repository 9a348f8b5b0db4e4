"""Faults of a driver, as small as they come, each with the test of the contract that has to find it.

The numbers are those of docs/reference/driver-faults.md, which a test holds against this module. Without a number are faults that
came to mind later.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import trio
from msgspec import Struct
from msgspec.structs import replace

from gatewayd.channels.loopback import PLUGIN
from gatewayd.channels.loopback.inbound import Connection
from gatewayd.model.errors import GatewayError, OutcomeUnknown, TryAgain
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.message.payload import EditText, OutboundPayload, Receipt, RichText, SendText
from gatewayd.ports.channel import Deliver, TextLimit, WebhookReply, WebhookRequest
from tests.channels.contract.variants import (
    Called,
    CalledContract,
    InPieces,
    InPiecesContract,
    Loopback,
    LoopbackContract,
    Polled,
    PolledContract,
    Wordy,
    WordyContract,
)


class Fault(Struct, frozen=True):
    """``number`` is that of the page. ``contract`` runs the driver on its network."""

    number: int | None
    driver: type[Loopback]
    contract: type[LoopbackContract]
    test: str

    @property
    def words(self) -> str:
        """What is wrong, in one line."""
        return (self.driver.__doc__ or "").strip()


FAULTS: list[Fault] = []


def fault(
    number: int | None, test: str, contract: type[LoopbackContract] = LoopbackContract
) -> Callable[[type[Loopback]], type[Loopback]]:
    def note(driver: type[Loopback]) -> type[Loopback]:
        FAULTS.append(Fault(number, driver, contract, test))
        return driver

    return note


# Receiving.


@fault(1, "test_the_platform_is_told_after_the_commit_and_not_before")
class AcknowledgesFirst(Loopback):
    """Acknowledged before the commit."""

    async def _deliver(self, connection: Connection, envelope: InboundEnvelope, deliver: Deliver) -> None:
        connection.acknowledge(envelope)
        await deliver([envelope])


@fault(2, "test_what_was_written_while_it_was_away_comes_when_it_is_back", PolledContract)
class StartsAtTheNewest(Polled):
    """A start begins at the newest event, so the gap is lost."""

    async def first_cursor(self) -> int:
        return len(self.side.events)


@fault(3, "test_what_is_written_while_the_connection_is_cut_comes_later", PolledContract)
class NeverFetchesTheGap(Polled):
    """Messages of a cut connection are never fetched."""

    async def after_cut(self, cursor: int) -> int:
        while self.side.is_down:
            await self.side.more.wait()
        return len(self.side.events)


@fault(4, "test_what_could_not_be_journaled_is_not_acknowledged_and_comes_again", PolledContract)
@fault(None, "test_what_was_cut_off_before_its_commit_comes_again", PolledContract)
class SavesTheCursorFirst(Polled):
    """The cursor is saved before the commit."""

    async def take(self, events: Sequence[InboundEnvelope], cursor: int, deliver: Deliver) -> None:
        await self._services.state.save("cursor", str(cursor))
        await deliver(events)


@fault(5, "test_what_was_journaled_does_not_come_again", PolledContract)
class NeverSavesTheCursor(Polled):
    """The cursor is never saved."""

    async def take(self, events: Sequence[InboundEnvelope], cursor: int, deliver: Deliver) -> None:
        await deliver(events)


@fault(6, "test_messages_are_delivered_in_order")
class HasOneKey(Loopback):
    """Several events have one key."""

    def read(self, envelope: InboundEnvelope) -> InboundEnvelope:
        return replace(envelope, event_key="event")


@fault(None, "test_what_was_journaled_does_not_come_again")
class CountsAnew(Loopback):
    """The event keys begin anew with each start."""

    count = 0

    def read(self, envelope: InboundEnvelope) -> InboundEnvelope:
        self.count += 1
        return replace(envelope, event_key=str(self.count))


@fault(7, "test_an_event_that_comes_twice_has_one_key")
@fault(None, "test_a_message_whose_connection_was_cut_before_its_commit_is_one_event")
@fault(None, "test_what_could_not_be_journaled_is_not_acknowledged_and_comes_again")
class MakesUpTheKey(Loopback):
    """The event key changes at redelivery."""

    def read(self, envelope: InboundEnvelope) -> InboundEnvelope:
        return replace(envelope, event_key=secrets.token_hex(8))


@fault(8, "test_messages_are_delivered_in_order")
class DeliversTwice(Loopback):
    """The same message is delivered twice."""

    async def _deliver(self, connection: Connection, envelope: InboundEnvelope, deliver: Deliver) -> None:
        await deliver([envelope])
        await super()._deliver(connection, envelope, deliver)


@fault(9, "test_what_could_not_be_journaled_is_not_acknowledged_and_comes_again")
class SwallowsTheErrors(Loopback):
    """Errors of deliver are swallowed."""

    async def _deliver(self, connection: Connection, envelope: InboundEnvelope, deliver: Deliver) -> None:
        with suppress(Exception):
            await deliver([envelope])
        connection.acknowledge(envelope)


class Buffered(Loopback):
    """Reads on while a delivery waits."""

    async def listen(self, deliver: Deliver) -> None:
        self._into, self._out_of = trio.open_memory_channel[InboundEnvelope](10)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._empty, deliver)
            await super().listen(deliver)

    async def _empty(self, deliver: Deliver) -> None:
        async for envelope in self._out_of:
            await deliver([envelope])


@fault(10, "test_nothing_is_dropped_while_the_inbox_is_full")
class DropsWhenBusy(Buffered):
    """Messages are dropped when the inbox is full."""

    async def _deliver(self, connection: Connection, envelope: InboundEnvelope, deliver: Deliver) -> None:
        with suppress(trio.WouldBlock):
            self._into.send_nowait(envelope)
        connection.acknowledge(envelope)


@fault(11, "test_messages_of_a_conversation_are_delivered_one_after_the_other")
class FiresAndForgets(Loopback):
    """A delivery is started, and nobody waits for it."""

    async def listen(self, deliver: Deliver) -> None:
        async with trio.open_nursery() as self._nursery:
            await super().listen(deliver)

    async def _deliver(self, connection: Connection, envelope: InboundEnvelope, deliver: Deliver) -> None:
        self._nursery.start_soon(deliver, [envelope])
        connection.acknowledge(envelope)


@fault(12, "test_a_full_inbox_does_not_stop_the_pings")
class AnswersPingsInBetween(Loopback):
    """The reader waits for the inbox, so no ping is answered."""

    def _answer_ping(self, connection: Connection) -> None:
        self._pinged = connection

    async def _deliver(self, connection: Connection, envelope: InboundEnvelope, deliver: Deliver) -> None:
        await super()._deliver(connection, envelope, deliver)
        connection.pong()


@fault(13, "test_each_person_has_an_id_of_their_own")
@fault(None, "test_a_message_in_a_group_says_where_and_by_whom")
class KnowsOnePerson(Loopback):
    """One sender id for everybody."""

    def read(self, envelope: InboundEnvelope) -> InboundEnvelope:
        return replace(envelope, sender=Sender("somebody"))


@fault(14, "test_in_a_group_a_mention_is_addressed_and_nothing_else")
class MeansEverything(Loopback):
    """Everything is addressed."""

    def read(self, envelope: InboundEnvelope) -> InboundEnvelope:
        return replace(envelope, addressed=True)


@fault(15, "test_a_direct_message_is_addressed")
@fault(None, "test_in_a_group_a_mention_is_addressed_and_nothing_else")
class MeansNothing(Loopback):
    """Nothing is addressed."""

    def read(self, envelope: InboundEnvelope) -> InboundEnvelope:
        return replace(envelope, addressed=False)


@fault(16, "test_a_thread_is_a_conversation_of_its_own")
class KnowsNoThread(Loopback):
    """The thread of a message is ignored."""

    def read(self, envelope: InboundEnvelope) -> InboundEnvelope:
        return replace(envelope, peer=Peer(envelope.peer.kind, envelope.peer.id))


@fault(17, "test_a_correction_is_an_edit_of_what_was_written")
class TakesEditsForMessages(Loopback):
    """An edit comes in as a new message."""

    def read(self, envelope: InboundEnvelope) -> InboundEnvelope:
        return replace(envelope, kind="message")


@fault(None, "test_a_file_comes_with_its_message_and_can_be_fetched")
class LosesFiles(Loopback):
    """The files of a message are ignored."""

    def read(self, envelope: InboundEnvelope) -> InboundEnvelope:
        return replace(envelope, attachments=())


@fault(None, "test_what_could_not_be_journaled_is_not_acknowledged_and_comes_again", CalledContract)
class TakesWhatItCannotKeep(Called):
    """A webhook that journals beside its answer."""

    def receive(self, request: WebhookRequest) -> WebhookReply:
        return WebhookReply()


# Sending.


class PromisesMuch(LoopbackContract):
    plugin = replace(PLUGIN, text_limit=TextLimit(size=8192, unit="chars"))


class CountsPlainText(WordyContract):
    plugin = PLUGIN


@fault(18, "test_the_longest_text_arrives_whole", PromisesMuch)
class HasALowerLimit(Loopback):
    """The limit of the manifest is over the platform's."""


@fault(19, "test_the_longest_text_of_marks_arrives_whole", CountsPlainText)
class CountsNoEscapes(Wordy):
    """A text that fits in plain is over the limit on the wire."""


@fault(20, "test_a_long_text_arrives_with_its_lines")
class DropsNewlines(Loopback):
    """Newlines are dropped."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        return await super().send(replace(payload, body=RichText(payload.body.text.replace("\n", " "))), key=key)


@fault(None, "test_more_than_the_limit_is_refused_or_sent_whole")
class CutsShort(Loopback):
    """A text over the limit is cut short."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        return await super().send(replace(payload, body=RichText(payload.body.text[:4096])), key=key)


@fault(21, "test_a_cut_send_is_unknown_and_not_repeated")
class RepeatsByItself(Loopback):
    """A send that was cut is repeated by the driver."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        try:
            return await super().send(payload, key=key)
        except OutcomeUnknown:
            return await super().send(payload, key=key)


@fault(22, "test_a_cut_send_is_unknown_and_not_repeated", PolledContract)
class CallsACutAnOutage(Polled):
    """A send that was cut is told as TryAgain, on a network that is polled."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        try:
            return await super().send(payload, key=key)
        except OutcomeUnknown as error:
            raise TryAgain(error.reason) from None


@fault(23, "test_a_cut_send_is_unknown_and_not_repeated")
class CallsACutAnOutageToo(Loopback):
    """A send that was cut is told as TryAgain, on a connection."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        try:
            return await super().send(payload, key=key)
        except OutcomeUnknown as error:
            raise TryAgain(error.reason) from None


@fault(24, "test_a_reply_names_what_it_answers")
class AnswersNobody(Loopback):
    """reply_to is ignored."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        if isinstance(payload, SendText):
            payload = replace(payload, reply_to=None)
        return await super().send(payload, key=key)


@fault(25, "test_a_reply_goes_to_its_thread")
class SendsBesideTheThread(Loopback):
    """The thread of a reply is ignored."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        return await super().send(replace(payload, peer=Peer(payload.peer.kind, payload.peer.id)), key=key)


@fault(26, "test_a_conversation_that_stalls_holds_up_no_other")
class SendsOneAtATime(Loopback):
    """The sends of all conversations wait for each other."""

    async def open(self) -> None:
        await super().open()
        self._lock = trio.Lock()

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        async with self._lock:
            return await super().send(payload, key=key)


@fault(None, "test_two_sends_at_once_go_where_they_belong")
class MixesUp(Loopback):
    """Two sends that overlap go to one of the conversations."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        self._current = payload.peer
        await trio.lowlevel.checkpoint()
        return await super().send(replace(payload, peer=self._current), key=key)


@fault(27, "test_a_send_gives_a_receipt_and_arrives")
class GivesNoReceipt(Loopback):
    """A send gives no id."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        await super().send(payload, key=key)
        return Receipt()


@fault(28, "test_a_send_can_be_cancelled")
class CannotBeCancelled(Loopback):
    """A send ignores its cancellation."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        with trio.CancelScope(shield=True):
            return await super().send(payload, key=key)
        raise AssertionError


@fault(29, "test_half_a_text_is_neither_sent_nor_unsent", InPiecesContract)
class CallsHalfUnsent(InPieces):
    """Some pieces of a text are out, and it is told as not sent."""

    def outcome_of(self, error: GatewayError, sent: int) -> GatewayError:
        return error


@fault(None, "test_half_a_text_is_neither_sent_nor_unsent", InPiecesContract)
class CallsHalfSent(InPieces):
    """Some pieces of a text are out, and it is told as sent."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        try:
            return await super().send(payload, key=key)
        except OutcomeUnknown:
            return Receipt("1")


@fault(30, "test_a_failure_of_an_edit_is_named_too")
class HurriesWithEdits(Loopback):
    """The time to wait is ignored on edits."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        try:
            return await super().send(payload, key=key)
        except TryAgain as error:
            if isinstance(payload, EditText):
                raise TryAgain(error.reason) from None
            raise


@fault(None, "test_signals_do_no_harm")
class TripsOverASignal(Loopback):
    """A kind of signal that it does not know is an error."""

    async def signal(self, signal: object) -> None:
        raise KeyError(type(signal))


# Life.


@fault(31, "test_closing_is_quick_in_the_middle_of_everything")
class HangsInClose(Loopback):
    """It hangs while it closes."""

    async def close(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()


@fault(None, "test_closing_is_quick_in_the_middle_of_everything")
class HangsInDeliver(Loopback):
    """It hangs in a delivery that is cancelled."""

    async def _deliver(self, connection: Connection, envelope: InboundEnvelope, deliver: Deliver) -> None:
        with trio.CancelScope(shield=True):
            await super()._deliver(connection, envelope, deliver)


@fault(None, "test_closing_is_quick_in_the_middle_of_everything")
class ClosesSlowly(Loopback):
    """It takes long to close."""

    async def close(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(9)


@fault(32, "test_opening_and_closing_leaves_nothing_behind")
class HangsInConnect(Loopback):
    """It hangs while it connects."""

    async def _connect(self) -> Connection:
        await trio.sleep_forever()
        raise AssertionError


@fault(33, "test_it_is_connected_when_the_platform_says_so")
class IsConnectedAtOnce(Loopback):
    """It says connected before the platform has answered."""

    async def listen(self, deliver: Deliver) -> None:
        self._services.connection.connected()
        await super().listen(deliver)


@fault(34, "test_a_connection_that_falls_silent_is_found")
class IsDeaf(Loopback):
    """It never says how long silence may last: deaf for ever."""

    async def _connect(self) -> Connection:
        connection = await super()._connect()
        self._services.connection.expect_silence(None)
        return connection


@fault(None, "test_a_quiet_connection_stays")
class HearsOnlyMessages(Loopback):
    """What keeps the connection alive is not heard, so a quiet night looks like an outage."""

    async def _receive(self, connection: Connection, deliver: Deliver) -> None:
        if (envelope := await connection.next_event(beat_seconds=30)) is not None:
            await self._deliver(connection, envelope, deliver)


@fault(35, "test_opening_and_closing_leaves_nothing_behind")
class LeavesATask(Loopback):
    """A task is left after it has closed."""

    async def open(self) -> None:
        await super().open()
        trio.lowlevel.spawn_system_task(trio.sleep, 86_400)


@fault(36, "test_a_cut_connection_is_an_outage")
class RaisesWhatItGets(Loopback):
    """An outage is a bare exception."""

    async def listen(self, deliver: Deliver) -> None:
        try:
            await super().listen(deliver)
        except TryAgain:
            raise ConnectionResetError("reset by peer") from None


@fault(None, "test_an_outage_is_waited_out")
class RaisesWhatItGetsInSend(Loopback):
    """An outage of a send is a bare exception."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        try:
            return await super().send(payload, key=key)
        except TryAgain:
            raise ConnectionResetError("reset by peer") from None


@fault(37, "test_no_secret_is_told")
class TellsTheSecret(Loopback):
    """A secret is in the reason of an error."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        try:
            return await super().send(payload, key=key)
        except TryAgain as error:
            raise TryAgain(f"{error.reason}: https://example.org/{self.password.reveal()}") from None


@fault(None, "test_no_secret_is_told")
class TellsTheSecretInListen(Loopback):
    """A secret is in the reason for which it stopped listening."""

    async def listen(self, deliver: Deliver) -> None:
        try:
            await super().listen(deliver)
        except TryAgain as error:
            raise TryAgain(f"{error.reason}: https://example.org/{self.password.reveal()}") from None


@fault(None, "test_no_secret_is_told")
class LogsTheSecret(Loopback):
    """A secret is in a log line."""

    async def open(self) -> None:
        await super().open()
        self._services.log.info("opened", url=f"https://example.org/{self.password.reveal()}")


@fault(None, "test_no_secret_is_told")
class ShowsTheSecret(Loopback):
    """A secret is in a repr."""

    def __repr__(self) -> str:
        return f"Loopback({self.password.reveal()})"


# Hangs that no fake clock ends: these take real seconds.


@fault(None, "test_a_send_gives_a_receipt_and_arrives")
class Blocks(Loopback):
    """It blocks the event loop."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        time.sleep(60)  # noqa: ASYNC251
        return await super().send(payload, key=key)


@fault(None, "test_a_send_gives_a_receipt_and_arrives")
class Spins(Loopback):
    """It waits in a loop without an end."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        while True:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()


SLOW = (Blocks, Spins)
