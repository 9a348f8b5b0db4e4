"""What is read back of a gap: in order, within bounds, and what could not be read is said."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock

from gatewayd.model.message.envelope import InboundEnvelope, Peer
from tests.channels.discord.rig import Rig, now, rig_for
from tests.fakes.discord_platform import FakeDiscord

READ = "GET /channels/{channel_id}/messages"
BEFORE = "here I am"


class Home:
    """A guild of Ada's, with a general channel and a thread."""

    def __init__(self, discord: FakeDiscord) -> None:
        self.discord = discord
        self.kept: dict[str, str] = {}
        self.ada = discord.add_user("ada")
        self.guild = discord.add_guild("Home", members=[self.ada])
        self.general = discord.add_channel(self.guild, "general")
        self.thread = discord.open_thread(self.ada, self.general, "a topic")

    def ask(self, channel: str, text: str) -> str:
        return self.discord.say(self.ada, channel, f"<@{self.discord.bot_id}> {text}")

    async def begin(self, *, direct: bool = False) -> None:
        """A first life; then nobody listens, and the session is lost."""
        await trio.sleep(60)
        async with rig_for(self.discord, kept=self.kept) as rig, rig.listening():
            await trio.sleep(120)
            self.discord.say(self.ada, self.discord.dm(self.ada) if direct else self.general, BEFORE)
            await trio.sleep(120)
        self.discord.gateway.forget_sessions()
        self.discord.clear_calls()

    @asynccontextmanager
    async def again(self, **settings: object) -> AsyncIterator[Rig]:
        """The next life, when it has read back."""
        await trio.sleep(120)
        async with rig_for(self.discord, kept=self.kept, **settings) as rig, rig.listening():
            await trio.sleep(60)
            yield rig

    def read(self) -> list[str]:
        return [call.ids["channel_id"] for call in self.discord.log if call.route == READ]


@asynccontextmanager
async def home() -> AsyncIterator[Home]:
    async with FakeDiscord.serve(now=now) as discord:
        yield Home(discord)


def missed(rig: Rig) -> list[InboundEnvelope]:
    """Without what was received before, and is read once more."""
    return [it for it in rig.journal.envelopes if it.missed and it.text != BEFORE]


async def test_what_follows_a_mention_in_a_thread_is_for_us(autojump_clock: MockClock) -> None:
    async with home() as here:
        await here.begin()
        here.discord.say(here.ada, here.thread, "nobody is meant")
        here.ask(here.thread, "do it")
        here.discord.say(here.ada, here.thread, "and quickly")
        async with here.again() as rig:
            found = [(it.text, it.addressed) for it in missed(rig) if it.peer == Peer("group", here.general, here.thread)]
            assert found == [("nobody is meant", False), ("do it", True), ("and quickly", True)]


async def test_a_new_post_of_a_forum_is_read_from_its_first_message(autojump_clock: MockClock) -> None:
    async with home() as here:
        forum = here.discord.add_forum(here.guild)
        await here.begin()
        post = here.discord.open_thread(here.ada, forum, "help", f"<@{here.discord.bot_id}> it is broken")
        async with here.again() as rig:
            assert [(it.text, it.peer) for it in missed(rig)] == [("it is broken", Peer("group", forum, post))]


async def test_a_message_that_was_overtaken_by_one_of_another_guild_is_read_back(autojump_clock: MockClock) -> None:
    async with home() as here:
        await here.begin()
        async with here.again() as rig:
            here.discord.lose_events(["MESSAGE_CREATE"])
            here.ask(here.general, "lost on its way")
            await trio.sleep(1)
            here.discord.lose_events(None)
            here.ask(here.discord.add_channel(here.discord.add_guild("Work", members=[here.ada])), "there at once")
            await trio.sleep(1)
            assert rig.journal.envelopes[-1].text == "there at once"
            assert "lost on its way" not in {it.text for it in rig.journal.envelopes}
        here.discord.gateway.forget_sessions()
        async with here.again() as rig:
            assert {it.text for it in missed(rig)} >= {"lost on its way"}


async def test_nothing_from_before_the_first_start_is_read_back(autojump_clock: MockClock) -> None:
    async with home() as here:
        here.ask(here.general, "before")
        await trio.sleep(10)
        async with rig_for(here.discord, kept=here.kept) as rig, rig.listening():
            await trio.sleep(10)
            here.ask(here.general, "after")
            await trio.sleep(10)
        here.discord.gateway.forget_sessions()
        async with here.again() as rig:
            assert [it.text for it in missed(rig)] == ["after"]


async def test_the_calls_of_one_gap_are_bounded_and_direct_messages_come_first(autojump_clock: MockClock) -> None:
    async with home() as here:
        channels = [here.discord.add_channel(here.guild, f"channel-{number}") for number in range(12)]
        await here.begin(direct=True)
        here.discord.say(here.ada, here.discord.dm(here.ada), "directly")
        for channel in channels:
            here.ask(channel, "news")
            await trio.sleep(1)
        async with here.again(backfill_calls=5) as rig:
            assert here.read() == [here.discord.dm(here.ada), *reversed(channels[-4:])]
            assert missed(rig)[0].text == "directly"
            assert len(missed(rig)) == 5
            assert "backfill_calls" in (rig.services.lacking["history"] or "")


async def test_a_channel_that_cannot_be_read_is_named(autojump_clock: MockClock) -> None:
    async with home() as here:
        other = here.discord.add_channel(here.guild, "other")
        await here.begin()
        here.ask(here.general, "is read")
        here.ask(other, "is not")
        here.discord.fail_next(READ, 403, 50001, "Missing Access")
        async with here.again() as rig:
            reason = rig.services.lacking["history of channels"] or ""
            assert reason.startswith(f"{other}: ")
            assert "View Channel" in reason
            assert [it.text for it in missed(rig)] == ["is read"]


async def test_a_history_that_looks_empty_for_want_of_a_permission_is_named(autojump_clock: MockClock) -> None:
    """ "Get Channel Messages" gives no messages then, and no error."""
    async with home() as here:
        await here.begin()
        here.discord.set_permissions(here.general, deny=["read_message_history"])
        here.ask(here.general, "missed")
        async with here.again() as rig:
            lacking = rig.services.lacking["history of channels"] or ""
            assert here.general in lacking
            assert "Read Message History" in lacking
            assert missed(rig) == []


async def test_nothing_is_read_back_where_that_is_not_wanted(autojump_clock: MockClock) -> None:
    async with home() as here:
        await here.begin()
        here.ask(here.general, "missed")
        async with here.again(backfill_minutes=0) as rig:
            assert (here.read(), rig.journal.envelopes) == ([], [])


async def test_what_is_too_old_is_not_read_back(autojump_clock: MockClock) -> None:
    async with home() as here:
        await here.begin()
        here.ask(here.general, "old")
        await trio.sleep(600)
        here.ask(here.general, "new")
        async with here.again(backfill_minutes=5) as rig:
            assert [it.text for it in missed(rig)] == ["new"]


async def test_a_guild_with_an_outage_is_read_when_it_is_over(autojump_clock: MockClock) -> None:
    async with home() as here:
        work = here.discord.add_guild("Work", members=[here.ada])
        office = here.discord.add_channel(work, "office")
        await here.begin()
        here.ask(office, "before the outage")
        here.ask(here.general, "elsewhere")
        here.discord.guild_fails(work)
        async with here.again() as rig:
            assert [it.text for it in missed(rig)] == ["elsewhere"]
            assert "1 servers have an outage" in (rig.services.lacking["history"] or "")
            await trio.sleep(600)
            here.discord.guild_returns(work)
            await trio.sleep(60)
            assert [it.text for it in missed(rig)] == ["elsewhere", "before the outage"]
            assert rig.services.lacking["history"] is None
        assert here.read().count(here.general) == 1


async def test_no_outage_is_waited_for_when_all_would_be_too_old(autojump_clock: MockClock) -> None:
    async with home() as here:
        work = here.discord.add_guild("Work", members=[here.ada])
        await here.begin()
        here.discord.guild_fails(work)
        async with here.again(backfill_minutes=5) as rig:
            assert rig.services.lacking["history"] is not None
            await trio.sleep(600)
            assert rig.services.lacking["history"] is None


async def test_a_backfill_that_is_cut_goes_on_behind_what_is_stored(autojump_clock: MockClock) -> None:
    async with home() as here:
        other = here.discord.add_channel(here.guild, "other")
        await here.begin()
        here.ask(here.general, "second")
        await trio.sleep(1)
        last = here.ask(other, "first")
        here.discord.fail_next(READ, 500, times=None, when=lambda call: call.ids["channel_id"] == here.general)
        async with here.again() as rig:
            assert [it.text for it in missed(rig)] == ["first"]
        here.discord.behave()
        here.discord.clear_calls()
        async with here.again() as rig:
            assert [it.text for it in missed(rig)] == ["second"]
            assert [
                call.query["after"] for call in here.discord.log if call.route == READ and call.ids["channel_id"] == other
            ] == [last]
