"""The life of an account: it opens, connects, loses its connection, and closes."""

import pytest
import trio

from gatewayd.model.errors import GatewayError
from gatewayd.model.message.payload import Draft, PressAnswer, Typing
from gatewayd.ports.channel import ShowsSignals
from gatewayd.testing.channel_contract.fixtures import PATIENCE_SECONDS, ChannelFixtures, settle
from gatewayd.testing.channel_contract.harness import (
    SEND_FAILURES,
    ArrivesHarness,
    BreaksHarness,
    RedeliversHarness,
    SilenceHarness,
)
from gatewayd.testing.manifest import count_sockets

CLOSES_WITHIN_SECONDS = 5.0
LONGEST_SILENCE_SECONDS = 900.0
"""Who finds out later that the connection is dead has lost a quarter of an hour."""


class LifeContract(ChannelFixtures):
    async def test_opening_and_closing_leaves_nothing_behind(self) -> None:
        """A channel is opened again after each outage and each reload. What one life leaves would pile up for weeks."""
        left: list[tuple[int, int]] = []
        async with self.rig() as rig:
            for _ in range(4):
                async with rig.account() as account:
                    await rig.harness.produce("hello")
                    await account.journal.wait_text("hello")
                    await self.send(rig, account, self.text(rig.harness, "hello yourself"))
                await settle()
                left.append((trio.lowlevel.current_statistics().tasks_living, count_sockets()))
        # The first use may load what stays for good: resolvers, caches.
        assert len(set(left[1:])) == 1, f"tasks and sockets after each life: {left}"

    async def test_closing_is_quick_in_the_middle_of_everything(self) -> None:
        """A restart closes all accounts within seconds, also while one waits for a commit."""
        async with self.rig() as rig:
            for quietly in (True, False):
                async with rig.account(full=True, quietly=quietly) as account:
                    await rig.harness.produce("hello")
                    await account.journal.wait_called()
                    closing_at = trio.current_time()
                assert trio.current_time() - closing_at < CLOSES_WITHIN_SECONDS

    async def test_it_is_connected_when_the_platform_says_so(self) -> None:
        """``connected`` before that hides an outage, and makes the next attempt come without a pause."""
        async with self.rig() as rig:
            harness = self.has(rig.harness, SilenceHarness, "silence")
            await harness.go_silent()
            async with rig.account(connected=False, quietly=False) as account:
                await settle()
                assert account.services.connected_as == [], "it says connected, and the platform has not answered"

    async def test_a_connection_that_falls_silent_is_found(self) -> None:
        """A half-open connection looks like a quiet one. The driver says how long silence may last, or it finds out itself."""
        async with self.rig(2 * LONGEST_SILENCE_SECONDS) as rig:
            harness = self.has(rig.harness, SilenceHarness, "silence")
            async with rig.account(quietly=False) as account:
                await harness.go_silent()
                if self.time_is_real:
                    assert account.services.silence is not None, "it never says how long silence may last: expect_silence"
                    return
                with trio.move_on_after(LONGEST_SILENCE_SECONDS):
                    await account.wait_ended()
                assert account.endings, "it is deaf for ever: it neither says how long silence may last, nor finds out itself"

    async def test_a_quiet_connection_stays(self) -> None:
        """Nobody writes at night. What the platform sends to keep the connection alive is ``heard``."""
        if self.time_is_real:
            pytest.skip("this would take as long as a night")
        async with self.rig(2 * LONGEST_SILENCE_SECONDS) as rig, rig.account() as account:
            await trio.sleep(3 * min(account.services.silence or 60.0, LONGEST_SILENCE_SECONDS / 4))
            assert account.endings == []
            await rig.harness.produce("good morning")
            await account.journal.wait_text("good morning")

    async def test_a_cut_connection_is_an_outage(self) -> None:
        """It is waited out, by the driver or by the daemon. Anything but TryAgain would be a bug that parks the account."""
        async with self.rig() as rig:
            harness = self.has(rig.harness, BreaksHarness, "breaks")
            async with rig.account() as account:
                await harness.cut()
                await settle()
                await trio.sleep(0.5)
                await harness.heal()
                if not self.plugin.acknowledges:
                    # What comes before it is back is lost.
                    await account.wait_connected()
                await rig.harness.produce("are you there")
                await account.journal.wait_text("are you there")
                assert [ending.action for ending in account.endings if ending.action != "wait"] == []
                await account.wait_connected()

    async def test_a_lost_connection_is_told(self) -> None:
        """The status says ``connected`` until the driver says ``interrupted``, or ``listen`` ends."""
        async with self.rig() as rig:
            harness = self.has(rig.harness, BreaksHarness, "breaks")
            if isinstance(harness, ArrivesHarness):
                pytest.skip("one client is gone, and the account is as good as before")
            async with rig.account(quietly=False) as account:
                await harness.cut()
                with trio.move_on_after(PATIENCE_SECONDS):
                    await account.wait_away()
                assert account.endings or account.services.interruptions, "it is away, and still says that it is connected"

    async def test_what_is_written_while_the_connection_is_cut_comes_later(self) -> None:
        """The gap between two connections is where messages get lost."""
        self.need("acknowledges")
        async with self.rig() as rig:
            harness = self.has(rig.harness, BreaksHarness, "breaks")
            async with rig.account() as account:
                await rig.harness.produce("before")
                await account.journal.wait_texts("before")
                await settle()
                await harness.cut()
                await rig.harness.produce("in the gap")
                await settle()
                await harness.heal()
                await rig.harness.produce("behind it")
                await account.journal.wait_text("behind it")
                await account.journal.wait_text("in the gap")
        known = {envelope.event_key: envelope.text for envelope in account.journal.envelopes}
        assert list(known.values()) == ["before", "in the gap", "behind it"]

    async def test_a_message_whose_connection_was_cut_before_its_commit_is_one_event(self) -> None:
        """The acknowledgement finds no connection any more, so the platform sends it again: the same event, stored once."""
        self.need("acknowledges")
        async with self.rig() as rig:
            harness = self.has(rig.harness, BreaksHarness, "breaks")
            async with rig.account(full=True) as account:
                await rig.harness.produce("hello")
                await account.journal.wait_called()
                await harness.cut()
                await settle()
                account.journal.gate.set()
                await settle()
                await harness.heal()
                await rig.harness.produce("still there?")
                await account.journal.wait_text("still there?")
        offered = {envelope.event_key: envelope.text for envelope in account.journal.offered}
        assert list(offered.values()) == ["hello", "still there?"], "the event has another key when it comes again"
        assert "hello" in account.journal.texts, "a message was acknowledged, and its delivery was given up at the cut"

    async def test_an_event_that_comes_twice_has_one_key(self) -> None:
        """The platform cannot know whether its event has arrived. The key makes it one message."""
        async with self.rig() as rig:
            harness = self.has(rig.harness, RedeliversHarness, "redelivery")
            async with rig.account() as account:
                await rig.harness.produce("hello")
                await account.journal.wait_texts("hello")
                await settle()
                await harness.redeliver()
                await rig.harness.produce("and on")
                await account.journal.wait_text("and on")
        assert len({envelope.event_key for envelope in account.journal.envelopes if envelope.kind == "message"}) == 2

    async def test_signals_do_no_harm(self) -> None:
        """Typing, drafts and answers to presses are best effort. A kind that the channel cannot show is ignored."""
        async with self.rig() as rig, rig.account() as account:
            if not isinstance(account.channel, ShowsSignals):
                pytest.skip(f"{self.plugin.id} shows no signals")
            peer = rig.harness.peer
            for signal in (Typing(peer), Draft(peer, "turn-1", "so far"), PressAnswer(peer, "never pressed", "nobody asked")):
                try:
                    await account.channel.signal(signal)
                except GatewayError as error:
                    rig.secrets.check_error(error)
            await self.send(rig, account, self.text(rig.harness, "the reply"))
            assert "the reply" in list(await rig.harness.received())[-1:]

    async def test_no_secret_is_told(self) -> None:
        """Errors, log lines and reprs are read by people, and sent to each other by people. Every other test looks for secrets,
        too; this one makes everything fail."""
        async with self.rig() as rig:
            known = [failure for failure in SEND_FAILURES if failure in rig.harness.failures]
            if not rig.secrets.values:
                self.excuse("secrets")
                pytest.fail("no setting of the account is a Secret, and excuses does not say why", pytrace=False)
        for failure in known:
            async with self.rig() as rig, rig.account() as account:
                await rig.harness.failures[failure]()
                await account.outcome(self.text(rig.harness, f"into the {failure}"))
        for number in range(2):
            async with self.rig() as rig:
                if not isinstance(rig.harness, BreaksHarness):
                    return
                if number:
                    await rig.harness.cut()
                async with rig.account(connected=not number, quietly=False) as account:
                    await rig.harness.cut()
                    await settle()
