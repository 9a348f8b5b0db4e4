"""What is sent to the fake Discord, and what becomes of refusals, limits and cuts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from gatewayd.model.errors import AnswerExpired, NeedsOperator, OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import Choice, EditText, RichText, SendText, Typing
from tests.channels.discord.rig import Rig, now, rig_for
from tests.fakes.discord_platform import CREATE_MESSAGE, FakeDiscord

EDIT_MESSAGE = "PATCH /channels/{channel_id}/messages/{message_id}"
COMMANDS = "PUT /applications/{application_id}/commands"


class Place:
    def __init__(self, discord: FakeDiscord, rig: Rig) -> None:
        self.discord = discord
        self.rig = rig
        self.ada = discord.add_user("ada")
        guild = discord.add_guild("Home", members=[self.ada])
        self.general = discord.add_channel(guild, "general")
        self.peer = Peer("group", self.general)

    async def send(self, text: str = "hello", key: str = "k1", **more: object) -> str | None:
        payload = SendText(**{"peer": self.peer, "body": RichText(text), **more})  # type: ignore[arg-type]
        return (await self.rig.channel.send(payload, key=key)).message_id


@asynccontextmanager
async def place(**settings: object) -> AsyncIterator[Place]:
    with trio.fail_after(3600):
        async with FakeDiscord.serve(now=now) as discord:
            await trio.sleep(5)
            async with rig_for(discord, **settings) as rig, rig.listening():  # type: ignore[arg-type]
                yield Place(discord, rig)


async def test_what_is_sent_word_for_word(autojump_clock: MockClock) -> None:
    async with place() as here:
        question = here.discord.say(here.ada, here.general, "a question")
        sent = await here.send("*hi* <@1>", reply_to=f"{here.general}:{question}")
        [body] = here.discord.calls(CREATE_MESSAGE)
        assert body == {
            "content": "\\*hi\\* \\<@1>",
            "allowed_mentions": {"parse": [], "replied_user": False},
            "flags": 4,
            "nonce": "k1",
            "enforce_nonce": True,
            "message_reference": {"message_id": question, "channel_id": here.general, "fail_if_not_exists": False},
        }
        assert sent == f"{here.general}:{here.discord.messages(here.general)[-1]['id']}"


async def test_the_same_key_is_one_message(autojump_clock: MockClock) -> None:
    async with place() as here:
        here.discord.cut_next(CREATE_MESSAGE, after_effect=True)
        with pytest.raises(OutcomeUnknown):
            await here.send()
        await here.send()
        assert here.discord.texts(here.general) == ["hello"]


async def test_a_reply_to_what_cannot_be_replied_to_is_sent_all_the_same(autojump_clock: MockClock) -> None:
    async with place() as here:
        question = here.discord.say(here.ada, here.general, "a question")
        here.discord.fail_next(CREATE_MESSAGE, 403, 160002)
        await here.send(reply_to=f"{here.general}:{question}")
        assert here.discord.texts(here.general) == ["hello"]
        assert "message_reference" not in here.discord.calls(CREATE_MESSAGE)[-1]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, 50001, SendRejected),
        (403, 50013, SendRejected),
        (403, 50007, SendRejected),
        (404, 10003, SendRejected),
        (400, 200000, SendRejected),
        (401, 0, NeedsOperator),
        (400, 999999, SendRejected),
        (500, 0, OutcomeUnknown),
        (503, 130000, TryAgain),
    ],
)
async def test_what_a_refusal_means(status: int, code: int, kind: type[Exception], autojump_clock: MockClock) -> None:
    async with place() as here:
        here.discord.fail_next(CREATE_MESSAGE, status, code)
        with pytest.raises(kind) as raised:
            await here.send()
        assert str(code or status) in str(raised.value)
        assert here.discord.texts(here.general) == []


@pytest.mark.parametrize(("scope", "waits"), [("user", "conversation"), ("global", "sends"), ("shared", "conversation")])
async def test_a_limit_of_149_seconds_is_waited_for_by_whom_it_concerns(
    scope: str, waits: str, autojump_clock: MockClock
) -> None:
    async with place() as here:
        here.discord.limit_next(CREATE_MESSAGE, 149.0, scope=scope)
        with pytest.raises(TryAgain) as limited:
            await here.send()
        assert (limited.value.scope, limited.value.after_seconds) == (waits, 149.0)
        with pytest.raises(TryAgain) as waiting:
            await here.send()
        assert 100 < (waiting.value.after_seconds or 0) <= 149
        await trio.sleep(149.5)
        await here.send()
        assert here.discord.texts(here.general) == ["hello"]
        assert here.discord.statuses(CREATE_MESSAGE) == [429, 200], "no call is made in vain"
        assert here.discord.invalid.count == (0 if scope == "shared" else 1)


async def test_a_burst_is_never_above_the_limit(autojump_clock: MockClock) -> None:
    async with place() as here:
        async with trio.open_nursery() as nursery:
            for number in range(25):
                nursery.start_soon(here.send, f"text {number}", f"k{number}")
        assert len(here.discord.texts(here.general)) == 25
        assert set(here.discord.statuses(CREATE_MESSAGE)) == {200}


async def test_buttons_that_are_refused_become_words(autojump_clock: MockClock) -> None:
    async with place() as here:
        body = '{"code": 50035, "message": "Invalid Form Body", "errors": {"components": {"0": {"_errors": [{"code": "X"}]}}}}'
        here.discord.garble_next(CREATE_MESSAGE, body.encode(), status=400)
        await here.send(choices=((Choice("Yes", "y"),),), instead="write /approve 1")
        assert here.discord.texts(here.general) == ["hello\n\nwrite /approve 1"]


async def test_an_edit_takes_the_buttons_away_and_can_be_repeated(autojump_clock: MockClock) -> None:
    async with place() as here:
        sent = await here.send(choices=((Choice("Yes", "y"), Choice("No", "n")),))
        message = str(sent).partition(":")[2]
        assert [it["label"] for it in here.discord.buttons(message)] == ["Yes", "No"]
        for _ in range(2):
            await here.rig.channel.send(EditText(here.peer, RichText("done"), of=1, message_id=sent), key="k2")
        assert (here.discord.texts(here.general), here.discord.buttons(message)) == (["done"], [])
        here.discord.delete(message)
        with pytest.raises(SendRejected, match="10008"):
            await here.rig.channel.send(EditText(here.peer, RichText("done"), of=1, message_id=sent), key="k3")


async def test_growth_waits_for_nobody(autojump_clock: MockClock) -> None:
    async with place() as here:
        sent = str(await here.send("a", grows=True))
        for number in range(20):
            await here.rig.channel.grow(here.peer, sent, RichText("a" * (number + 2)), key="k1")
        edits = len(here.discord.calls(EDIT_MESSAGE))
        assert 1 <= edits < 20
        await here.rig.channel.send(EditText(here.peer, RichText("the end"), of=1, message_id=sent), key="k2")
        assert here.discord.texts(here.general) == ["the end"]
        assert set(here.discord.statuses(EDIT_MESSAGE)) == {200}


async def test_commands_are_registered_when_they_have_changed(autojump_clock: MockClock) -> None:
    kept: dict[str, str] = {}
    with trio.fail_after(3600):
        async with FakeDiscord.serve(now=now) as discord:
            await trio.sleep(5)
            for _ in range(2):
                async with rig_for(discord, kept=kept, commands=True) as rig, rig.listening():
                    await trio.sleep(1)
            assert [it["name"] for it in discord.commands()] == ["help", "new", "stop", "status", "whoami"]
            assert len(discord.calls(COMMANDS)) == 1


async def test_a_command_is_deferred_and_its_answer_fills_that(autojump_clock: MockClock) -> None:
    async with place(commands=True) as here:
        await here.discord.wait_call(COMMANDS)
        asked = here.discord.command(here.ada, here.general, "new", {"text": "a *thing*"})
        assert await here.discord.wait_answer(asked) == 5
        [envelope] = here.rig.journal.envelopes
        assert (envelope.kind, envelope.addressed, envelope.sender.id) == ("command", True, here.ada)
        assert envelope.text == "/new a *thing*"
        sent = await here.send("done", answer_with=envelope.answer_with)
        assert here.discord.texts(here.general) == ["done"]
        assert sent == f"{here.general}:{here.discord.messages(here.general)[-1]['id']}"
        await trio.sleep(16 * 60)
        with pytest.raises(AnswerExpired):
            await here.send("more", answer_with=envelope.answer_with)
        assert envelope.answer_with is not None
        assert envelope.answer_with not in repr(envelope)


async def test_typing_is_shown_at_most_every_eight_seconds(autojump_clock: MockClock) -> None:
    async with place() as here:
        for _ in range(20):
            await here.rig.channel.signal(Typing(here.peer))
            await trio.sleep(1)
        assert len(here.discord.typing) == 3


async def test_a_send_that_was_cut_is_found_by_its_words(autojump_clock: MockClock) -> None:
    async with place() as here:
        payload, since = SendText(here.peer, RichText("once and **only**")), here.rig.services.now()
        here.discord.cut_next(CREATE_MESSAGE, after_effect=True)
        with pytest.raises(OutcomeUnknown):
            await here.rig.channel.send(payload, key="a")
        await trio.sleep(3)
        for number in range(150):
            here.discord.say(here.ada, here.general, f"text {number}")
        found = await here.rig.channel.find_sent(payload, key="a", since=since)
        assert found is not None
        assert here.discord.message(str(found.message_id).partition(":")[2])["content"] == "once and \\*\\*only\\*\\*"
        other = SendText(here.peer, RichText("never sent"))
        assert await here.rig.channel.find_sent(other, key="b", since=since) is None
        assert await here.rig.channel.find_sent(payload, key="c", since=since) is None, "it is the one of another key"


async def test_two_with_the_same_words_cannot_be_told_apart(autojump_clock: MockClock) -> None:
    async with place() as here:
        payload, since = SendText(here.peer, RichText("ok")), here.rig.services.now()
        for key in ("a", "b"):
            here.discord.cut_next(CREATE_MESSAGE, after_effect=True)
            with pytest.raises(OutcomeUnknown):
                await here.rig.channel.send(payload, key=key)
        await trio.sleep(3)
        with pytest.raises(OutcomeUnknown):
            await here.rig.channel.find_sent(payload, key="a", since=since)


async def test_where_discord_shows_no_history_it_is_not_known_whether_a_send_arrived(autojump_clock: MockClock) -> None:
    """Without Read Message History it shows an empty one, and says nothing of it ("Get Channel Messages")."""
    async with place() as here:
        payload, since = SendText(here.peer, RichText("hello")), here.rig.services.now()
        await trio.sleep(3)
        assert await here.rig.channel.find_sent(payload, key="a", since=since) is None, "nothing was ever said there"
        here.discord.set_permissions(here.general, deny=["read_message_history"])
        here.discord.cut_next(CREATE_MESSAGE, after_effect=True)
        with pytest.raises(OutcomeUnknown):
            await here.rig.channel.send(payload, key="a")
        await trio.sleep(3)
        with pytest.raises(OutcomeUnknown, match="Read Message History"):
            await here.rig.channel.find_sent(payload, key="a", since=since)
