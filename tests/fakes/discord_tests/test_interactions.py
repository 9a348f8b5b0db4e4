"""The fake Discord, held against the platform's rules: buttons, commands, and interactions by HTTP."""

from typing import Any

import msgspec
import pytest
import trio
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey
from trio.testing import MockClock

from tests.fakes.bot_api.http_server import Request, Response, listen, port_of, serve_http
from tests.fakes.discord_platform import FakeDiscord, Json
from tests.fakes.discord_platform.errors import ApiError
from tests.fakes.discord_tests.bot import Bot, Line
from tests.fakes.discord_tests.conftest import Place

pytestmark = pytest.mark.slow

ROW = {"type": 1, "components": [{"type": 2, "style": 1, "label": "Allow", "custom_id": "allow"}]}
MESSAGE, DEFERRED_MESSAGE, DEFERRED_UPDATE, UPDATE = 4, 5, 6, 7


@pytest.fixture
async def line(discord: FakeDiscord, place: Place, bot: Bot) -> Line:
    return await bot.identify()


async def card_of(place: Place, bot: Bot) -> str:
    """A message with a button; its id."""
    message = await bot.post(place.channel, content="May I?", components=[ROW])
    return str(message["id"])


def callback(interaction: Json) -> str:
    return f"/interactions/{interaction['id']}/{interaction['token']}/callback"


def webhook(interaction: Json) -> str:
    return f"/webhooks/{interaction['application_id']}/{interaction['token']}"


async def pressed(discord: FakeDiscord, place: Place, bot: Bot, line: Line) -> Json:
    """INTERACTION_CREATE of a press."""
    discord.press(place.ada, await card_of(place, bot), "Allow")
    event: Json = (await line.until("INTERACTION_CREATE"))["d"]
    return event


async def test_a_press_updates_its_message_once(discord: FakeDiscord, place: Place, bot: Bot, line: Line) -> None:
    press = await pressed(discord, place, bot, line)
    assert (press["type"], press["data"]["custom_id"], press["member"]["user"]["id"]) == (3, "allow", place.ada)
    card = press["message"]["id"]
    answer = {"type": UPDATE, "data": {"content": "Allowed", "components": []}}
    await bot.ok("POST", callback(press), answer)
    assert (discord.message(card)["content"], discord.buttons(card)) == ("Allowed", [])
    assert (await bot.refused("POST", callback(press), answer))[:2] == (400, 40060)
    with pytest.raises(KeyError):
        discord.press(place.ada, card, "Allow")


async def test_an_answer_after_three_seconds_is_unknown(
    discord: FakeDiscord, place: Place, bot: Bot, line: Line, autojump_clock: MockClock
) -> None:
    press = await pressed(discord, place, bot, line)
    await trio.sleep(3.1)
    assert (await bot.refused("POST", callback(press), {"type": DEFERRED_UPDATE}))[:2] == (404, 10062)
    assert (await bot.refused("POST", f"/interactions/1/{press['token']}/callback", {"type": 6}))[:2] == (404, 10062)


async def test_a_deferred_answer_is_filled_followed_and_expires(
    discord: FakeDiscord, place: Place, bot: Bot, line: Line, autojump_clock: MockClock
) -> None:
    discord.register("ask", options=[{"name": "text", "type": 3, "description": "What"}])
    discord.command(place.ada, place.channel, "ask", {"text": "why"})
    command = (await line.until("INTERACTION_CREATE"))["d"]
    assert command["data"]["options"] == [{"name": "text", "type": 3, "value": "why"}]
    await bot.ok("POST", callback(command), {"type": DEFERRED_MESSAGE})
    waiting = (await line.until("MESSAGE_CREATE"))["d"]
    assert (waiting["flags"], waiting["content"], waiting["author"]["id"]) == (1 << 7, "", discord.bot_id)
    filled = await bot.ok("PATCH", f"{webhook(command)}/messages/@original", {"content": "because"})
    assert (filled["id"], filled["flags"], filled["type"]) == (waiting["id"], 0, 20)
    await bot.ok("POST", webhook(command), {"content": "more"})
    assert discord.texts(place.channel) == ["because", "more"]
    assert (await bot.ok("GET", f"{webhook(command)}/messages/@original"))["content"] == "because"
    await trio.sleep(900)
    assert (await bot.refused("PATCH", f"{webhook(command)}/messages/@original", {"content": "x"}))[:2] == (401, 50027)
    assert (await bot.refused("POST", webhook(command), {"content": "x"}))[:2] == (401, 50027)


async def test_a_follow_up_to_a_deferred_answer_fills_it(discord: FakeDiscord, place: Place, bot: Bot, line: Line) -> None:
    press = await pressed(discord, place, bot, line)
    answer = await bot.ok("POST", f"{callback(press)}?with_response=true", {"type": DEFERRED_MESSAGE})
    filled = await bot.ok("POST", webhook(press), {"content": "filled"})
    assert filled["id"] == answer["interaction"]["response_message_id"]
    await bot.ok("DELETE", f"{webhook(press)}/messages/@original")
    assert discord.texts(place.channel) == ["May I?"]


async def test_an_ephemeral_answer_is_in_no_history(discord: FakeDiscord, place: Place, bot: Bot, line: Line) -> None:
    press = await pressed(discord, place, bot, line)
    await bot.ok("POST", callback(press), {"type": MESSAGE, "data": {"content": "for you", "flags": 1 << 6}})
    more = await bot.ok("POST", webhook(press), {"content": "more", "flags": 1 << 6})
    edited = await bot.ok("PATCH", f"{webhook(press)}/messages/{more['id']}", {"content": "more, edited"})
    assert (edited["flags"], edited["content"]) == (1 << 6, "more, edited")
    assert discord.texts(place.channel) == ["May I?"]
    assert discord.interaction(press["id"]).original is not None


async def test_an_interaction_comes_again_and_late(discord: FakeDiscord, place: Place, bot: Bot, line: Line) -> None:
    press = await pressed(discord, place, bot, line)
    discord.redeliver(press["id"])
    assert (await line.until("INTERACTION_CREATE"))["d"]["id"] == press["id"]
    await line.cut()
    await discord.gateway.wait_disconnected()
    late = discord.press(place.ada, press["message"]["id"], "allow")
    again = await bot.resume(line)
    assert (await again.until("INTERACTION_CREATE"))["d"]["id"] == late


async def test_commands_on_users_and_messages(discord: FakeDiscord, place: Place, bot: Bot, line: Line) -> None:
    registered = await bot.ok(
        "PUT",
        f"/applications/{discord.application_id}/commands",
        [{"name": "Who", "type": 2}, {"name": "Explain", "type": 3}, {"name": "new", "description": "Begin anew"}],
    )
    assert [command["name"] for command in registered] == ["Who", "Explain", "new"]
    again = await bot.ok("PUT", f"/applications/{discord.application_id}/commands", [{"name": "Who", "type": 2}])
    assert again[0]["id"] == registered[0]["id"]
    await bot.ok("PUT", f"/applications/{discord.application_id}/guilds/{place.guild}/commands", [{"name": "Explain", "type": 3}])
    said = discord.say(place.ada, place.channel, "a text")
    discord.command(place.ada, place.channel, "Who", target_user=place.ada)
    who = (await line.until("INTERACTION_CREATE"))["d"]["data"]
    assert (who["target_id"], who["resolved"]["users"][place.ada]["username"]) == (place.ada, "ada")
    discord.command(place.ada, place.channel, "Explain", target_message=said)
    explain = (await line.until("INTERACTION_CREATE"))["d"]["data"]
    assert explain["resolved"]["messages"][said]["content"] == "a text"
    with pytest.raises(KeyError):
        discord.command(place.ada, place.channel, "new")
    wrong = [{"name": "Upper", "description": "x"}]
    assert (await bot.refused("PUT", f"/applications/{discord.application_id}/commands", wrong))[1] == 50035


class Endpoint:
    """An app's endpoint: checks signatures, answers PING, and what ``answer`` says to all else."""

    def __init__(self, verify_key: str) -> None:
        self._key = VerifyKey(bytes.fromhex(verify_key))
        self.answer: Response | None = Response(200, msgspec.json.encode({"type": DEFERRED_MESSAGE}))
        self.seen: list[Json] = []
        self.checks = True

    async def handle(self, request: Request) -> Response | None:
        signed = request.headers["x-signature-timestamp"].encode() + request.body
        try:
            self._key.verify(signed, bytes.fromhex(request.headers["x-signature-ed25519"]))
        except BadSignatureError:
            if self.checks:
                return Response(401, b"invalid request signature", "text/plain")
        payload: Any = msgspec.json.decode(request.body)
        self.seen.append(payload)
        return Response(200, msgspec.json.encode({"type": 1})) if payload["type"] == 1 else self.answer


@pytest.fixture
async def endpoint(discord: FakeDiscord, nursery: trio.Nursery) -> Endpoint:
    """Listens behind https://bot.example, as behind a TLS proxy."""
    endpoint = Endpoint(discord.verify_key)
    listener = await listen(0)
    nursery.start_soon(serve_http, listener, endpoint.handle)
    discord.http_interactions.routes["https://bot.example"] = f"http://127.0.0.1:{port_of(listener)}"
    return endpoint


async def test_an_endpoint_is_saved_only_when_it_checks_signatures(discord: FakeDiscord, endpoint: Endpoint, bot: Bot) -> None:
    url = "https://bot.example/interactions"
    endpoint.checks = False
    with pytest.raises(ApiError, match="50035"):
        await discord.http_interactions.save_endpoint(url)
    endpoint.checks = True
    await discord.http_interactions.save_endpoint(url)
    assert [delivery.status for delivery in discord.http_interactions.deliveries[2:]] == [200, 401]
    assert (await bot.ok("GET", "/applications/@me"))["interactions_endpoint_url"] == url
    forged = await discord.http_interactions.post({"type": 2}, forge=lambda signature, timestamp: (signature, "0"))
    assert forged.status == 401


async def test_with_an_endpoint_interactions_do_not_come_by_the_gateway(
    discord: FakeDiscord, place: Place, endpoint: Endpoint, bot: Bot, line: Line
) -> None:
    discord.set_endpoint("https://bot.example/")
    press = discord.press(place.ada, await card_of(place, bot), "Allow")
    assert await discord.wait_answer(press) == DEFERRED_MESSAGE
    assert [seen["id"] for seen in endpoint.seen] == [press]
    await bot.ok("PATCH", f"{webhook(endpoint.seen[0])}/messages/@original", {"content": "done"})
    endpoint.answer = Response(202, b"")
    press = discord.press(place.ada, await card_of(place, bot), "Allow")
    await discord.wait_until(lambda: discord.http_interactions.deliveries[-1].status == 202)
    await bot.ok("POST", callback(endpoint.seen[1]), {"type": DEFERRED_UPDATE})
    assert await discord.wait_answer(press) == DEFERRED_UPDATE
    await discord.wait_text(place.channel, "done")
    discord.say(place.ada, place.channel, "the end")
    await line.until("MESSAGE_CREATE")
    assert "INTERACTION_CREATE" not in [event["t"] for event in line.events]
