"""What goes out: whole, once, where it belongs, and with an error that says what to do."""

from collections.abc import Mapping, Sequence
from typing import cast

import pytest
import trio
from msgspec.structs import replace

from gatewayd.model.errors import GatewayError, NeedsOperator, OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.payload import Receipt, SendText
from gatewayd.ports.channel import Reconciles, ReportKind, TextLimit
from gatewayd.testing.channel_contract.account import Account
from gatewayd.testing.channel_contract.fixtures import PATIENCE_SECONDS, ChannelFixtures, Rig, settle
from gatewayd.testing.channel_contract.harness import BreaksHarness, ReportsHarness, SendFailure, ShowsHarness, StallsHarness
from gatewayd.testing.channel_contract.texts import limit_for, longest_of, pieces_of

STOPS_WITHIN_SECONDS = 5.0
MARKS = "<&>*_~`[](){}#+-=|.!\\\"'"
"""What one format or another has to escape."""

REPORTS: tuple[ReportKind, ...] = ("delivered", "read", "failed")
EDIT_FAILURES: Mapping[SendFailure, tuple[type[GatewayError], ...]] = {
    "outage": (TryAgain,),
    "rate limit": (TryAgain,),
    "rejected": (SendRejected,),
    "cut": (TryAgain, OutcomeUnknown),
}


class SendingContract(ChannelFixtures):
    async def test_a_send_gives_a_receipt_and_arrives(self) -> None:
        """A send that returns counts as done and is never repeated. What can be edited, pressed or answered has an id."""
        async with self.rig() as rig, rig.account() as account:
            receipts = [await self.send(rig, account, self.text(rig.harness, text)) for text in ("one", "two")]
            assert list(await rig.harness.received()) == ["one", "two"]
        if self.plugin.edits or self.plugin.buttons:
            assert all(receipt.message_id for receipt in receipts), "a receipt has no id"
            assert receipts[0] != receipts[1], "two messages have one id"

    async def test_the_longest_text_arrives_whole(self) -> None:
        """The hub splits replies by ``text_limit``. A limit that is too large would cut a reply short."""
        async with self.rig() as rig, rig.account() as account:
            longest = longest_of(self.plugin, self._limit(rig, account), "é😀")
            await self.send(rig, account, self.text(rig.harness, longest))
            received = await rig.harness.received()
            assert _is_whole(longest, received), _what_came(longest, received)

    async def test_the_longest_text_of_marks_arrives_whole(self) -> None:
        """On the wire marks are escaped, and longer. Where the platform counts that, the manifest has a ``wire_size``."""
        marks = MARKS if self.plugin.text_format != "markdown" else "<&>|=.\"'"
        async with self.rig() as rig, rig.account() as account:
            longest = longest_of(self.plugin, self._limit(rig, account), marks)
            await self.send(rig, account, self.text(rig.harness, longest))
            received = await rig.harness.received()
            assert _is_whole(longest, received), _what_came(longest, received)

    async def test_more_than_the_limit_is_refused_or_sent_whole(self) -> None:
        """Never cut short."""
        if self.plugin.text_limit is None:
            pytest.skip(f"{self.plugin.id} has no limit")
        async with self.rig() as rig, rig.account() as account:
            text = longest_of(self.plugin, self._limit(rig, account), "é😀") + "x😀"
            outcome = await account.outcome(self.text(rig.harness, text))
            received = list(await rig.harness.received())
        assert isinstance(outcome, Receipt | SendRejected), outcome
        wanted = text if isinstance(outcome, Receipt) else ""
        assert _is_whole(wanted, received), _what_came(wanted, received)

    async def test_a_long_text_arrives_with_its_lines(self) -> None:
        """Three times the limit, in lines: as the hub sends it, piece by piece."""
        async with self.rig() as rig, rig.account() as account:
            limit = self._limit(rig, account)
            pieces = pieces_of(self.plugin, limit)
            for number, piece in enumerate(pieces, 1):
                before = len(await rig.harness.received())
                await self.send(rig, account, replace(self.text(rig.harness, piece.text), part=number, parts=len(pieces)))
                received = list(await rig.harness.received())[before:]
                assert _is_whole(piece.text, received), _what_came(piece.text, received)

    async def test_a_reply_names_what_it_answers(self) -> None:
        """In a busy chat nobody knows otherwise whom the agent means."""
        self.excuse("replies")
        async with self.rig() as rig:
            harness = self.has(rig.harness, ShowsHarness, "replies")
            async with rig.account() as account:
                await harness.produce("a question")
                asked = await account.journal.wait_text("a question")
                assert asked.message_id is not None
                payload = self.text(harness, "the answer")
                await self.send(rig, account, replace(payload, reply_to=asked.message_id))
                [shown] = await harness.shown()
        assert shown.reply_to == asked.message_id

    async def test_a_reply_goes_to_its_thread(self) -> None:
        """Beside it, it is read by people whom it does not concern, or by nobody."""
        async with self.rig() as rig:
            harness, thread = self.place(rig, "thread")
            _, group = self.place(rig, "group")
            async with rig.account() as account:
                await harness.write("hello", peer=thread, sender=harness.people[0])
                await account.journal.wait_text("hello")
                await self.send(rig, account, self.text(harness, "for the thread", peer=thread))
                await self.send(rig, account, self.text(harness, "for the group", peer=group))
                assert list(await harness.received_in(thread)) == ["for the thread"]
                assert list(await harness.received_in(group)) == ["for the group"]

    async def test_a_report_names_the_message_of_its_receipt(self) -> None:
        """What could not be delivered after all is told to the user and to the operator, by the id of the receipt."""
        async with self.rig() as rig:
            harness = self.has(rig.harness, ReportsHarness, "reports")
            async with rig.account() as account:
                receipts = [await self.send(rig, account, self.text(harness, text)) for text in ("one", "two")]
                for kind in REPORTS:
                    for receipt in receipts:
                        assert receipt.message_id is not None, "what is reported about has an id"
                        await harness.report(receipt.message_id, kind)
                        await account.journal.wait_report(receipt.message_id, kind)

    async def test_two_sends_at_once_go_where_they_belong(self) -> None:
        """``send`` runs for several conversations at the same time."""
        async with self.rig() as rig:
            harness, other = self.place(rig, "other")
            receipts: dict[str, Receipt] = {}
            async with rig.account() as account:
                await harness.write("hello", peer=other, sender=harness.people[1])
                await account.journal.wait_text("hello")

                async def send(payload: SendText) -> None:
                    receipts[payload.body.text] = await self.send(rig, account, payload)

                async with trio.open_nursery() as nursery:
                    for number in range(3):
                        nursery.start_soon(send, self.text(harness, f"mine {number}"))
                        nursery.start_soon(send, self.text(harness, f"theirs {number}", peer=other))
                assert sorted(await harness.received()) == [f"mine {number}" for number in range(3)]
                assert sorted(await harness.received_in(other)) == [f"theirs {number}" for number in range(3)]
        ids = [(text[:1], receipt.message_id) for text, receipt in receipts.items() if receipt.message_id is not None]
        assert len(set(ids)) == len(ids), "two messages of a chat have one id"

    async def test_a_conversation_that_stalls_holds_up_no_other(self) -> None:
        """One slow chat must not be everybody's."""
        async with self.rig() as rig:
            harness, other = self.place(rig, "other")
            stalls = self.has(rig.harness, StallsHarness, "stalls")
            async with rig.account() as account, trio.open_nursery() as nursery:
                await harness.write("hello", peer=other, sender=harness.people[1])
                await account.journal.wait_text("hello")
                await stalls.stall()
                nursery.start_soon(account.outcome, self.text(harness, "this one waits"))
                await settle()
                with trio.move_on_after(STOPS_WITHIN_SECONDS) as limit:
                    await self.send(rig, account, self.text(harness, "and this one does not", peer=other))
                assert not limit.cancelled_caught, "it waits for the other conversation"
                assert list(await harness.received_in(other)) == ["and this one does not"]
                nursery.cancel_scope.cancel()

    async def test_a_send_can_be_cancelled(self) -> None:
        """A restart does not wait for a platform that gives no answer."""
        async with self.rig() as rig:
            stalls = self.has(rig.harness, StallsHarness, "stalls")
            async with rig.account() as account:
                await stalls.stall()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(account.outcome, self.text(rig.harness, "hello"))
                    await settle()
                    cancelled_at = trio.current_time()
                    nursery.cancel_scope.cancel()
                assert trio.current_time() - cancelled_at < STOPS_WITHIN_SECONDS

    # Failures.

    async def test_an_outage_is_waited_out(self) -> None:
        """Nothing was sent, so it is sent again, for as long as it takes."""
        await self._fails("outage", TryAgain)

    async def test_a_rate_limit_says_how_long_to_wait(self) -> None:
        """Who comes back too early has to wait longer."""
        outcome = await self._fails("rate limit", TryAgain)
        assert cast(TryAgain, outcome).after_seconds is not None

    async def test_a_pace_leaves_the_connection_as_it_is(self) -> None:
        """The account is too fast, and nothing else: its connection is as good as before."""
        outcome = cast(TryAgain, await self._fails("pace", TryAgain))
        assert (outcome.scope, outcome.after_seconds is not None) == ("sends", True)

    async def test_a_refusal_is_not_tried_again(self) -> None:
        """The user has blocked us: the reply becomes a dead letter, and the others go on."""
        await self._fails("rejected", SendRejected)

    async def test_a_void_credential_needs_the_operator(self) -> None:
        """The account is parked, by the error of the send or by that of ``listen``, and the reply waits."""
        async with self.rig() as rig, rig.account() as account:
            await self.arrange(rig, "revoked")
            outcome = await account.outcome(self.text(rig.harness, "hello"))
            if not isinstance(outcome, NeedsOperator):
                assert isinstance(outcome, TryAgain), f"{outcome!r} is neither NeedsOperator nor TryAgain"
                with trio.move_on_after(PATIENCE_SECONDS):
                    await account.wait_parked()
                assert account.is_parked, "neither the send nor listen says that the operator is needed"

    async def test_a_cut_send_is_unknown_and_not_repeated(self) -> None:
        """It may have arrived, so only a person may say that it is sent again. TryAgain would show it twice."""
        async with self.rig() as rig, rig.account() as account:
            await self.arrange(rig, "cut")
            outcome = await account.outcome(self.text(rig.harness, "once"), key="a1")
            await settle()
            assert list(await rig.harness.received()) in ([], ["once"]), "it has sent it more than once"
            assert isinstance(outcome, OutcomeUnknown), f"a send that was cut ended with {outcome!r}"

    async def test_a_send_that_waits_while_its_connection_is_cut_is_unknown(self) -> None:
        """The platform has it, and its answer is lost. A driver may wait on, because the hub ends what waits for too long; but it
        must not say that nothing was sent."""
        async with self.rig() as rig:
            stalls = self.has(rig.harness, StallsHarness, "stalls")
            breaks = self.has(rig.harness, BreaksHarness, "breaks")
            outcomes: list[Receipt | GatewayError] = []

            async def send(account: Account) -> None:
                outcomes.append(await account.outcome(self.text(rig.harness, "once")))

            async with rig.account(quietly=False) as account, trio.open_nursery() as nursery:
                await stalls.stall()
                nursery.start_soon(send, account)
                await settle()
                if outcomes:
                    pytest.skip(f"{self.plugin.id} asks for no answer to exactly this")
                await breaks.cut()
                with trio.move_on_after(PATIENCE_SECONDS):
                    while not outcomes:
                        await settle()
                        await trio.sleep(1.0)
                nursery.cancel_scope.cancel()
        assert all(isinstance(outcome, OutcomeUnknown) for outcome in outcomes), f"it ended with {outcomes}"

    async def test_half_a_text_is_neither_sent_nor_unsent(self) -> None:
        """Of a text that a driver sends in pieces, some may be out when one fails. TryAgain or a refusal would be wrong about
        those, a receipt about the others."""
        async with self.rig() as rig, rig.account() as account:
            await self.arrange(rig, "half")
            limit = self._limit(rig, account)
            text = longest_of(self.plugin, limit, "a line.\n" if limit is None or limit.lines is None else "not a line. ").strip()
            outcome = await account.outcome(self.text(rig.harness, text))
            received = list(await rig.harness.received())
        assert received, "nothing was sent: the failure was not arranged for"
        assert isinstance(outcome, OutcomeUnknown), f"{len(received)} pieces are out, and the send ended with {outcome!r}"

    async def test_a_failure_of_an_edit_is_named_too(self) -> None:
        """What holds for a new message holds for one that changes. A rate limit has its time."""
        for failure, kinds in EDIT_FAILURES.items():
            async with self.rig() as rig:
                harness = self.with_edits(rig)
                if failure in self.excuses:
                    continue
                async with rig.account() as account:
                    receipt = await self.send(rig, account, self.text(harness, "before"))
                    await self.arrange(rig, failure)
                    outcome = await account.outcome(self.edit(harness, receipt.message_id, "after"))
                    assert isinstance(outcome, kinds), f"{failure}: an edit ended with {outcome!r}"
                    if failure == "rate limit":
                        assert cast(TryAgain, outcome).after_seconds is not None, "the time to wait is ignored"

    async def test_the_same_key_is_sent_once(self) -> None:
        """Within ``resend_safe_seconds`` the hub repeats a send that was cut, because the platform drops the second one."""
        if not self.plugin.resend_safe_seconds:
            pytest.skip(f"{self.plugin.id} says nothing of repeated sends")
        async with self.rig() as rig, rig.account() as account:
            for key in ("first", "first", "second"):
                await self.send(rig, account, self.text(rig.harness, "hello"), key=key)
            assert list(await rig.harness.received()) == ["hello", "hello"]

    async def test_what_was_cut_is_found(self) -> None:
        """``find_sent`` says what became of a send: the hub then needs no person."""
        self.need("reconciles")
        async with self.rig() as rig, rig.account() as account:
            payload = self.text(rig.harness, "once")
            since = account.services.now()
            await self.arrange(rig, "cut")
            assert isinstance(await account.outcome(payload, key="cut"), OutcomeUnknown)
            await account.wait_connected()
            arrived = list(await rig.harness.received()) == ["once"]
            channel = account.channel
            assert isinstance(channel, Reconciles)
            found = await _find_sent(channel, payload, "cut", since)
            assert (found is not None) == arrived
            assert await _find_sent(channel, payload, "never", since) is None

    async def _fails(self, failure: SendFailure, kind: type[GatewayError]) -> GatewayError:
        async with self.rig() as rig, rig.account() as account:
            await self.arrange(rig, failure)
            outcome = await account.outcome(self.text(rig.harness, "hello"))
            assert isinstance(outcome, kind), f"{failure}: a send ended with {outcome!r}, not with {kind.__name__}"
            assert list(await rig.harness.received()) == [], "it was told as not sent, and the platform has it"
        return outcome

    def _limit(self, rig: Rig, account: Account) -> TextLimit | None:
        return limit_for(self.plugin, account.channel, rig.harness.peer)


async def _find_sent(channel: Reconciles, payload: SendText, key: str, since: float) -> Receipt | None:
    """As the hub asks: again when it cannot be told yet."""
    while True:
        try:
            return await channel.find_sent(payload, key=key, since=since)
        except TryAgain as error:
            await trio.sleep(error.after_seconds or 1.0)


def _what_came(text: str, received: Sequence[str]) -> str:
    return (
        f"of {len(text)} characters came {sum(map(len, received))}, in {len(received)} messages; the end: {received[-1:]!s:.60}"
    )


def _is_whole(text: str, received: Sequence[str]) -> bool:
    """Whether a text has arrived, in one message or in several."""
    return any(between.join(received) == text for between in ("", "\n", " "))
