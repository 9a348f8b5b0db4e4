"""Whatever we send is as Discord's own description of its API has it (npm, discord-api-spec), and no field more."""

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from gatewayd.channels.discord import PLUGIN
from gatewayd.channels.discord.sending.outbound import NOBODY
from gatewayd.channels.discord.sending.render import markdown_of, wire_size
from gatewayd.kit.text import compose
from gatewayd.kit.text.markdown import render
from gatewayd.model.errors import OutcomeUnknown
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import Choice, EditText, PressAnswer, SendFile, SendText, Typing
from tests.channels.discord.rig import now, rig_for
from tests.fakes.discord_openapi import broken_requests
from tests.fakes.discord_openapi.judge import REQUESTS
from tests.fakes.discord_platform import CREATE_MESSAGE, FakeDiscord
from tests.fakes.discord_platform.rest.bodies import Body
from tests.fakes.discord_platform.rest.routing import Call
from tests.kit.text.texts import wild_texts

pytestmark = pytest.mark.slow

EVERYTHING = """# Head

**bold** _italic_ ~~strike~~ ***both*** `code` [**link**](https://e.org/?a=1&b=2) https://e.org @everyone <@1>

> quoted **bold**

```py
x < 1
```

- a
- b
"""
BUTTONS = ((Choice("Allow", "ap:1:yes"), Choice("Deny", "ap:1:no")),)
MANY = (tuple(Choice(f"Choice {at}", f"qu:1:{at}") for at in range(30)),)
PLAIN = {CREATE_MESSAGE, "PATCH /channels/{channel_id}/messages/{message_id}"}
SENT = PLAIN | {
    "POST /users/@me/channels",
    "POST /webhooks/{webhook_id}/{webhook_token}",
    "PATCH /webhooks/{webhook_id}/{webhook_token}/messages/@original",
    "POST /interactions/{interaction_id}/{interaction_token}/callback",
    "PUT /applications/{application_id}/commands",
}
"""The routes with a body that the driver calls."""


async def live(discord: FakeDiscord) -> None:
    """All that an account does."""
    ada, bob = discord.add_user("ada"), discord.add_user("bob")
    guild = discord.add_guild("Home", members=[ada, bob])
    general = discord.add_channel(guild, "general")
    thread = discord.open_thread(ada, general, "a topic")
    direct = discord.dm(ada)
    async with rig_for(discord, commands=True) as rig, rig.listening():
        channel, journal = rig.channel, rig.journal
        discord.say(ada, thread, f"<@{discord.bot_id}> hello")
        heard = await journal.wait_text("hello")
        await channel.signal(Typing(heard.peer))
        for choices in (BUTTONS, MANY):
            body = SendText(heard.peer, render(EVERYTHING), choices=choices, reply_to=heard.message_id, instead="Write /answer")
            card = await channel.send(body, key=f"card{len(choices[0])}")
            assert card.message_id is not None
        grown = await channel.send(SendText(Peer("group", general), render("It grows"), grows=True), key="grows")
        assert grown.message_id is not None
        await channel.grow(Peer("group", general), grown.message_id, render("It grows and **grows**"), key="grows")
        await channel.send(EditText(Peer("group", general), render("The end"), of=1, message_id=grown.message_id), key="end")
        await channel.send(SendText(Peer("dm", bob), render("direct")), key="direct")
        rig.services.files["n"] = b"12345"
        await channel.send(SendFile(heard.peer, "n", 'a "report".txt', 5, caption=render("the **report**")), key="file")
        card = await channel.send(SendText(Peer("dm", ada), render("May I?"), choices=BUTTONS), key="card")
        press = discord.press(ada, (card.message_id or "").partition(":")[2], "Allow")
        [pressed] = await journal.wait_presses(1)
        await discord.wait_answer(press)
        await channel.signal(PressAnswer(pressed.peer, pressed.press or "", "Done"))
        await discord.wait_until(lambda: bool(discord.commands()))
        command = discord.command(ada, direct, "new", {"text": "begin"})
        asked = await journal.wait_event("the command", lambda it: it.kind == "command")
        await discord.wait_answer(command)
        await channel.send(SendText(asked.peer, render("begun"), answer_with=asked.answer_with), key="answer")
        discord.cut_next(CREATE_MESSAGE, after_effect=True)
        since = now()
        lost = SendText(asked.peer, render("lost"))
        with pytest.raises(OutcomeUnknown):
            await channel.send(lost, key="lost")
        await trio.sleep(5)
        assert await channel.find_sent(lost, key="lost", since=since) is not None


async def test_each_request_of_an_account_is_as_discord_describes_it(autojump_clock: MockClock) -> None:
    async with FakeDiscord.serve(now=now) as discord:
        await live(discord)
        calls = list(discord.log)
    assert {call.route for call in calls} & REQUESTS.keys() == SENT
    autojump_clock.autojump_threshold = float("inf")
    assert await broken_requests(calls) == []


@given(texts=st.lists(wild_texts, min_size=40, max_size=40))
@settings(max_examples=2, suppress_health_check=list(HealthCheck))
def test_any_reply_is_a_message_as_discord_describes_it(texts: list[str]) -> None:
    pieces = [
        piece for it in texts for piece in compose(it, text_format="rich", text_limit=PLUGIN.text_limit, wire_size=wire_size)
    ]
    bodies = [{"content": markdown_of(it), "allowed_mentions": NOBODY} for it in pieces]
    assert [body for body in bodies if len(str(body["content"]).encode("utf-16-le")) > 4000] == []
    calls = [Call(route, {}, {}, Body(body), 0.0) for body in bodies for route in PLAIN]
    assert trio.run(broken_requests, calls) == []
