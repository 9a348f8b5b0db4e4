"""Messages that change after they were sent."""

import pytest

from gatewayd.model.errors import SendRejected
from gatewayd.testing.channel_contract.buttons import CHOICES
from gatewayd.testing.channel_contract.fixtures import ChannelFixtures


class EditsContract(ChannelFixtures):
    async def test_an_edit_replaces_the_text_and_the_buttons(self) -> None:
        """Answered requests lose their buttons by an edit, which may have to be repeated."""
        async with self.rig() as rig:
            harness = self.with_edits(rig)
            async with rig.account() as account:
                message_id = (await self.send(rig, account, self.text(harness, "really?", CHOICES))).message_id
                await self.send(rig, account, self.text(harness, "another"))
                choices = CHOICES[:1] if self.plugin.buttons else ()
                for text, kept in (("still?", choices), ("done", ()), ("done", ())):
                    # The same once more is a success, too: an edit may have to be repeated.
                    await self.send(rig, account, self.edit(harness, message_id, text, kept))
                    [edited, other] = await harness.shown()
                    assert (edited.id, edited.text, other.text) == (message_id, text, "another")
                    assert [button.data for button in edited.buttons] == [choice.data for row in kept for choice in row]

    async def test_an_edit_of_what_is_not_there_is_rejected(self) -> None:
        """The hub then sends a new message instead of waiting."""
        async with self.rig() as rig:
            harness = self.with_edits(rig)
            if harness.unknown_message is None:
                pytest.skip(f"{self.plugin.id} shows what the journal has, and no other message")
            async with rig.account() as account:
                await self.send(rig, account, self.text(harness, "here"))
                for message_id in (harness.unknown_message, None):
                    outcome = await account.outcome(self.edit(harness, message_id, "changed"))
                    assert isinstance(outcome, SendRejected), f"the edit of {message_id} ended with {outcome!r}"
                assert list(await harness.received()) == ["here"]
