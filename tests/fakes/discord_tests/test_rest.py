"""The fake Discord, held against the platform's rules: messages, places, limits, errors, files."""

from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from tests.fakes.discord_platform import CREATE_MESSAGE, DOWNLOAD, FakeDiscord, Json
from tests.fakes.discord_tests.bot import Bot, bot_of
from tests.fakes.discord_tests.conftest import Place

pytestmark = pytest.mark.slow


def error_at(errors: Json, path: str) -> str:
    """The code of the error at a dotted path."""
    for name in path.split("."):
        errors = errors[name]
    code: str = errors["_errors"][0]["code"]
    return code


async def test_a_nonce_is_unique_per_author_for_some_minutes(
    discord: FakeDiscord, place: Place, bot: Bot, autojump_clock: MockClock
) -> None:
    other = discord.add_channel(place.guild, "other")
    first = await bot.post(place.channel, content="one", nonce="n1", enforce_nonce=True)
    again = await bot.post(other, content="two", nonce="n1", enforce_nonce=True)
    assert (again["id"], again["content"], again["nonce"]) == (first["id"], "one", "n1")
    await trio.sleep(299)
    assert (await bot.post(place.channel, content="one", nonce="n1", enforce_nonce=True))["id"] == first["id"]
    await trio.sleep(2)
    assert (await bot.post(place.channel, content="one", nonce="n1", enforce_nonce=True))["id"] != first["id"]
    assert (await bot.post(place.channel, content="three", nonce="n1"))["content"] == "three"
    assert discord.texts(other) == []
    gone = await bot.post(place.channel, content="gone", nonce="n2", enforce_nonce=True)
    discord.delete(gone["id"])
    repeated = {"content": "gone", "nonce": "n2", "enforce_nonce": True}
    assert (await bot.refused("POST", f"/channels/{place.channel}/messages", repeated))[:2] == (404, 10008)


async def test_an_effect_whose_answer_was_cut_is_found_by_its_nonce(discord: FakeDiscord, place: Place, bot: Bot) -> None:
    discord.cut_next(CREATE_MESSAGE, after_effect=True)
    with pytest.raises(Exception, match=r"reset|disconnected|closed|Read"):
        await bot.post(place.channel, content="once", nonce="n", enforce_nonce=True)
    await bot.post(place.channel, content="once", nonce="n", enforce_nonce=True)
    assert discord.texts(place.channel) == ["once"]
    assert discord.statuses(CREATE_MESSAGE) == [0, 200]


async def test_history_is_paged_newest_first(discord: FakeDiscord, place: Place, bot: Bot) -> None:
    ids = [discord.say(place.ada, place.channel, str(number)) for number in range(250)]

    async def page(**query: Any) -> list[str]:
        answer = await bot.call("GET", f"/channels/{place.channel}/messages", params=query)
        return [message["content"] for message in answer.json()]

    assert await page(limit=2) == ["249", "248"]
    assert await page(after=ids[9], limit=3) == ["12", "11", "10"]
    assert await page(before=ids[9], limit=3) == ["8", "7", "6"]
    assert await page(around=ids[100], limit=5) == ["102", "101", "100", "99", "98"]
    assert await bot.refused("GET", f"/channels/{place.channel}/messages?limit=101") == (
        400,
        50035,
        {"limit": {"_errors": [{"code": "NUMBER_TYPE_MAX", "message": "int value should be between 1 and 100."}]}},
    )


def with_buttons(*buttons: Json) -> Json:
    """A message with one row."""
    return {"components": [{"type": 1, "components": [{"type": 2, "style": 1, "label": "x", **button} for button in buttons]}]}


BUTTON = "components.0.components.0"
WRONG: list[tuple[Json, str, str]] = [
    ({"content": "x" * 2001}, "content", "BASE_TYPE_MAX_LENGTH"),
    ({"content": "x", "nonce": "n" * 26}, "nonce", "BASE_TYPE_MAX_LENGTH"),
    (
        {"content": "x", "allowed_mentions": {"parse": ["users"], "users": ["1"]}},
        "allowed_mentions",
        "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE",
    ),
    ({"content": "x", "message_reference": {"message_id": "1"}}, "message_reference", "REPLIES_UNKNOWN_MESSAGE"),
    ({"embeds": [{"title": "x" * 257}]}, "embeds.0.title", "BASE_TYPE_MAX_LENGTH"),
    (with_buttons(), "components.0.components", "BASE_TYPE_BAD_LENGTH"),
    (with_buttons({}), f"{BUTTON}.custom_id", "BASE_TYPE_REQUIRED"),
    (with_buttons({"custom_id": "a", "label": "x" * 81}), f"{BUTTON}.label", "BASE_TYPE_BAD_LENGTH"),
    (
        with_buttons({"custom_id": "a"}, {"custom_id": "a"}),
        "components.0.components.1.custom_id",
        "COMPONENT_CUSTOM_ID_DUPLICATED",
    ),
]


@pytest.mark.parametrize(("fields", "path", "code"), WRONG, ids=[f"{path} {code}" for _, path, code in WRONG])
async def test_a_wrong_field_is_named_by_its_path(
    discord: FakeDiscord, place: Place, bot: Bot, fields: Json, path: str, code: str
) -> None:
    status, number, errors = await bot.refused("POST", f"/channels/{place.channel}/messages", fields)
    assert (status, number, error_at(errors, path)) == (400, 50035, code)


async def test_what_must_not_be_posted_where(discord: FakeDiscord, place: Place, bot: Bot) -> None:
    async def refused(channel: str, **fields: Any) -> tuple[int, int]:
        status, code, _ = await bot.refused("POST", f"/channels/{channel}/messages", {"content": "x", **fields})
        return status, code

    hidden, silent = discord.add_channel(place.guild, "hidden"), discord.add_channel(place.guild, "silent")
    discord.set_permissions(hidden, deny=["view_channel"])
    discord.set_permissions(silent, deny=["send_messages"])
    discord.block(place.ada)
    thread = discord.open_thread(place.ada, place.channel, "a thread")
    discord.archive(thread, locked=True)
    assert await refused("1") == (404, 10003)
    assert await refused(hidden) == (403, 50001)
    assert await refused(silent) == (403, 50013)
    assert await refused(discord.dm(place.ada)) == (403, 50007)
    assert await refused(discord.add_forum(place.guild)) == (400, 50008)
    assert await refused(thread) == (400, 160005)
    assert await refused(place.channel, content=" ") == (400, 50006)
    theirs = discord.say(place.ada, place.channel, "hers")
    assert (await bot.refused("PATCH", f"/channels/{place.channel}/messages/{theirs}", {"content": "mine"}))[1] == 50005
    assert (await bot.refused("GET", f"/channels/{place.channel}/messages/1"))[1] == 10008
    assert discord.invalid.count == 4


async def test_allowed_mentions_decide_who_is_mentioned(discord: FakeDiscord, place: Place, bot: Bot) -> None:
    role = discord.add_role(place.guild, "team")
    text = f"<@{place.ada}> <@&{role}> @everyone"
    question = discord.say(place.ada, place.channel, "?")
    free = await bot.post(place.channel, content=text)
    quiet = await bot.post(
        place.channel, content=text, allowed_mentions={"parse": []}, message_reference={"message_id": question}
    )
    assert ([user["id"] for user in free["mentions"]], free["mention_roles"]) == ([place.ada], [role])
    assert (quiet["mentions"], quiet["mention_roles"], quiet["mention_everyone"]) == ([], [], False)
    assert (quiet["type"], quiet["referenced_message"]["id"]) == (19, question)
    assert not free["mention_everyone"]  # it lacks the permission
    path = f"/channels/{place.channel}/messages/{quiet['id']}"
    edited = await bot.ok("PATCH", path, {"content": text, "allowed_mentions": {"parse": []}})
    assert edited["mentions"] == []


async def test_files_go_up_and_down_and_their_urls_expire(
    discord: FakeDiscord, place: Place, bot: Bot, autojump_clock: MockClock
) -> None:
    payload = {"content": "", "attachments": [{"id": 0, "description": "a note"}]}
    answer = await bot.call(
        "POST",
        f"/channels/{place.channel}/messages",
        data={"payload_json": msgspec.json.encode(payload).decode()},
        files={"files[0]": ("a b.txt", b"text", "text/plain")},
    )
    attachment = answer.json()["attachments"][0]
    assert (attachment["filename"], attachment["size"], attachment["description"]) == ("a b.txt", 4, "a note")
    assert (await bot.http.get(attachment["url"])).content == b"text"
    assert (await bot.http.get(attachment["url"].partition("?")[0])).status_code == 404
    await trio.sleep(86_400)
    assert (await bot.http.get(attachment["url"])).status_code == 404
    fresh = await bot.ok("GET", f"/channels/{place.channel}/messages/{answer.json()['id']}")
    assert (await bot.http.get(fresh["attachments"][0]["url"])).content == b"text"


async def test_a_bucket_is_told_in_headers_and_kept(
    discord: FakeDiscord, place: Place, bot: Bot, autojump_clock: MockClock
) -> None:
    other = discord.add_channel(place.guild, "other")
    path = f"/channels/{place.channel}/messages"
    answers = [await bot.call("POST", path, json={"content": "x"}) for _ in range(6)]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["4", "3", "2", "1", "0", "0"]
    refusal = answers[-1]
    assert (refusal.status_code, refusal.headers["X-RateLimit-Scope"], refusal.json()["global"]) == (429, "user", False)
    assert (
        float(refusal.headers["X-RateLimit-Reset-After"])
        == refusal.json()["retry_after"]
        <= float(refusal.headers["Retry-After"])
    )
    elsewhere = await bot.call("POST", f"/channels/{other}/messages", json={"content": "x"})
    assert (elsewhere.status_code, elsewhere.headers["X-RateLimit-Bucket"]) == (200, refusal.headers["X-RateLimit-Bucket"])
    await trio.sleep(refusal.json()["retry_after"])
    assert (await bot.call("POST", path, json={"content": "x"})).status_code == 200


async def test_the_global_limit_and_that_of_a_resource(
    discord: FakeDiscord, place: Place, bot: Bot, autojump_clock: MockClock
) -> None:
    discord.limits.rules["GET /users/@me"] = (1000, 1.0)
    answers = [await bot.call("GET", "/users/@me") for _ in range(51)]
    assert [answer.status_code for answer in answers[49:]] == [200, 429]
    assert answers[-1].json()["global"] is True
    assert answers[-1].headers["X-RateLimit-Global"] == "true"
    assert "X-RateLimit-Bucket" not in answers[-1].headers
    await trio.sleep(1)
    discord.limit_next(CREATE_MESSAGE, 149.0, scope="shared")
    shared = await bot.call("POST", f"/channels/{place.channel}/messages", json={"content": "x"})
    assert (shared.status_code, shared.headers["X-RateLimit-Scope"]) == (429, "shared")
    assert int(shared.headers["X-RateLimit-Remaining"]) > 0
    assert (shared.headers["Retry-After"], shared.json()["retry_after"]) == ("149", 149.0)
    assert discord.invalid.count == 1
    await trio.sleep(100)
    assert (await bot.call("POST", f"/channels/{place.channel}/messages", json={"content": "x"})).json()["retry_after"] == 49.0
    await trio.sleep(49)
    assert (await bot.call("POST", f"/channels/{place.channel}/messages", json={"content": "x"})).status_code == 200


async def test_too_many_invalid_requests_are_banned_without_json(
    discord: FakeDiscord, place: Place, bot: Bot, autojump_clock: MockClock
) -> None:
    discord.invalid.limit = 3
    for _ in range(3):
        assert (await bot.call("GET", "/users/@me", token="wrong")).status_code == 401
    banned = await bot.call("GET", "/users/@me")
    assert (banned.status_code, banned.headers["content-type"]) == (429, "text/html; charset=UTF-8")
    assert "Via" not in banned.headers
    assert (discord.invalid.count, discord.invalid.refused) == (3, 1)
    await trio.sleep(600)
    assert (await bot.call("GET", "/users/@me")).status_code == 200


async def test_faults_by_route(discord: FakeDiscord, place: Place, bot: Bot, autojump_clock: MockClock) -> None:
    path = f"/channels/{place.channel}/messages"
    discord.fail_next(CREATE_MESSAGE, 500, message="Internal")
    discord.fail_with_page(CREATE_MESSAGE)
    discord.delay_next(CREATE_MESSAGE, 30.0)
    assert (await bot.call("POST", path, json={"content": "x"})).json()["message"] == "Internal"
    assert (await bot.call("POST", path, json={"content": "x"})).headers["content-type"] == "text/html"
    started = trio.current_time()
    assert (await bot.call("POST", path, json={"content": "x"})).status_code == 200
    assert trio.current_time() - started == pytest.approx(30.0, abs=0.1)
    discord.hang_next(CREATE_MESSAGE)
    with trio.move_on_after(1000) as waited:
        await bot.call("POST", path, json={"content": "x"})
    assert waited.cancelled_caught
    discord.garble_next("GET /users/@me")
    assert (await bot.call("GET", "/users/@me")).content == b'{"id": '
    discord.say(place.ada, place.channel, "x", files=[("a.txt", b"a")])
    (file,) = discord.messages(place.channel)[-1]["attachments"]
    discord.fail_with_page(DOWNLOAD, 503)
    assert [(await bot.http.get(file["url"])).status_code for _ in range(2)] == [503, 200]
    assert discord.statuses(DOWNLOAD) == [503, 200]
    discord.go_down()
    with pytest.raises(Exception, match=r"reset|disconnected|closed|Read"):
        await bot.call("GET", path)


async def test_threads_forums_and_dms(discord: FakeDiscord, place: Place, bot: Bot, autojump_clock: MockClock) -> None:
    forum = discord.add_forum(place.guild)
    post = discord.open_thread(place.ada, forum, "a post", "first")
    threads = [discord.open_thread(place.ada, place.channel, str(number)) for number in range(3)]
    secret = discord.open_thread(place.ada, place.channel, "secret", private=True)
    active = await bot.ok("GET", f"/guilds/{place.guild}/threads/active")
    assert [thread["id"] for thread in active["threads"]] == [*reversed(threads), post]
    assert (await bot.ok("GET", f"/channels/{forum}"))["last_message_id"] == post
    discord.add_to_thread(discord.bot_id, secret)
    for thread in (*threads, secret):
        discord.archive(thread)
        await trio.sleep(1)
    archived = await bot.ok("GET", f"/channels/{place.channel}/threads/archived/public?limit=2")
    assert ([thread["id"] for thread in archived["threads"]], archived["has_more"]) == (threads[:0:-1], True)
    oldest = archived["threads"][-1]["thread_metadata"]["archive_timestamp"]
    older = await bot.call("GET", f"/channels/{place.channel}/threads/archived/public", params={"before": oldest})
    assert [thread["id"] for thread in older.json()["threads"]] == threads[:1]
    joined = await bot.ok("GET", f"/channels/{place.channel}/users/@me/threads/archived/private")
    assert [member["id"] for member in joined["members"]] == [secret]
    assert (await bot.refused("GET", f"/channels/{place.channel}/threads/archived/private"))[1] == 50013
    await bot.post(threads[0], content="awake")
    assert not (await bot.ok("GET", f"/channels/{threads[0]}"))["thread_metadata"]["archived"]
    dm = await bot.ok("POST", "/users/@me/channels", {"recipient_id": place.ada})
    assert (dm["id"], dm["type"]) == (discord.dm(place.ada), 1)
    listed = await bot.ok("GET", f"/guilds/{place.guild}/channels")
    assert [channel["id"] for channel in listed] == [place.channel, forum]


async def test_history_is_blank_without_the_intent(discord: FakeDiscord, place: Place, bot: Bot) -> None:
    discord.say(place.ada, place.channel, "secret")
    discord.set_intents()
    (message,) = await bot.ok("GET", f"/channels/{place.channel}/messages")
    assert message["content"] == ""
    assert (await bot.ok("GET", "/applications/@me"))["flags"] == 0


async def test_updates_that_are_no_edits_leave_the_timestamp(discord: FakeDiscord, place: Place, bot: Bot) -> None:
    line = await bot.identify()
    said = discord.say(place.ada, place.channel, "https://example.org/")
    discord.resolve_embeds(said)
    discord.partial_updates()
    discord.pin(place.ada, said)
    discord.edit(said, "new")
    updates = [(await line.until("MESSAGE_UPDATE"))["d"] for _ in range(3)]
    assert [update.get("edited_timestamp", "absent") for update in updates[:2]] == [None, "absent"]
    assert updates[1] == {"id": said, "channel_id": place.channel, "guild_id": place.guild, "pinned": True}
    assert updates[2]["edited_timestamp"] is not None
    discord.join(discord.add_user("eve"), place.guild)
    assert [message["type"] for message in discord.messages(place.channel)] == [0, 6, 7]
    discord.delete(*[message["id"] for message in discord.messages(place.channel)])
    assert len((await line.until("MESSAGE_DELETE_BULK"))["d"]["ids"]) == 3


async def test_reactions_typing_and_deletion(discord: FakeDiscord, place: Place, bot: Bot) -> None:
    said = discord.say(place.ada, place.channel, "x")
    await bot.ok("PUT", f"/channels/{place.channel}/messages/{said}/reactions/%F0%9F%91%8D/@me")
    assert [one["emoji"]["name"] for one in discord.message(said)["reactions"]] == ["👍"]
    await bot.ok("POST", f"/channels/{place.channel}/typing")
    assert [channel for _, channel in discord.typing] == [place.channel]
    assert (await bot.refused("DELETE", f"/channels/{place.channel}/messages/{said}"))[1] == 50013
    own = await bot.post(place.channel, content="own")
    await bot.ok("DELETE", f"/channels/{place.channel}/messages/{own['id']}")
    assert discord.texts(place.channel) == []


async def test_what_no_correct_client_does_is_a_violation(discord: FakeDiscord, place: Place, bot: Bot) -> None:
    await bot.http.get(f"{discord.api_url}/users/@me", headers={"Authorization": f"Bot {discord.token}"})
    await bot.call("GET", "/nowhere")
    await bot.call("POST", f"/channels/{place.channel}/messages", data={"content": "a form"})
    await bot.http.get(f"{discord.url}/api/users/@me")
    assert len(discord.violations) == 4
    discord.violations.clear()


async def test_webhooks_mention_users_alone_by_default(discord: FakeDiscord, place: Place, bot: Bot) -> None:
    role = discord.add_role(place.guild, "team")
    hook = discord.message(discord.say_by_webhook(place.channel, f"<@{place.ada}> <@&{role}>"))
    assert ([user["id"] for user in hook["mentions"]], hook["mention_roles"]) == ([place.ada], [])
    assert (hook["webhook_id"], "member" in hook) == (hook["author"]["id"], False)


async def test_two_bots_share_an_address_and_its_ban(discord: FakeDiscord, place: Place, bot: Bot) -> None:
    second = await discord.add_bot("second")
    ada = second.add_user("ada")
    channel = second.add_channel(second.add_guild(members=[ada]))
    second.register("ask")
    command = second.interaction(second.command(ada, channel, "ask"))
    async with bot_of(second) as other:
        discord.limits.limit_globally(60)
        assert (await bot.call("GET", "/users/@me")).status_code == 429
        assert (await other.ok("GET", "/users/@me"))["id"] == second.bot_id != discord.bot_id
        await other.identify()
        answer = await other.http.post(
            f"{second.api_url}/interactions/{command.id}/{command.token}/callback", json={"type": 4, "data": {"content": "yes"}}
        )
        assert (answer.status_code, second.texts(channel)) == (204, ["yes"])
        said = await other.http.get(second.message(second.say(ada, channel, files=[("a.txt", b"a")]))["attachments"][0]["url"])
        assert said.content == b"a"
        discord.invalid.limit = 2
        await other.call("GET", f"/channels/{place.channel}", token="wrong")
        assert (await other.call("GET", "/users/@me")).headers["server"] == "cloudflare"
