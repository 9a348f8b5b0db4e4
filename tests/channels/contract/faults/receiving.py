"""Faults in what comes in."""

import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress

import trio
from msgspec.structs import replace

from gatewayd.channels.loopback.inbound import Connection
from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.message.payload import OutboundPayload, Receipt
from gatewayd.ports.channel import NO_STATE, Deliver, DeliveryReport, WebhookReply, WebhookRequest
from tests.channels.contract.faults.planting import fault
from tests.channels.contract.variants import (
    Called,
    CalledContract,
    Loopback,
    Polled,
    PolledContract,
)


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


@fault(None, "test_what_we_say_does_not_come_in")
class HearsItself(Loopback):
    """Its own messages come in as somebody's."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        receipt = await super().send(payload, key=key)
        self._platform.inject(self._platform.message(payload.body.text, peer=payload.peer, sender=Sender("loopback")))
        return receipt


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


@fault(None, "test_messages_are_delivered_in_order")
class CallsEverythingMissed(Loopback):
    """What comes at once is said to be missed."""

    def read(self, envelope: InboundEnvelope) -> InboundEnvelope:
        return replace(envelope, missed=True)


@fault(None, "test_a_report_names_the_message_of_its_receipt")
class ReportsByAnotherId(Loopback):
    """A report names a message by another id than its receipt."""

    async def listen(self, deliver: Deliver) -> None:
        async def renaming(
            envelopes: Sequence[InboundEnvelope],
            *,
            state: Mapping[str, str] = NO_STATE,
            reports: Sequence[DeliveryReport] = (),
        ) -> None:
            renamed = [replace(report, message_id=f"m{report.message_id}") for report in reports]
            await deliver(envelopes, state=state, reports=renamed)

        await super().listen(renaming)


@fault(None, "test_a_thread_is_told_from_its_beginning", PolledContract)
class TellsOfEveryThread(Polled):
    """What is told of a thread is of its whole group."""

    def of_thread(self, said: Sequence[tuple[Peer, str | None, Earlier]], thread: Peer) -> Sequence[Earlier]:
        return [item for peer, _, item in said if peer.whole == thread.whole]


@fault(None, "test_a_request_is_the_same_event_each_time", CalledContract)
class CountsRequests(Called):
    """A request that comes again is another event."""

    def read(self, envelope: InboundEnvelope) -> InboundEnvelope:
        return replace(envelope, event_key=secrets.token_hex(8))


@fault(None, "test_a_request_that_is_not_the_platforms_is_refused", CalledContract)
class TakesAnyRequest(Called):
    """The secret of a request is not compared."""

    def receive(self, request: WebhookRequest) -> WebhookReply:
        return super().receive(replace(request, headers={"x-secret": "right"}))


@fault(None, "test_no_request_is_too_strange", CalledContract)
class TrustsTheBody(Called):
    """A request that cannot be read is an exception."""

    def receive(self, request: WebhookRequest) -> WebhookReply:
        number = int(request.body)
        return super().receive(replace(request, body=str(number).encode()))
