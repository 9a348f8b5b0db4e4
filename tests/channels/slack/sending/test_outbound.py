"""Messages and edits, as Slack gets them and as it shows them."""

import pytest
from trio.testing import MockClock

from gatewayd.model.errors import AnswerExpired, NeedsOperator, OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import Choice, Receipt
from tests.channels.slack.sending.blocks import read
from tests.channels.slack.sending.rig import sending

CHOICES = ((Choice("Allow once", "ap:1:once"), Choice("Deny", "ap:1:deny")),)


async def test_what_is_sent_word_for_word(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        receipt = await rig.send("**a** & <!channel>", key="k1", reply_to=rig.reply_to)
        text = [{"type": "text", "text": "a", "style": {"bold": True}}, {"type": "text", "text": " & <!channel>"}]
        assert rig.slack.calls("chat.postMessage") == [
            {
                "channel": rig.general,
                "thread_ts": rig.asked,
                "text": "a &amp; &lt;!channel&gt;",
                "blocks": [{"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": text}]}],
                "metadata": {"event_type": "gatewayd_send", "event_payload": {"key": "k1"}},
                "unfurl_links": False,
                "unfurl_media": False,
            }
        ]
        [message] = rig.slack.messages(rig.general, thread=rig.asked)
        assert receipt == Receipt(f"{rig.general}:{message['ts']}")
        assert "subtype" not in message, "no reply is broadcast to its channel"


async def test_a_message_without_a_thread_goes_to_the_channel(autojump_clock: MockClock) -> None:
    async with sending(link_previews=True) as rig:
        receipt = await rig.send(peer=rig.peer)
        assert "thread_ts" not in rig.message(receipt)
        assert rig.slack.calls("chat.postMessage")[0]["unfurl_links"] is True


async def test_a_direct_message_is_opened_once(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        first = await rig.send("one", rig.direct, key="k1")
        second = await rig.send("two", rig.direct, key="k2")
        there = rig.slack.dm(rig.alice)
        assert rig.slack.texts(there) == ["one", "two"]
        assert [receipt.message_id for receipt in (first, second)] == [f"{there}:{it['ts']}" for it in rig.slack.messages(there)]
        assert rig.slack.calls("conversations.open") == [{"users": rig.alice}]


async def test_the_channel_of_a_direct_message_is_known_from_what_is_answered(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        there = rig.slack.dm(rig.alice)
        asked = rig.slack.say(rig.alice, there, "hi")
        await rig.send("hello", Peer("dm", rig.alice), reply_to=f"{there}:{asked}")
        assert rig.slack.calls("conversations.open") == []
        assert rig.slack.texts(there) == ["hello"]


@pytest.mark.parametrize("refusal", ["invalid_blocks", "msg_blocks_too_long", "invalid_blocks_format"])
async def test_a_message_whose_blocks_are_refused_arrives_in_words(refusal: str, autojump_clock: MockClock) -> None:
    async with sending() as rig:
        rig.slack.refuse("chat.postMessage", refusal)
        receipt = await rig.send("**May I?**", choices=CHOICES, instead="Write /approve 1")
        assert rig.message(receipt)["text"] == "May I?\n\nWrite /approve 1"
        rig.slack.refuse("chat.update", refusal)
        assert await rig.edit(receipt, "**Allowed**") == receipt
        assert rig.message(receipt)["text"] == "Allowed"
        assert rig.slack.calls("chat.update")[-1]["blocks"] == []


async def test_blocks_that_are_refused_twice_are_a_refusal(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        rig.slack.refuse("chat.postMessage", "invalid_blocks", times=2)
        with pytest.raises(SendRejected, match="invalid_blocks"):
            await rig.send()
        assert len(rig.slack.calls("chat.postMessage")) == 2


async def test_buttons_that_nobody_could_replace_by_words_are_not_left_out(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        rig.slack.refuse("chat.postMessage", "invalid_blocks")
        with pytest.raises(SendRejected, match="invalid_blocks"):
            await rig.send(choices=CHOICES)
        assert len(rig.slack.calls("chat.postMessage")) == 1


async def test_an_edit_replaces_text_and_buttons_and_can_be_repeated(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        receipt = await rig.send("May I?", choices=CHOICES)
        assert len(rig.message(receipt)["blocks"]) == 2
        for _ in range(2):
            assert await rig.edit(receipt, "Allowed by **Alice**") == receipt
            shown = rig.message(receipt)
            assert [block["type"] for block in shown["blocks"]] == ["rich_text"]
            assert shown["text"] == "Allowed by Alice"
        assert rig.slack.calls("chat.update")[0]["parse"] == "none"


@pytest.mark.parametrize(
    "name", ["message_not_found", "cant_update_message", "edit_window_closed", "channel_not_found", "is_inactive", "msg_too_long"]
)
async def test_what_cannot_be_edited_is_refused(name: str, autojump_clock: MockClock) -> None:
    async with sending() as rig:
        receipt = await rig.send()
        rig.slack.refuse("chat.update", name)
        with pytest.raises(SendRejected, match=name):
            await rig.edit(receipt, "new")


@pytest.mark.parametrize("message_id", [None, "", "17", "C012", "C012:", "C012:17.5 ", "U012:17.5", "C012:17.5:17.5"])
async def test_no_message_has_this_id(message_id: str | None, autojump_clock: MockClock) -> None:
    async with sending() as rig:
        with pytest.raises(SendRejected, match="not known"):
            await rig.edit(Receipt(message_id), "new")
        assert rig.slack.calls("chat.update") == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("is_archived", SendRejected),
        ("not_in_channel", SendRejected),
        ("no_text", SendRejected),
        ("account_inactive", NeedsOperator),
    ],
)
async def test_refusals_of_a_message(name: str, kind: type[Exception], autojump_clock: MockClock) -> None:
    async with sending() as rig:
        rig.slack.refuse("chat.postMessage", name)
        with pytest.raises(kind, match=name):
            await rig.send()


async def test_what_is_too_fast_is_tried_again(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        rig.slack.rate_limit("chat.postMessage", 30)
        with pytest.raises(TryAgain) as caught:
            await rig.send()
        assert caught.value.after_seconds == 30


@pytest.mark.parametrize("fault", ["drop_after", "hang_after", "drop_before"])
async def test_a_message_that_was_cut_is_of_unknown_outcome(fault: str, autojump_clock: MockClock) -> None:
    async with sending() as rig:
        rig.slack.fault(fault, "chat.postMessage")  # type: ignore[arg-type]
        with pytest.raises(OutcomeUnknown):
            await rig.send()


async def test_an_edit_that_was_cut_is_made_again(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        receipt = await rig.send()
        rig.slack.fault("drop_after", "chat.update")
        with pytest.raises(TryAgain):
            await rig.edit(receipt, "new")
        assert await rig.edit(receipt, "new") == receipt


async def test_a_command_is_answered_by_its_url_for_all(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        url = rig.command_url()
        assert await rig.send("**yes**", rig.peer, answer_with=url) == Receipt()
        [answer] = rig.slack.answers(rig.general)
        assert (answer["response_type"], answer["replace_original"], answer["text"]) == ("in_channel", False, "yes")
        assert (answer["unfurl_links"], answer["metadata"]["event_payload"]) == (False, {"key": "k"})
        assert read(answer["blocks"]) == "yes"
        assert rig.slack.texts(rig.general) == ["yes"]
        assert rig.slack.calls("chat.postMessage") == []


async def test_a_refusal_of_a_command_is_for_its_sender_alone(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        assert await rig.send("no", rig.peer, answer_with=rig.command_url(), only_for=rig.alice) == Receipt()
        assert [shown["text"] for shown in rig.slack.ephemeral(rig.general)] == ["no"]
        assert rig.slack.texts(rig.general) == []


async def test_a_url_that_is_used_up_or_too_old_is_told_without_a_call(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        url = rig.command_url()
        for at in range(5):
            await rig.send(str(at), rig.peer, answer_with=url)
        with pytest.raises(AnswerExpired):
            await rig.restarted().send("6", rig.peer, answer_with=url)
        rig.slack.break_with("actions", 500, times=None)
        with pytest.raises(AnswerExpired):
            await rig.send("6", rig.peer, answer_with=url)
        rig.slack.clear_faults()
        assert len(rig.slack.answers(rig.general)) == 5
        late = rig.command_url()
        await rig.send("first", rig.peer, answer_with=late)
        autojump_clock.jump(1801)
        rig.slack.break_with("actions", 500)
        with pytest.raises(AnswerExpired):
            await rig.send("too late", rig.peer, answer_with=late)


async def test_a_reply_that_grows_is_no_answer_to_a_url(autojump_clock: MockClock) -> None:
    """It could not be changed: Slack does not say which message it became."""
    async with sending() as rig:
        receipt = await rig.send("hello", rig.peer, answer_with=rig.command_url(), grows=True)
        assert rig.message(receipt)["text"] == "hello"
        assert rig.slack.answers(rig.general) == []


async def test_what_only_one_person_may_see(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        assert await rig.send("no", only_for=rig.alice, reply_to=rig.reply_to) == Receipt()
        [call] = rig.slack.calls("chat.postEphemeral")
        assert (call["user"], call["channel"]) == (rig.alice, rig.general)
        assert "thread_ts" not in call, "a thread without replies does not show it"
        await rig.send("no", only_for=rig.alice, reply_to=f"{rig.general}:1700000000.000001")
        assert rig.slack.calls("chat.postEphemeral")[1]["thread_ts"] == rig.asked
        assert [shown["text"] for shown in rig.slack.ephemeral(rig.general)] == ["no", "no"]
        assert rig.slack.texts(rig.general) == []
        with pytest.raises(SendRejected, match="user_not_in_channel"):
            await rig.send("no", only_for="U0NOBODY")


async def test_a_shortcut_on_a_message_is_answered_in_its_thread(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        await rig.send("yes", answer_with=rig.command_url())
        assert rig.slack.texts(rig.general, thread=rig.asked) == ["yes"]
