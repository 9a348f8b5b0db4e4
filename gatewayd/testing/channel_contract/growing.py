"""Replies that grow in their message, and files that go out."""

import pytest
import trio
from msgspec.structs import replace

from gatewayd.model.errors import GatewayError, SendRejected, TryAgain
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import EditText, RichText, SendFile
from gatewayd.ports.channel import ShowsGrowth
from gatewayd.testing.channel_contract.account import Account
from gatewayd.testing.channel_contract.fixtures import ChannelFixtures, Rig
from gatewayd.testing.channel_contract.harness import FilesHarness, PlacesHarness


class GrowingContract(ChannelFixtures):
    async def test_a_reply_grows_in_its_message(self) -> None:
        """It begins as a message, shows more and more, and ends by an edit. Nobody sees two messages."""
        async with self.rig() as rig:
            harness = self.with_edits(rig)
            async with rig.account() as account:
                channel, peer = self._growing(rig, account)
                begun = replace(self.text(harness, "one", peer=peer), grows=True)
                message_id = (await self.send(rig, account, begun, key="growing")).message_id
                assert message_id is not None, "what grows has an id"
                for text in ("one two", "one two three", "one two three"):
                    if not self.time_is_real:
                        await trio.sleep(channel.grows_every(peer) or 0.0)
                    await channel.grow(peer, message_id, RichText(text), key="growing")
                    assert await self._received(rig, peer) == [text]
                end = EditText(peer=peer, body=RichText("one two three four"), of=1, message_id=message_id)
                await self.send(rig, account, end)
                assert await self._received(rig, peer) == ["one two three four"]

    async def test_what_is_gone_does_not_grow(self) -> None:
        """It is refused, and no new message takes its place: the hub sends the whole reply at the end."""
        async with self.rig() as rig:
            harness = self.with_edits(rig)
            async with rig.account() as account:
                channel, peer = self._growing(rig, account)
                if harness.unknown_message is None:
                    pytest.skip(f"{self.plugin.id} shows what the journal has, and no other message")
                with pytest.raises(SendRejected):
                    await channel.grow(peer, harness.unknown_message, RichText("more"), key="never")
                assert await self._received(rig, peer) == []

    async def test_growing_waits_as_long_as_the_platform_says(self) -> None:
        """A reply that grows too fast must not cost the account its rate limit."""
        async with self.rig() as rig:
            harness = self.with_edits(rig)
            self.excuse("rate limit")
            async with rig.account() as account:
                channel, peer = self._growing(rig, account)
                begun = replace(self.text(harness, "one", peer=peer), grows=True)
                message_id = (await self.send(rig, account, begun, key="growing")).message_id
                await self.arrange(rig, "rate limit")
                with pytest.raises(GatewayError) as caught:
                    await channel.grow(peer, message_id or "", RichText("one two"), key="growing")
                rig.secrets.check_error(caught.value)
                assert isinstance(caught.value, TryAgain)
                assert caught.value.after_seconds is not None, "the time to wait is ignored"

    async def test_a_file_arrives_whole_with_its_name_and_caption(self) -> None:
        """An agent's report is of no use without a byte of it."""
        content = bytes(range(256)) * 1000
        async with self.rig() as rig:
            self.need("files")
            harness = self.has(rig.harness, FilesHarness)
            async with rig.account() as account:
                await account.send(self._file(rig, account, content))
                assert list(await harness.received_files()) == [("report.bin", content, "the report")]

    async def test_a_file_that_is_gone_is_refused(self) -> None:
        """Its bytes may be lost with a disk. The reply becomes a dead letter, and nothing half is sent."""
        async with self.rig() as rig:
            self.need("files")
            harness = self.has(rig.harness, FilesHarness)
            async with rig.account() as account:
                payload = self._file(rig, account, b"gone")
                account.services.files.clear()
                outcome = await account.outcome(payload)
                assert isinstance(outcome, SendRejected), f"the send of a file that is gone ended with {outcome!r}"
                assert list(await harness.received_files()) == []

    def _file(self, rig: Rig, account: Account, content: bytes) -> SendFile:
        account.services.files["file-1"] = content
        caption = RichText("the report")
        return SendFile(rig.harness.peer, "file-1", "report.bin", len(content), caption=caption)

    def _growing(self, rig: Rig, account: Account) -> tuple[ShowsGrowth, Peer]:
        """The channel, and a place where replies grow."""
        self.need("grows")
        channel = account.channel
        assert isinstance(channel, ShowsGrowth), "the manifest says that it grows, and it does not implement ShowsGrowth"
        places = rig.harness.places.values() if isinstance(rig.harness, PlacesHarness) else ()
        peer = next((peer for peer in (rig.harness.peer, *places) if channel.grows_every(peer) is not None), None)
        assert peer is not None, "replies grow in no place of the harness"
        assert (channel.grows_every(peer) or 0.0) >= 0.0
        return channel, peer

    async def _received(self, rig: Rig, peer: Peer) -> list[str]:
        if peer == rig.harness.peer:
            return list(await rig.harness.received())
        return list(await self.has(rig.harness, PlacesHarness).received_in(peer))
