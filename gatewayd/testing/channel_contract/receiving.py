"""What comes in: in order, with the facts of each message, and journaled before the platform is told."""

import re

import pytest
import trio

from gatewayd.model.errors import SendRejected
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.ports.channel import FetchesMedia, RecallsThreads
from gatewayd.testing.channel_contract.fixtures import ChannelFixtures, Rig, settle
from gatewayd.testing.channel_contract.harness import EditsInHarness, FilesInHarness, PingsHarness

MANY = 120
"""More than the buffers of most drivers, and more than a poll gives at once."""

REFUSED_WITHIN_SECONDS = 5.0


class ReceivingContract(ChannelFixtures):
    async def test_messages_are_delivered_in_order(self) -> None:
        """The agent reads a conversation in the order of ``deliver``; equal event keys would be stored as one message."""
        async with self.rig() as rig, rig.account() as account:
            for text in ("one", "two", "three"):
                await rig.harness.produce(text)
            await account.journal.wait_texts("one", "two", "three")
            await settle()
            await rig.harness.produce("four")
            latest = await account.journal.wait_text("four")
            await settle()
        assert account.journal.texts == ["one", "two", "three", "four"], "a message came more than once"
        assert not latest.missed, "it came at once, and is said to be missed"
        messages = [envelope for envelope in account.journal.envelopes if envelope.kind == "message"]
        for envelope in messages:
            self._check(rig, envelope)
            assert envelope.peer == rig.harness.peer
        assert len({envelope.event_key for envelope in messages}) == 4, "several events have one key"

    async def test_messages_of_a_conversation_are_delivered_one_after_the_other(self) -> None:
        """``deliver`` may take long. Two calls at once would leave the order to chance."""
        async with self.rig() as rig, rig.account(full=True) as account:
            for text in ("one", "two", "three"):
                await rig.harness.produce(text)
            await account.journal.wait_called()
            await settle()
            assert account.journal.overlapped is None
            account.journal.gate.set()
            await account.journal.wait_texts("one", "two", "three")

    async def test_a_direct_message_is_addressed(self) -> None:
        """Who writes to us alone means us. What is not addressed, most agents never see."""
        async with self.rig() as rig, rig.account() as account:
            await rig.harness.produce("hello")
            envelope = await account.journal.wait_text("hello")
        assert rig.harness.peer.kind != "dm" or envelope.addressed

    async def test_what_we_say_does_not_come_in(self) -> None:
        """Many networks show a bot its own messages. An agent that answers itself never ends."""
        async with self.rig() as rig, rig.account() as account:
            for number in range(2):
                await self.send(rig, account, self.text(rig.harness, f"our own word {number}"))
            await settle()
            await rig.harness.produce("somebody else's")
            await account.journal.wait_text("somebody else's")
        assert account.journal.texts == ["somebody else's"]

    async def test_each_person_has_an_id_of_their_own(self) -> None:
        """Allow lists, pairing and approvals compare it: with one id for all, everybody may do what one person may."""
        async with self.rig() as rig:
            harness, other = self.place(rig, "other")
            async with rig.account() as account:
                await harness.produce("from the one")
                await harness.write("from the other", peer=other, sender=harness.people[1])
                mine = await account.journal.wait_text("from the one")
                theirs = await account.journal.wait_text("from the other")
        assert (mine.sender.id, theirs.sender.id) == harness.people
        assert (mine.peer, theirs.peer) == (harness.peer, other)

    async def test_a_message_in_a_group_says_where_and_by_whom(self) -> None:
        """In a group the conversation and the person are two things."""
        async with self.rig() as rig:
            harness, group = self.place(rig, "group")
            async with rig.account() as account:
                for number, person in enumerate(harness.people):
                    await harness.write(f"number {number}", peer=group, sender=person)
                found = [await account.journal.wait_text(f"number {number}") for number in range(2)]
        for envelope in found:
            self._check(rig, envelope)
            assert envelope.peer == group
        assert tuple(envelope.sender.id for envelope in found) == harness.people

    async def test_in_a_group_a_mention_is_addressed_and_nothing_else(self) -> None:
        """An agent that takes every message for its own answers all of them; one that takes none is dumb."""
        async with self.rig() as rig:
            harness, group = self.place(rig, "group")
            async with rig.account() as account:
                await harness.write("among ourselves", peer=group, sender=harness.people[0])
                await harness.write("what do you say", peer=group, sender=harness.people[1], mentions=True)
                aside = await account.journal.wait_text("among ourselves")
                asked = await account.journal.wait_event("the mention", lambda each: "what do you say" in each.text)
        assert not aside.addressed, "it takes what others say among themselves for its own"
        assert asked.addressed, "it does not notice a mention"

    async def test_a_thread_is_a_conversation_of_its_own(self) -> None:
        """Two threads of a group have two sessions, and the reply to one does not go to the other."""
        async with self.rig() as rig:
            harness, thread = self.place(rig, "thread")
            _, group = self.place(rig, "group")
            async with rig.account() as account:
                await harness.write("in the thread", peer=thread, sender=harness.people[0])
                await harness.write("in the group", peer=group, sender=harness.people[0])
                inside = await account.journal.wait_text("in the thread")
                outside = await account.journal.wait_text("in the group")
        assert (inside.peer, outside.peer) == (thread, group)
        assert thread.thread is not None

    async def test_a_thread_is_told_from_its_beginning(self) -> None:
        """What is told is what was said before, the oldest first, and of that the newest. Nothing of another thread is in it, nor
        the message itself."""
        self.need("recalls")
        async with self.rig() as rig:
            harness, thread = self.place(rig, "thread")
            first, second = harness.people
            async with rig.account() as account:
                for text, person in (("one", first), ("two", second), ("three", first)):
                    await harness.write(text, peer=thread, sender=person)
                await harness.write("elsewhere", peer=thread.whole, sender=first)
                await self.send(rig, account, self.text(harness, "ours", peer=thread))
                await harness.write("what do you say", peer=thread, sender=second, mentions=True)
                asked = await account.journal.wait_event("the mention", lambda each: "what do you say" in each.text)
                await harness.write("later", peer=thread, sender=first)
                channel = account.channel
                assert isinstance(channel, RecallsThreads)
                told = await channel.earlier(asked, at_most=3)
        assert [item.text for item in told] == ["two", "three", "ours"]
        assert [item.ours for item in told] == [False, False, True]
        assert [item.sender.id for item in told[:2]] == [second, first]

    async def test_a_correction_is_an_edit_of_what_was_written(self) -> None:
        """As a message it would be answered once more. It names the message that it changes."""
        async with self.rig() as rig:
            harness = self.has(rig.harness, EditsInHarness, "edits in")
            async with rig.account() as account:
                await harness.produce("a question")
                first = await account.journal.wait_text("a question")
                await harness.correct("a better question")
                edit = await account.journal.wait_event("the edit", lambda each: each.text == "a better question")
        assert edit.kind == "edit"
        assert edit.message_id == first.message_id is not None
        assert edit.event_key != first.event_key, "the edit would be dropped as known"

    async def test_a_file_comes_with_its_message_and_can_be_fetched(self) -> None:
        """The envelope has a reference. The bytes are fetched when an agent wants them, up to a limit."""
        async with self.rig() as rig:
            harness = self.has(rig.harness, FilesInHarness, "files in")
            async with rig.account() as account:
                await harness.produce_file("notes.txt", b"buy milk")
                message = await account.journal.wait_event("the file", lambda each: bool(each.attachments))
                [attachment] = message.attachments
                assert attachment.name in ("notes.txt", None)
                channel = account.channel
                assert isinstance(channel, FetchesMedia), "it has files, and does not implement FetchesMedia"
                assert await channel.fetch(attachment, at_most_bytes=1000) == b"buy milk"
                with pytest.raises(SendRejected):
                    await channel.fetch(attachment, at_most_bytes=4)

    async def test_the_platform_is_told_after_the_commit_and_not_before(self) -> None:
        """A message that is acknowledged before its commit is lost in a crash. Sending goes on meanwhile."""
        async with self.rig() as rig:
            acks = self.acks(rig)
            async with rig.account(full=True) as account:
                await rig.harness.produce("hello")
                await account.journal.wait_called()
                await self.send(rig, account, self.text(rig.harness, "meanwhile, on another wire"))
                await settle()
                assert await acks.acknowledged() == 0, "a message was acknowledged before deliver returned"
                account.journal.gate.set()
                await acks.wait_acknowledged(1)
        assert account.journal.texts == ["hello"]

    async def test_what_could_not_be_journaled_is_not_acknowledged_and_comes_again(self) -> None:
        """A full disk must cost no message: the platform keeps it until it is stored. And it is the same event then."""
        refused = RuntimeError("the disk is full")
        async with self.rig() as rig:
            acks = self.acks(rig)
            async with rig.account(error=refused) as account:
                await rig.harness.produce("hello")
                await account.journal.wait_called()
                with trio.move_on_after(REFUSED_WITHIN_SECONDS):
                    await account.wait_refused()
                assert account.refusals, "the error of deliver went nowhere"
            assert await acks.acknowledged() == 0, "a message was acknowledged though deliver raised an error"
            async with rig.account() as again:
                await again.journal.wait_texts("hello")
        offered = [envelope.event_key for envelope in account.journal.offered]
        assert set(offered) == {again.journal.envelopes[0].event_key}, "the event has another key when it comes again"

    async def test_what_was_cut_off_before_its_commit_comes_again(self) -> None:
        """The process may be killed between an event and its commit. What the driver has noted by then must not skip it."""
        async with self.rig() as rig:
            self.acks(rig)
            async with rig.account(full=True, quietly=False) as account:
                await rig.harness.produce("hello")
                await account.journal.wait_called()
            async with rig.account() as again:
                await again.journal.wait_texts("hello")
        offered = {envelope.event_key for envelope in account.journal.offered}
        assert offered == {again.journal.envelopes[0].event_key}, "the event has another key when it comes again"

    async def test_what_was_journaled_does_not_come_again(self) -> None:
        """A driver that forgets what it has taken takes everything again at each start."""
        async with self.rig() as rig:
            acks = self.acks(rig)
            async with rig.account() as account:
                for text in ("one", "two"):
                    await rig.harness.produce(text)
                await account.journal.wait_texts("one", "two")
                await acks.wait_acknowledged(2)
            async with rig.account() as again:
                await rig.harness.produce("three")
                await again.journal.wait_text("three")
                await settle()
        assert again.journal.texts == ["three"]
        keys = [envelope.event_key for each in (account, again) for envelope in each.journal.envelopes]
        assert len(set(keys)) == 3, "the keys begin anew with each start, so new messages look like old ones"

    async def test_what_was_written_while_it_was_away_comes_when_it_is_back(self) -> None:
        """A restart takes a minute. The users do not know of it."""
        async with self.rig() as rig:
            self.acks(rig)
            async with rig.account() as account:
                await rig.harness.produce("before")
                await account.journal.wait_texts("before")
                await settle()
            await rig.harness.produce("meanwhile")
            await rig.harness.produce("and more")
            async with rig.account() as again:
                await again.journal.wait_text("and more")
        assert [text for text in again.journal.texts if text != "before"] == ["meanwhile", "and more"]

    async def test_nothing_is_dropped_while_the_inbox_is_full(self) -> None:
        """``deliver`` waits while the inbox is full, for minutes perhaps."""
        texts = [f"number {number}" for number in range(MANY)]
        async with self.rig() as rig, rig.account(full=True) as account:
            for text in texts:
                await rig.harness.produce(text)
            await settle()
            account.journal.gate.set()
            await account.journal.wait_texts(*texts)

    async def test_a_full_inbox_does_not_stop_the_pings(self) -> None:
        """A platform that gets no answer to its ping closes the connection, just when there is much to do."""
        async with self.rig() as rig:
            harness = self.has(rig.harness, PingsHarness, "pings")
            async with rig.account(full=True) as account:
                for number in range(3):
                    await harness.produce(f"number {number}")
                await account.journal.wait_called()
                await harness.ping()
                account.journal.gate.set()
                await account.journal.wait_texts("number 0", "number 1", "number 2")

    def _check(self, rig: Rig, envelope: InboundEnvelope) -> None:
        """What is true of every envelope."""
        account = rig.harness.account
        assert (envelope.channel, envelope.account) == (account.channel, account.account)
        assert envelope.event_key
        assert envelope.sender.id
        pattern = self.plugin.id_pattern
        assert pattern is None or re.fullmatch(pattern, envelope.sender.id), "the sender's id is not of the manifest's pattern"
        place = self.plugin.place_pattern or pattern
        assert envelope.peer.kind == "dm" or place is None or re.fullmatch(place, envelope.peer.id)
