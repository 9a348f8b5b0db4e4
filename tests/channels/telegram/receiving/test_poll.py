import pytest
import trio
from trio.testing import MockClock

from gatewayd.channels.telegram.receiving.webhook import CHECK_SECONDS
from gatewayd.kit.repeat import ATTEMPTS
from gatewayd.model.errors import NeedsOperator, TryAgain
from gatewayd.model.message.envelope import Peer
from tests.channels.telegram.rig import Rig, rig_for
from tests.fakes.bot_api import FakeBotApi, make_supergroup, make_user
from tests.fakes.bot_api.methods.receiving import OTHER_POLL

ALICE = 4711
TEAM = make_supergroup(-1001234567890, forum=True)


async def test_it_connects_under_its_name_and_tells_how_long_it_may_be_silent(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig, rig.listening():
        assert rig.services.connected_as == ["@echo_bot"]
        assert trio.current_time() == 0.0
        await api.wait_call("getUpdates", count=2)
        assert rig.services.silence == 10.0
        first, second = api.calls("getUpdates")
    assert first == {**second, "timeout": 0}, "answered at once: connected means that we may receive"
    assert second == {
        "timeout": 5,
        "allowed_updates": [
            "message",
            "edited_message",
            "channel_post",
            "edited_channel_post",
            "callback_query",
            "my_chat_member",
        ],
    }


async def test_each_kind_of_update_arrives_where_it_belongs(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig, rig.listening():
        api.user_sends(ALICE, "private")
        topic = api.user_sends(TEAM, "/stop@echo_bot in a topic", thread=77)
        api.user_edits(TEAM, topic["message"]["message_id"], "@echo_bot edited")
        api.user_sends_photo(ALICE, "a caption")
        api.channel_posts(-100777, "a post")
        api.unknown_update()
        api.member_changes(ALICE, "kicked")
        api.user_sends(TEAM, content={"new_chat_title": "service message"})
        api.user_sends(TEAM, "bots are not answered", user={**make_user(9, "Other"), "is_bot": True})
        await api.wait_delivered()
        got = [(e.kind, e.peer, e.text, len(e.attachments), e.addressed) for e in rig.journal.envelopes]
    team, alice = Peer("group", "-1001234567890", "77"), Peer("dm", "4711")
    assert got == [
        ("message", alice, "private", 0, True),
        ("message", team, "/stop in a topic", 0, True),
        ("edit", team, "@echo_bot edited", 0, True),
        ("message", alice, "a caption", 1, True),
        ("message", Peer("channel", "-100777"), "a post", 0, False),
        ("membership", alice, "kicked", 0, False),
        ("service", Peer("group", "-1001234567890"), "[service message: new_chat_title]", 0, False),
        ("message", Peer("group", "-1001234567890"), "bots are not answered", 0, False),
    ]
    assert rig.journal.envelopes[-1].sender.is_bot


async def test_the_offset_is_saved_with_the_envelopes_and_used_after_a_restart(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api:
        async with rig_for(api) as rig, rig.listening():
            last = api.user_sends(ALICE, "one")["update_id"]
            await api.wait_delivered()
            kept = rig.services.kept
        api.clear_calls()
        async with rig_for(api, kept=kept) as rig, rig.listening():
            await api.wait_call("getUpdates")
        assert api.calls("getUpdates")[0]["offset"] == last + 1
    [saved] = [value for key, value in kept.items() if key.startswith("offset.")]
    assert saved == str(last + 1)


async def test_another_token_begins_without_the_old_offset(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api:
        other = api.add_bot("515151:AAother_token_0123456789", "other_bot")
        async with rig_for(api) as rig, rig.listening():
            api.user_sends(ALICE, "one")
            await api.wait_delivered()
        async with rig_for(other, kept=rig.services.kept) as second, second.listening():
            await other.wait_call("getUpdates")
            assert "offset" not in other.calls("getUpdates")[0]


async def test_updates_without_an_envelope_move_the_offset(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig, rig.listening():
        api.unknown_update()
        api.add_update({"message": {"message_id": "not a number"}})
        await api.wait_delivered()
        assert rig.journal.envelopes == []
        assert any(key.startswith("offset.") for key in rig.services.kept)


async def test_a_pressed_button_is_journaled_and_left_to_the_hub_to_answer(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig, rig.listening():
        shown = api.user_sends(ALICE, "choose")["message"]["message_id"]
        press = api.user_presses(ALICE, shown, "allow:1")
        await api.wait_delivered()
        [_, envelope] = rig.journal.envelopes
        assert (envelope.kind, envelope.text, envelope.press) == ("button", "allow:1", press["callback_query"]["id"])
        assert api.calls("answerCallbackQuery") == []


async def listen(rig: Rig) -> None:
    await rig.channel.listen(rig.journal)


async def test_a_webhook_of_another_mode_is_deleted_and_keeps_its_updates(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api:
        async with rig_for(api, mode="webhook") as rig, rig.listening():
            assert api.webhook_url
        api.user_sends(ALICE, "waits")
        async with rig_for(api) as rig, rig.listening():
            await api.wait_delivered()
            assert rig.journal.texts == ["waits"]
        assert api.webhook_url == ""
        assert api.calls("deleteWebhook") == [{}]


async def test_a_webhook_that_comes_back_is_named(autojump_clock: MockClock) -> None:
    conflict = "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.fail_next("getUpdates", 409, conflict, times=2)
        with pytest.raises(TryAgain, match="another program has set a webhook"):
            await listen(rig)
        assert len(api.calls("deleteWebhook")) == 1


async def test_another_poller_is_named(autojump_clock: MockClock) -> None:
    async def intrude(rig: Rig) -> None:
        await trio.sleep(1)
        await listen(rig)

    async with FakeBotApi.serve() as api, rig_for(api) as first, rig_for(api) as second, trio.open_nursery() as nursery:
        nursery.start_soon(intrude, second)
        with pytest.raises(TryAgain, match="another program polls with this token"):
            await listen(first)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("method", ["getMe", "getUpdates"])
async def test_a_revoked_token_needs_the_operator(method: str, autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.fail_next(method, 401, "Unauthorized")
        with pytest.raises(NeedsOperator, match="does not accept the token"):
            await listen(rig)


@pytest.mark.parametrize("method", ["getMe", "getUpdates"])
@pytest.mark.parametrize("fault", ["drop", "garbage", "hang", "500", "rate limit", "not the result"])
async def test_an_outage_is_waited_out(method: str, fault: str, autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        times = ATTEMPTS if method == "getMe" else 1
        match fault:
            case "drop":
                api.drop_next(method, processed=False, times=times)
            case "garbage":
                api.garble_next(method, times=times)
            case "hang":
                api.hang_next(method)
            case "500":
                api.fail_next(method, 500, "Internal Server Error", times=times)
            case "rate limit":
                api.fail_next(method, 429, "Too Many Requests: retry after 7", parameters={"retry_after": 7})
            case _:
                api.garble_next(method, status=200, body=b'{"ok":true,"result":"what?"}', times=times)
        with pytest.raises(TryAgain) as caught:
            await listen(rig)
        assert caught.value.after_seconds == (7.0 if fault == "rate limit" else None)


async def test_a_hung_poll_is_given_up_before_twice_its_time_out(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api, poll_timeout_seconds=50) as rig:
        api.hang_next("getUpdates", when=lambda params: params["timeout"] == 50)
        began = trio.current_time()
        with pytest.raises(TryAgain, match="no answer in time"):
            await listen(rig)
        assert rig.services.connected_as == ["@echo_bot"]
        assert 50 < trio.current_time() - began < 100


async def test_who_may_not_receive_is_never_connected(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api:
        api.fail_next("getUpdates", 409, f"Conflict: {OTHER_POLL}", times=None)
        kept: dict[str, str] = {}
        for _ in range(3):
            async with rig_for(api, kept=kept) as rig:
                with pytest.raises(TryAgain, match="another program polls with this token"):
                    await listen(rig)
                assert rig.services.connected_as == []


async def test_after_a_rival_it_is_connected_when_a_poll_has_lasted(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api:
        api.fail_next("getUpdates", 409, f"Conflict: {OTHER_POLL}")
        kept: dict[str, str] = {}
        async with rig_for(api, kept=kept) as rig:
            with pytest.raises(TryAgain):
                await listen(rig)
        api.clear_calls()
        async with rig_for(api, kept=kept, poll_timeout_seconds=50) as rig:
            began = trio.current_time()
            async with rig.listening():
                assert trio.current_time() - began == pytest.approx(20, abs=0.1)
        async with rig_for(api, kept=kept, poll_timeout_seconds=50) as rig:
            await trio.sleep(5)  # the server slows down who asks the same again within 3 s
            began = trio.current_time()
            async with rig.listening():
                assert trio.current_time() == began


async def test_what_waits_ends_the_doubt_about_a_rival(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api:
        api.fail_next("getUpdates", 409, f"Conflict: {OTHER_POLL}")
        kept: dict[str, str] = {}
        async with rig_for(api, kept=kept) as rig:
            with pytest.raises(TryAgain):
                await listen(rig)
        api.user_sends(ALICE, "hello")
        async with rig_for(api, kept=kept, poll_timeout_seconds=50) as rig:
            began = trio.current_time()
            async with rig.listening():
                await api.wait_delivered()
            assert rig.journal.texts == ["hello"]
            assert trio.current_time() - began < 1


@pytest.mark.parametrize("mode", ["poll", "webhook"])
async def test_a_bot_that_is_renamed_hears_its_new_name_within_minutes(mode: str, autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api, mode=mode) as rig, rig.listening():
        await trio.sleep(1000)
        known = len(api.calls("getMe"))
        assert 1 < known < 12
        api.user["username"] = "new_name_bot"
        await trio.sleep(CHECK_SECONDS * 1.1 + 10)
        assert rig.channel._receiver.bot.username == "new_name_bot"
        assert rig.services.connected_as == ["@echo_bot", "@new_name_bot"]


async def test_while_the_name_cannot_be_asked_for_messages_come_in(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig, rig.listening():
        api.fail_next("getMe", 500, "Internal Server Error", times=None)
        await trio.sleep(1000)
        assert len(api.calls("getMe")) > 3
        api.user_sends(ALICE, "hello")
        await rig.journal.wait_texts("hello")
