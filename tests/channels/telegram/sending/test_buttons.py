"""Buttons, edits and answers to presses, against the platform's rules."""

import pytest
import trio
from trio.testing import MockClock

from gatewayd.model.errors import GatewayError, NeedsOperator, OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import Choice, EditText, PressAnswer, Receipt, RichText, SendText, Span
from tests.channels.telegram.rig import Rig, rig_for
from tests.fakes.bot_api import FakeBotApi, make_supergroup, make_user

ALICE = 4711
PEER = Peer("dm", str(ALICE))
FORUM = -1001234567890
CHOICES = ((Choice("Allow", "allow:7"), Choice("Deny", "deny:7")), (Choice("Allow for this session", "session:7"),))
BOLD = RichText("Done & over", (Span("bold", 0, 4),))


async def ask(rig: Rig, peer: Peer = PEER) -> Receipt:
    return await rig.channel.send(SendText(peer, RichText("Run it?"), choices=CHOICES), key="k")


def edit(message_id: str | None, body: RichText = BOLD, peer: Peer = PEER, *, buttons: bool = False) -> EditText:
    return EditText(peer, body, of=1, message_id=message_id, choices=CHOICES if buttons else ())


async def test_buttons_are_shown_row_by_row(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.add_chat(ALICE)
        receipt = await ask(rig)
        assert receipt.message_id is not None
        assert api.buttons(ALICE, int(receipt.message_id)) == [["Allow", "Deny"], ["Allow for this session"]]


async def test_a_press_says_who_pressed_what_and_where(autojump_clock: MockClock) -> None:
    bob = make_user(99, "Bob", "bob")
    forum = make_supergroup(FORUM, forum=True)
    async with FakeBotApi.serve() as api, rig_for(api) as rig, rig.listening():
        api.user_sends(forum, "hello", thread=77)
        receipt = await ask(rig, Peer("group", str(FORUM), "77"))
        press = api.user_presses_button(forum, "Deny", user=bob)
        again = api.user_presses_button(forum, "Deny", user=bob)
        await api.wait_delivered()
        pressed = [envelope for envelope in rig.journal.envelopes if envelope.kind == "button"]
        assert [envelope.press for envelope in pressed] == [update["callback_query"]["id"] for update in (press, again)]
        assert len({envelope.event_key for envelope in pressed}) == 2
        for envelope in pressed:
            assert (envelope.text, envelope.message_id, envelope.sender.id) == ("deny:7", receipt.message_id, "99")
            assert envelope.peer == Peer("group", str(FORUM), "77")


async def test_a_press_under_a_message_that_cannot_be_read_any_more(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig, rig.listening():
        api.add_chat(ALICE)
        receipt = await ask(rig)
        press = api.user_presses(ALICE, int(receipt.message_id or 0), "allow:7", accessible=False)
        await api.wait_delivered()
        [envelope] = rig.journal.envelopes
        assert (envelope.peer, envelope.message_id, envelope.text) == (PEER, receipt.message_id, "allow:7")
        assert envelope.press == press["callback_query"]["id"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Allowed.", {"text": "Allowed."}),
        ("", {}),
        ("Only the group ops can answer this request. " * 3, {"show_alert": True}),
    ],
)
async def test_a_press_is_answered_in_words(text: str, shown: dict[str, object], autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig, rig.listening():
        api.add_chat(ALICE)
        await ask(rig)
        press = api.user_presses_button(ALICE, "Allow")
        await api.wait_delivered()
        [envelope] = rig.journal.envelopes
        assert api.calls("answerCallbackQuery") == [], "what it comes to is for the hub to say"
        assert envelope.press is not None
        await rig.channel.signal(PressAnswer(PEER, envelope.press, text))
        answer = api.answer_to(press)
        assert answer is not None
        assert shown.items() <= answer.items()
        assert answer.get("text", "") == text
        assert answer.keys() == {"callback_query_id", *(["text"] if text else []), *(["show_alert"] if len(text) > 100 else [])}


async def test_an_answer_that_comes_too_late_or_never_is_nobodys_concern(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        await rig.channel.signal(PressAnswer(PEER, "never pressed", "x"))
        api.hang_next("answerCallbackQuery")
        began = trio.current_time()
        await rig.channel.signal(PressAnswer(PEER, "1", "x"))
        assert trio.current_time() - began < 5
    async with rig_for(api) as rig:
        await rig.channel.signal(PressAnswer(PEER, "1", "nobody is there"))
    assert len(api.calls("answerCallbackQuery")) == 2


async def test_an_edit_replaces_the_text_and_the_buttons(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.add_chat(ALICE)
        number = (await ask(rig)).message_id
        assert await rig.channel.send(edit(number), key="k") == Receipt(number)
        assert api.calls("editMessageText") == [
            {
                "chat_id": ALICE,
                "message_id": int(number or 0),
                "text": "<b>Done</b> &amp; over",
                "parse_mode": "HTML",
                "link_preview_options": {"is_disabled": True},
            }
        ]
        assert api.texts(ALICE) == ["Done & over"]
        assert api.buttons(ALICE, int(number or 0)) == []
        await rig.channel.send(edit(number, RichText("Once more?"), buttons=True), key="k")
        assert api.buttons(ALICE, int(number or 0)) == [["Allow", "Deny"], ["Allow for this session"]]


async def test_a_message_that_is_as_wanted_is_a_success(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.add_chat(ALICE)
        number = (await ask(rig)).message_id
        for _ in range(3):
            assert await rig.channel.send(edit(number), key="k") == Receipt(number)
        assert api.texts(ALICE) == ["Done & over"]


@pytest.mark.parametrize("message_id", [None, "", "abc", "999999"])
async def test_what_cannot_be_found_is_rejected(message_id: str | None, autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.add_chat(ALICE)
        with pytest.raises(SendRejected, match=r"^message gone|^not known"):
            await rig.channel.send(edit(message_id), key="k")


async def test_what_is_not_ours_is_rejected(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        theirs = api.user_sends(ALICE, "mine")["message"]["message_id"]
        with pytest.raises(SendRejected, match=r"^not editable"):
            await rig.channel.send(edit(str(theirs)), key="k")


async def test_no_edit_lands_on_another_message_after_a_group_became_a_supergroup(autojump_clock: MockClock) -> None:
    family = Peer("group", "-4001")
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.add_chat(-4001)
        before = await ask(rig, family)
        api.group_upgrades(-4001, -1005555)
        await rig.channel.send(SendText(family, RichText("after")), key="k")
        with pytest.raises(SendRejected, match=r"^migrated"):
            await rig.channel.send(edit(before.message_id, peer=family), key="k")
        assert api.calls("editMessageText") == []
        assert api.texts(-1005555) == ["after"]


async def test_markup_that_cannot_be_parsed_is_given_up_once(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.add_chat(ALICE)
        number = (await ask(rig)).message_id
        api.fail_next("editMessageText", 400, "Bad Request: can't parse entities: Unclosed start tag at byte offset 3")
        await rig.channel.send(edit(number, buttons=True), key="k")
        assert [call.get("parse_mode") for call in api.calls("editMessageText")] == ["HTML", None]
        assert api.texts(ALICE) == ["Done & over"]
        assert api.buttons(ALICE, int(number or 0)) != []


@pytest.mark.parametrize("processed", [True, False])
async def test_an_edit_that_may_or_may_not_have_been_made_can_be_made_again(processed: bool, autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.add_chat(ALICE)
        number = (await ask(rig)).message_id
        api.drop_next("editMessageText", processed=processed)
        with pytest.raises(OutcomeUnknown, match="may or may not"):
            await rig.channel.send(edit(number), key="k")
        assert await rig.channel.send(edit(number), key="k") == Receipt(number)
        assert api.texts(ALICE) == ["Done & over"]


@pytest.mark.parametrize(
    ("code", "description", "parameters", "kind"),
    [
        (429, "Too Many Requests: retry after 149", {"retry_after": 149}, TryAgain),
        (500, "Internal Server Error: restart", None, OutcomeUnknown),
        (502, "Bad Gateway", None, OutcomeUnknown),
        (401, "Unauthorized", None, NeedsOperator),
        (400, "Bad Request: MESSAGE_ID_INVALID", None, SendRejected),
        (403, "Forbidden: bot was kicked from the supergroup chat", None, SendRejected),
    ],
)
async def test_a_refused_edit_names_its_cure(
    code: int, description: str, parameters: dict[str, int] | None, kind: type[GatewayError], autojump_clock: MockClock
) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.add_chat(ALICE)
        number = (await ask(rig)).message_id
        api.fail_next("editMessageText", code, description, parameters=parameters)
        with pytest.raises(kind) as caught:
            await rig.channel.send(edit(number), key="k")
        if isinstance(caught.value, TryAgain):
            assert caught.value.scope == "conversation"
            assert caught.value.after_seconds == (149.0 if code == 429 else None)


async def test_too_many_buttons_are_refused_in_words_before_anything_is_sent(autojump_clock: MockClock) -> None:
    many = tuple((Choice(str(n), str(n)),) for n in range(101))
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.add_chat(ALICE)
        with pytest.raises(SendRejected, match="too many buttons"):
            await rig.channel.send(SendText(PEER, RichText("?"), choices=many), key="k")
        assert api.calls("sendMessage") == []
        big = tuple((Choice("x" * 64, "y" * 60),) for _ in range(90))
        with pytest.raises(SendRejected, match=r"^too long.*reply markup is too long"):
            await rig.channel.send(SendText(PEER, RichText("?"), choices=big), key="k")
