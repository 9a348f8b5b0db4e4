"""Buttons under a message, and what their presses become."""

from gatewayd.model.message.payload import Choice, PressAnswer
from gatewayd.ports.channel import ShowsSignals
from gatewayd.testing.channel_contract.account import Account
from gatewayd.testing.channel_contract.fixtures import ChannelFixtures, Choices, Rig
from gatewayd.testing.channel_contract.harness import Button

LONGEST_DATA = "d" * 60
CHOICES: Choices = (
    (Choice("Yes", "answer:1:yes"), Choice("No, never", "answer:1:no")),
    (Choice("Später 😀", LONGEST_DATA),),
)
"""Two rows; one label that is not ASCII, and data as long as data may be."""


class ButtonsContract(ChannelFixtures):
    async def ask(self, rig: Rig, account: Account) -> str:
        """Send a question with two rows of buttons; its id."""
        receipt = await self.send(rig, account, self.text(rig.harness, "really?", CHOICES))
        assert receipt.message_id is not None, "what has buttons can be named by who presses one"
        return receipt.message_id

    async def test_buttons_are_shown_in_order_and_send_their_data(self) -> None:
        """The data of a press says what was answered, the message id says which question."""
        async with self.rig() as rig:
            harness = self.with_buttons(rig)
            async with rig.account() as account:
                message_id = await self.ask(rig, account)
                [shown] = await harness.shown()
                expected = tuple(Button(choice.label, choice.data) for row in CHOICES for choice in row)
                assert (shown.id, shown.text, shown.buttons) == (message_id, "really?", expected)
                for button in shown.buttons:
                    await harness.press(message_id, button.data)
                presses = await account.journal.wait_presses(len(expected))
        assert [press.text for press in presses] == [button.data for button in expected]
        for press in presses:
            assert (press.channel, press.account, press.peer) == (
                rig.harness.account.channel,
                rig.harness.account.account,
                rig.harness.peer,
            )
            assert press.message_id == message_id
            assert press.sender.id
            assert press.press is not None

    async def test_every_press_is_an_event_of_its_own_and_is_answered(self) -> None:
        """Two presses of one button are two answers, and whoever presses sees that it has arrived."""
        async with self.rig() as rig:
            harness = self.with_buttons(rig)
            async with rig.account() as account:
                assert isinstance(account.channel, ShowsSignals)
                message_id = await self.ask(rig, account)
                for number in range(2):
                    await harness.press(message_id, LONGEST_DATA)
                    press = (await account.journal.wait_presses(number + 1))[number]
                    assert press.press is not None
                    await account.channel.signal(PressAnswer(harness.peer, press.press, f"noted {number}"))
                assert list(await harness.wait_answers(2)) == ["noted 0", "noted 1"]
        assert len({press.event_key for press in account.journal.presses}) == 2
        assert len({press.press for press in account.journal.presses}) == 2

    async def test_a_message_without_buttons_has_none(self) -> None:
        """An empty row is no button."""
        async with self.rig() as rig:
            harness = self.with_buttons(rig)
            async with rig.account() as account:
                await self.send(rig, account, self.text(harness, "just so", ((),)))
                [shown] = await harness.shown()
        assert shown.buttons == ()
