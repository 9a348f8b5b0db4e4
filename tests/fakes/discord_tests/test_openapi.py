"""The fake Discord's answers, and requests that it takes, held against Discord's own OpenAPI description."""

import pytest

from tests.fakes.discord_openapi import broken_answers, broken_requests
from tests.fakes.discord_openapi.judge import ANSWERS, REQUESTS
from tests.fakes.discord_platform import FakeDiscord
from tests.fakes.discord_platform.rest.bodies import Body
from tests.fakes.discord_platform.rest.routing import Call
from tests.fakes.discord_tests.bot import Bot
from tests.fakes.discord_tests.conftest import Place

pytestmark = pytest.mark.slow
ROW = {"type": 1, "components": [{"type": 2, "style": 1, "label": "Allow", "custom_id": "allow"}]}
MENU = {
    "type": 1,
    "components": [{"type": 3, "custom_id": "menu", "options": [{"label": "One", "value": "1"}, {"label": "Two", "value": "2"}]}],
}


async def everything(discord: FakeDiscord, place: Place, bot: Bot) -> None:
    """A call to every route that has a schema."""
    discord.limits.is_on = False
    channel, guild, app = f"/channels/{place.channel}", f"/guilds/{place.guild}", f"/applications/{discord.application_id}"
    said = discord.say(place.ada, place.channel, f"<@{discord.bot_id}> https://example.org", files=[("a.txt", b"a")])
    discord.resolve_embeds(said)
    discord.edit(said, "edited")
    discord.react(place.ada, said)
    discord.say_by_webhook(place.channel, "by a hook")
    discord.pin(place.ada, said)
    forum = discord.add_forum(place.guild)
    discord.open_thread(place.ada, forum, "a post", "first")
    thread = discord.open_thread(place.ada, place.channel, "a thread", "first")
    discord.archive(thread)
    discord.add_role(place.guild, "team")
    dm = (await bot.ok("POST", "/users/@me/channels", {"recipient_id": place.ada}))["id"]
    for path in ("/gateway", "/gateway/bot", "/users/@me", "/users/@me/guilds", "/applications/@me", "/oauth2/applications/@me"):
        await bot.ok("GET", path)
    for path in (channel, f"/channels/{dm}", f"/channels/{forum}", f"/channels/{thread}", f"{channel}/messages"):
        await bot.ok("GET", path)
    for path in ("", "/channels", "/roles", f"/members/{place.ada}", "/threads/active"):
        await bot.ok("GET", guild + path)
    for path in (f"/users/{place.ada}", f"{channel}/messages/{said}", f"{channel}/threads/archived/public"):
        await bot.ok("GET", path)
    manager = discord.add_role(place.guild, "managers", allow=["manage_threads"])
    discord.give_role(discord.bot_id, place.guild, manager)
    for path in (f"{channel}/threads/archived/private", f"{channel}/users/@me/threads/archived/private"):
        await bot.ok("GET", path)
    card = await bot.post(
        place.channel, content="May I?", components=[ROW, MENU], embeds=[{"title": "t", "description": "d"}], nonce="1",
        enforce_nonce=True, allowed_mentions={"parse": [], "replied_user": False}, message_reference={"message_id": said},
    )  # fmt: skip
    await bot.ok("PATCH", f"{channel}/messages/{card['id']}", {"content": "May I, please?", "components": [ROW, MENU]})
    commands = [{"name": "ask", "description": "Ask", "options": [{"type": 3, "name": "text", "description": "What"}]}]
    for scope in ("", guild):
        await bot.ok("PUT", f"{app}{scope}/commands", [*commands, {"name": "Explain", "type": 3}])
        await bot.ok("POST", f"{app}{scope}/commands", {"name": "new", "description": "Begin anew"})
        await bot.ok("GET", f"{app}{scope}/commands")
    await answers(discord, place, bot, card["id"])


async def answers(discord: FakeDiscord, place: Place, bot: Bot, card: str) -> None:
    """An interaction with all that may follow it."""
    command = discord.interaction(discord.command(place.ada, place.channel, "ask", {"text": "why"}))
    callback = f"/interactions/{command.id}/{command.token}/callback?with_response=true"
    webhook = f"/webhooks/{discord.application_id}/{command.token}"
    await bot.ok("POST", callback, {"type": 4, "data": {"content": "because", "allowed_mentions": {"parse": []}}})
    await bot.ok("PATCH", f"{webhook}/messages/@original", {"content": "edited", "components": [ROW]})
    await bot.ok("GET", f"{webhook}/messages/@original")
    more = (await bot.ok("POST", webhook, {"content": "more"}))["id"]
    await bot.ok("GET", f"{webhook}/messages/{more}")
    await bot.ok("PATCH", f"{webhook}/messages/{more}", {"content": "more, edited"})
    press = discord.interaction(discord.press(place.ada, card, "Allow"))
    await bot.ok("POST", f"/interactions/{press.id}/{press.token}/callback", {"type": 7, "data": {"components": []}})


async def test_answers_and_requests_are_as_discord_describes_them(discord: FakeDiscord, place: Place, bot: Bot) -> None:
    await everything(discord, place, bot)
    assert ANSWERS.keys() - {call.route for call in discord.log if call.answer is not None} == set()
    assert REQUESTS.keys() - {call.route for call in discord.log} == set()
    assert await broken_requests(discord.log) == []
    assert await broken_answers(discord.log) == []


async def test_what_is_wrong_is_found() -> None:
    route = "POST /channels/{channel_id}/messages"
    bodies = [{"content": "x" * 4001}, {"content": "x", "no_such_field": 1}, {"content": "x"}]
    calls = [Call(route, {}, {}, Body(body), 0.0, 200, {"id": 1}) for body in bodies]
    assert len(await broken_requests(calls)) == 2
    assert len(await broken_answers(calls[:1])) == 1
