"""Faults in what goes out."""

import secrets

import trio
from msgspec.structs import replace

from gatewayd.channels.loopback import PLUGIN
from gatewayd.model.errors import GatewayError, OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.envelope import InboundEnvelope, Peer
from gatewayd.model.message.payload import Choice, EditText, OutboundPayload, Receipt, RichText, SendFile, SendText
from gatewayd.ports.channel import TextLimit
from tests.channels.contract.faults.planting import fault
from tests.channels.contract.variants import (
    InPieces,
    InPiecesContract,
    Loopback,
    LoopbackContract,
    Polled,
    PolledContract,
    Remembering,
    RememberingContract,
    Wordy,
    WordyContract,
)


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


@fault(None, "test_a_send_that_waits_while_its_connection_is_cut_is_unknown")
class CallsALostAnswerAnOutage(Loopback):
    """A send whose answer is lost with the connection is told as not sent."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        with trio.move_on_after(1):
            return await super().send(payload, key=key)
        raise TryAgain("the connection is lost")


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


class Renaming(Loopback):
    """Tells failures otherwise than they are."""

    def named(self, error: GatewayError) -> GatewayError:
        return error

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        try:
            return await super().send(payload, key=key)
        except GatewayError as error:
            raise self.named(error) from None


@fault(None, "test_a_rate_limit_says_how_long_to_wait")
class HurriesAlways(Renaming):
    """The time to wait is ignored."""

    def named(self, error: GatewayError) -> GatewayError:
        return TryAgain(error.reason)


@fault(None, "test_a_pace_leaves_the_connection_as_it_is")
class ConnectsAnewForAPace(Renaming):
    """A rate limit of the account drops its connection."""

    def named(self, error: GatewayError) -> GatewayError:
        return TryAgain(error.reason, after_seconds=1, scope="account")


@fault(None, "test_a_refusal_is_not_tried_again")
class NeverGivesUp(Renaming):
    """A refusal is told as an outage."""

    def named(self, error: GatewayError) -> GatewayError:
        return TryAgain(error.reason)


@fault(None, "test_a_void_credential_needs_the_operator")
class HopesForTheBest(Renaming):
    """A void credential is told as an outage."""

    def named(self, error: GatewayError) -> GatewayError:
        return TryAgain(error.reason)


@fault(None, "test_the_same_key_is_sent_once", RememberingContract)
class ForgetsTheKey(Remembering):
    """The key of a send does not reach the platform."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        return await super().send(payload, key=secrets.token_hex(8))


@fault(None, "test_what_was_cut_is_found", RememberingContract)
class FindsNothing(Remembering):
    """A send that arrived is not found."""

    async def find_sent(self, payload: OutboundPayload, *, key: str, since: float) -> Receipt | None:
        return None


@fault(None, "test_what_was_cut_is_found", RememberingContract)
class FindsTheNewest(Remembering):
    """A send that never was is found."""

    async def find_sent(self, payload: OutboundPayload, *, key: str, since: float) -> Receipt | None:
        return next(reversed(self._platform.receipts.values()))


@fault(None, "test_an_edit_replaces_the_text_and_the_buttons")
class KeepsTheButtons(Loopback):
    """An edit leaves the buttons."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        if isinstance(payload, EditText) and (shown := self._platform.shown.get(payload.message_id or "")) is not None:
            payload = replace(payload, choices=shown.choices)
        return await super().send(payload, key=key)


@fault(None, "test_an_edit_of_what_is_not_there_is_rejected")
class WritesAnew(Loopback):
    """An edit of what is gone becomes a new message."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        if isinstance(payload, EditText) and payload.message_id not in self._platform.shown:
            return await super().send(SendText(payload.peer, payload.body), key=key)
        return await super().send(payload, key=key)


@fault(None, "test_buttons_are_shown_in_order_and_send_their_data")
class TurnsTheButtons(Loopback):
    """The buttons are in another order."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        return await super().send(replace(payload, choices=payload.choices[::-1]), key=key)


@fault(None, "test_a_message_without_buttons_has_none")
class AddsAButton(Loopback):
    """Each message has a button of the driver's."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        return await super().send(replace(payload, choices=((Choice("Hide", "hide"),),)), key=key)


@fault(None, "test_every_press_is_an_event_of_its_own_and_is_answered")
class TakesPressesForOne(Loopback):
    """All presses of a button are one event."""

    def read(self, envelope: InboundEnvelope) -> InboundEnvelope:
        return replace(envelope, event_key=f"{envelope.message_id}:{envelope.text}", press="press")


@fault(None, "test_signals_do_no_harm")
class TripsOverASignal(Loopback):
    """A kind of signal that it does not know is an error."""

    async def signal(self, signal: object) -> None:
        raise KeyError(type(signal))


# Growth and files.


@fault(None, "test_a_reply_grows_in_its_message")
class GrowsBeside(Loopback):
    """A reply that grows is a new message each time."""

    async def grow(self, peer: Peer, message_id: str, text: RichText, *, key: str) -> None:
        await self.send(SendText(peer, text), key=key)


@fault(None, "test_what_is_gone_does_not_grow")
class GrowsAnew(Loopback):
    """What is gone grows as a new message."""

    async def grow(self, peer: Peer, message_id: str, text: RichText, *, key: str) -> None:
        if message_id not in self._platform.shown:
            await self.send(SendText(peer, text), key=key)
        else:
            await super().grow(peer, message_id, text, key=key)


@fault(None, "test_growing_waits_as_long_as_the_platform_says")
class GrowsTooFast(Loopback):
    """The time to wait is ignored while a reply grows."""

    async def grow(self, peer: Peer, message_id: str, text: RichText, *, key: str) -> None:
        try:
            await super().grow(peer, message_id, text, key=key)
        except TryAgain as error:
            raise TryAgain(error.reason) from None


@fault(None, "test_a_file_arrives_whole_with_its_name_and_caption")
class SendsAPiece(Loopback):
    """Of a file, the first piece is sent."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        if not isinstance(payload, SendFile):
            return await super().send(payload, key=key)
        async with self._services.open_file(payload) as file:
            return self._platform.accept_file(payload, await anext(aiter(file)), key=key)


@fault(None, "test_a_file_that_is_gone_is_refused")
class SendsNothing(Loopback):
    """A file that is gone is sent as an empty one."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        try:
            return await super().send(payload, key=key)
        except SendRejected:
            if not isinstance(payload, SendFile):
                raise
            return self._platform.accept_file(payload, b"", key=key)
