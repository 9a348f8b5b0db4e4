"""The fake Bot API, held against the platform's rules: requests and long polls."""

import pytest
import trio
from trio.testing import MockClock

from tests.fakes.bot_api import FakeBotApi, Json
from tests.fakes.bot_client import ALICE, OTHER_POLL, Client, client_of


async def test_get_me_knows_the_bot(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    me = await bot.ok("getMe")
    assert (me["id"], me["is_bot"], me["username"]) == (424242, True, "echo_bot")


@pytest.mark.parametrize("name", ["SENDMESSAGE", "sendmessage", "sendMessage"])
async def test_method_names_are_case_insensitive(api: FakeBotApi, bot: Client, autojump_clock: MockClock, name: str) -> None:
    api.add_chat(ALICE)
    assert (await bot.ok(name, chat_id=ALICE, text="hi"))["text"] == "hi"


async def test_parameters_come_as_json_form_multipart_or_query(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    api.add_chat(ALICE)
    url = f"{bot.base}/sendMessage"
    fields = {"chat_id": str(ALICE), "text": "ü", "disable_notification": "true", "link_preview_options": '{"is_disabled":true}'}
    await bot.http.post(url, json={"chat_id": ALICE, "text": "ü", "disable_notification": True})
    await bot.http.post(url, data=fields)
    await bot.http.post(url, files={name: (None, value) for name, value in fields.items()})
    await bot.http.get(url, params=fields)
    assert api.texts(ALICE) == ["ü"] * 4
    assert [call["disable_notification"] for call in api.calls("sendMessage")] == [True] * 4
    assert api.calls("sendMessage")[3]["link_preview_options"] == {"is_disabled": True}


async def test_an_upload_is_stored_and_can_be_fetched(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    api.add_chat(ALICE)
    content = b"--x\r\n\r\nnot a boundary\x00\xff"
    answer = await bot.http.post(
        f"{bot.base}/sendDocument", data={"chat_id": str(ALICE)}, files={"document": ("a.txt", content, "text/plain")}
    )
    document = answer.json()["result"]["document"]
    assert (document["file_name"], document["file_size"]) == ("a.txt", len(content))
    path = (await bot.ok("getFile", file_id=document["file_id"]))["file_path"]
    assert (await bot.http.get(f"{api.url}/file/bot{api.token}/{path}")).content == content
    assert (await bot.http.get(f"{api.url}/file/bot{api.token}/nowhere")).status_code == 404
    assert await bot.refused("getFile", file_id="nonsense") == (400, "Bad Request: invalid file_id")


@pytest.mark.parametrize(
    ("method", "params", "violation"),
    [
        ("sendMessage", {"chat_id": ALICE, "text": "x", "parsemode": "HTML"}, "parsemode is not a parameter"),
        ("sendMessage", {"chat_id": ALICE, "text": 5}, "text is not String"),
        ("sendMessage", {"text": "x"}, "chat_id is missing"),
        ("getUpdates", {"timeout": "soon"}, "timeout is not Integer"),
        ("getUpdates", {"allowed_updates": "message"}, "allowed_updates is not Array"),
        ("setWebhook", {"url": "", "drop_pending_updates": 1}, "drop_pending_updates is not Boolean"),
        ("sendTelegram", {}, "not a method"),
    ],
)
async def test_a_request_outside_the_parameter_list_is_a_violation(
    api: FakeBotApi, bot: Client, autojump_clock: MockClock, method: str, params: Json, violation: str
) -> None:
    api.add_chat(ALICE)
    await bot.call(method, **params)
    assert len(api.violations) == 1
    assert violation in api.violations[0]
    api.violations.clear()


async def test_violations_fail_the_test_that_made_them() -> None:
    with pytest.raises(AssertionError, match="no_such_thing"):
        async with FakeBotApi.serve() as api, client_of(api) as bot:
            await bot.call("getMe", no_such_thing=1)


async def test_wrong_tokens_and_paths(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    for path, status, description in [
        ("/bot1:wrong/getMe", 401, "Unauthorized"),
        ("/botnonsense/getMe", 401, "Unauthorized: invalid token specified"),
        ("/elsewhere", 404, "Not Found"),
    ]:
        answer = await bot.http.get(api.url + path)
        assert (answer.status_code, answer.json()["description"]) == (status, description)
    api.revoke_token()
    assert await bot.refused("getMe") == (401, "Unauthorized")


async def test_bots_of_one_server_are_strangers(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    other = api.add_bot("515151:AAother", "other_bot")
    api.user_sends(ALICE, "for the first")
    async with client_of(other) as second:
        assert (await second.ok("getMe"))["username"] == "other_bot"
        assert await second.ok("getUpdates") == []
        assert await second.refused("sendMessage", chat_id=ALICE, text="x") == (400, "Bad Request: chat not found")


async def test_the_offset_confirms_and_forgets(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    ids = [api.user_sends(ALICE, str(number))["update_id"] for number in range(5)]
    assert ids == list(range(ids[0], ids[0] + 5))
    assert [update["update_id"] for update in await bot.ok("getUpdates", limit=2)] == ids[:2]
    assert [update["update_id"] for update in await bot.ok("getUpdates", offset=ids[2])] == ids[2:]
    assert api.pending_update_count == 3
    assert [update["update_id"] for update in await bot.ok("getUpdates", offset=-1)] == ids[4:]
    assert api.pending_update_count == 1


async def test_a_long_poll_waits_for_an_update(
    api: FakeBotApi, bot: Client, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def write_later() -> None:
        await trio.sleep(7)
        api.user_sends(ALICE, "late")

    nursery.start_soon(write_later)
    started = trio.current_time()
    updates = await bot.ok("getUpdates", timeout=30)
    assert updates[0]["message"]["text"] == "late"
    assert trio.current_time() - started == pytest.approx(7, abs=0.5)


async def test_a_long_poll_ends_with_its_time(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    started = trio.current_time()
    assert await bot.ok("getUpdates", timeout=80) == []
    assert trio.current_time() - started == pytest.approx(50, abs=0.5)


async def test_the_second_poll_ends_the_first(
    api: FakeBotApi, bot: Client, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    first: list[tuple[int, str]] = []

    async def poll_first() -> None:
        first.append(await bot.refused("getUpdates", timeout=30))

    nursery.start_soon(poll_first)
    await trio.sleep(5)
    assert await bot.ok("getUpdates", timeout=0) == []
    assert first == []
    assert await bot.ok("getUpdates", timeout=1) == []
    assert first == [(409, OTHER_POLL)]


async def test_polling_and_a_webhook_exclude_each_other(
    api: FakeBotApi, bot: Client, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    ended: list[tuple[int, str]] = []

    async def poll() -> None:
        ended.append(await bot.refused("getUpdates", timeout=30))

    nursery.start_soon(poll)
    await trio.sleep(5)
    await bot.ok("setWebhook", url="http://127.0.0.1:9/hook")
    assert await bot.refused("getUpdates") == (
        409,
        "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first",
    )
    assert ended == [(409, "Conflict: terminated by setWebhook request")]
    await bot.ok("deleteWebhook")
    assert await bot.ok("getUpdates") == []


async def test_asking_again_and_again_is_slowed_down(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    started = trio.current_time()
    for _ in range(3):
        await bot.ok("getUpdates", offset=1)
    assert trio.current_time() - started == pytest.approx(3, abs=0.5)


async def test_only_allowed_updates_arrive_and_the_setting_stays(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    await bot.ok("getUpdates", allowed_updates=["channel_post"])
    api.user_sends(ALICE, "not asked for")
    api.channel_posts(-1009876543210, "news")
    api.unknown_update("hologram_call")
    await trio.sleep(5)
    kinds = [set(update) - {"update_id"} for update in await bot.ok("getUpdates")]
    assert kinds == [{"channel_post"}, {"hologram_call"}]
    assert (await bot.ok("getWebhookInfo"))["allowed_updates"] == ["channel_post"]


async def test_updates_are_kept_for_a_day(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    api.user_sends(ALICE, "old")
    await trio.sleep(86_000)
    api.user_sends(ALICE, "new")
    await trio.sleep(600)
    assert [update["message"]["text"] for update in await bot.ok("getUpdates")] == ["new"]


async def test_a_redelivered_update_ignores_the_offset_once(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    update = api.user_sends(ALICE, "twice")
    offset = update["update_id"] + 1
    await bot.ok("getUpdates", offset=offset)
    api.redeliver(update)
    assert await bot.ok("getUpdates", offset=offset) == [update]
    assert await bot.ok("getUpdates", offset=offset) == []
