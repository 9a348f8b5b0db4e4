"""What was said while nobody listened is read back: each message once, in order, within bounds."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gatewayd.channels.slack.receiving.backfill import OVERLAP_SECONDS
from gatewayd.model.errors import NeedsOperator, StoreRefused, TryAgain
from gatewayd.model.message.envelope import Peer
from tests.channels.slack.receiving.life import Life, World, on_a_clock, pass_time, world
from tests.examples import examples
from tests.fakes.slack_platform.methods.scopes import ALL_SCOPES

MENTION = "<@U0GATEBOT0>"


clocked = pytest.mark.trio(run=on_a_clock)


@pytest.fixture
async def here() -> AsyncIterator[World]:
    async with world() as found:
        yield found


async def begin(here: World) -> None:
    """A first life, in which nothing is said."""
    async with here.life() as life:
        await life.fetch()
    await pass_time(5)


@clocked
async def test_an_account_begins_with_what_is_said_from_now_on(here: World) -> None:
    ann = here.slack.add_user("ann")
    here.slack.say(ann, here.slack.add_channel("general", [ann]), f"{MENTION} before")
    await pass_time(5)
    async with here.life() as life:
        await life.fetch()
        assert life.new == []
        assert life.lacking == {}
    assert here.slack.calls("conversations.history") == []
    assert any(key.startswith("seen.") for key in here.kept)


@clocked
async def test_what_slack_with_a_late_clock_dates_before_the_first_life_is_read_back(here: World) -> None:
    ann = here.slack.add_user("ann")
    here.slack.say(ann, here.slack.dm(ann), "hello")
    here.miss()
    await pass_time(1.5)
    async with here.life():
        pass
    async with here.life() as life:
        await life.fetch()
        assert [envelope.text for envelope in life.new] == ["hello"]


@clocked
async def test_everything_that_was_missed_is_delivered_once_and_as_missed(here: World) -> None:
    slack = here.slack
    ann, ben = slack.add_user("ann"), slack.add_user("ben")
    general, private = slack.add_channel("general", [ann, ben]), slack.add_channel("secret", [ann], private=True)
    both = slack.group_dm(ann, ben)
    await begin(here)
    slack.say(ann, general, "nobody is meant")
    slack.say(ann, general, f"{MENTION} in public")
    slack.say(ann, private, f"{MENTION} in private")
    slack.say(ann, both, f"{MENTION} in a group")
    slack.say(ben, slack.dm(ben), "in a direct message")
    slack.say(slack.add_bot("other"), general, f"{MENTION} I am a bot")
    slack.join(general, ben)
    here.miss()
    await pass_time(60)
    async with here.life() as life:
        await life.fetch()
        found = {envelope.text: envelope for envelope in life.new}
        assert life.lacking == {}
        assert all(envelope.missed for envelope in life.new)
        await life.fetch()
        assert len(life.new) == len(found)
    assert set(found) == {"nobody is meant", "in public", "in private", "in a group", "in a direct message"}
    assert found["in public"].peer == Peer("group", general, (found["in public"].message_id or "").partition(":")[2])
    assert found["in a direct message"].peer == Peer("dm", ben)
    assert [text for text, envelope in found.items() if not envelope.addressed] == ["nobody is meant"]
    async with here.life() as life:
        await life.fetch()
        assert life.new == []


@clocked
async def test_replies_are_read_in_threads_that_we_are_in_and_where_new_ones_are(here: World) -> None:
    slack = here.slack
    ann = slack.add_user("ann")
    general = slack.add_channel("general", [ann])
    async with here.life() as life:
        await life.fetch()
        ours = slack.say(ann, general, f"{MENTION} hi")
        theirs = slack.say(ann, general, "among us")
        old = slack.say(ann, general, f"{MENTION} long ago")
        for number in range(150):
            slack.say(ann, general, f"talk {number}")
        await pass_time(2 * OVERLAP_SECONDS)
        slack.say(ann, general, "the last before the gap")
        await life.hear()
    await pass_time(60)
    slack.say(ann, general, "and so?", thread=ours)
    slack.say(ann, general, f"{MENTION} you?", thread=old)
    slack.say(ann, general, "no", thread=theirs)
    begun = slack.say(ann, general, f"{MENTION} new")
    slack.say(ann, general, "below new", thread=begun)
    asked = slack.say(ann, general, "a question")
    slack.say(ann, general, f"{MENTION} do you know?", thread=asked)
    slack.say(ann, general, "to all", thread=ours, broadcast=True)
    here.miss()
    await pass_time(60)
    async with here.life() as life:
        await life.fetch()
        found = {envelope.text: envelope for envelope in life.new}
    assert set(found) == {"and so?", "you?", "new", "below new", "a question", "do you know?", "to all"}
    assert {text: envelope.peer.thread for text, envelope in found.items()} == {
        "and so?": ours,
        "you?": old,
        "new": begun,
        "below new": begun,
        "a question": None,
        "do you know?": asked,
        "to all": ours,
    }
    assert [text for text, envelope in found.items() if not envelope.addressed] == ["a question"]


@clocked
async def test_what_comes_over_the_connection_meanwhile_is_the_same(here: World) -> None:
    slack = here.slack
    ann = slack.add_user("ann")
    places = [slack.add_channel(f"c{number}", [ann]) for number in range(3)]
    await begin(here)
    for place in places:
        slack.say(ann, place, f"{MENTION} missed in {place}")
    here.miss()
    await pass_time(60)
    async with here.life() as life:
        async with trio.open_nursery() as nursery:
            release = slack.hold("conversations.history", when=lambda params: params["channel"] == places[1])
            nursery.start_soon(life.fetch)
            await slack.wait_call("conversations.history", when=lambda params: params["channel"] == places[1])
            for place in places:
                slack.say(ann, place, f"{MENTION} now in {place}")
            await life.hear()
            release.set()
        found = life.new
    assert sorted(it.text for it in found) == sorted(f"{when} in {place}" for place in places for when in ("missed", "now"))
    assert not any(envelope.missed for envelope in found if envelope.text.startswith("now"))


@clocked
async def test_a_reply_that_comes_before_the_missed_mention_is_read_is_for_us(here: World) -> None:
    slack = here.slack
    ann = slack.add_user("ann")
    general, other = slack.add_channel("general", [ann]), slack.add_channel("other", [ann])
    await begin(here)
    asked = slack.say(ann, general, f"{MENTION} a mention")
    plain = slack.say(ann, other, "no mention")
    here.miss()
    await pass_time(60)
    async with here.life() as life:
        slack.say(ann, general, "and this", thread=asked)
        slack.say(ann, other, "nor this", thread=plain)
        await life.hear()
        assert life.new == []
        await life.fetch()
        slack.say(ann, general, "and that", thread=asked)
        await life.hear()
        found = {envelope.text: envelope.addressed for envelope in life.new}
    assert found == {"a mention": True, "and this": True, "and that": True, "no mention": False, "nor this": False}


@clocked
async def test_a_reply_to_what_nobody_reads_back_is_told_at_once(here: World) -> None:
    slack = here.slack
    ann = slack.add_user("ann")
    general = slack.add_channel("general", [ann])
    await begin(here)
    asked = slack.say(ann, general, f"{MENTION} a mention")
    here.miss()
    await pass_time(300)
    slack.say(ann, general, "and this", thread=asked)
    taken = here.taken
    for minutes, texts in ((0, ["and this"]), (4, ["and this"]), (6, [])):
        here.taken = taken
        async with here.life(backfill_minutes=minutes) as life:
            await life.hear()
            assert [envelope.text for envelope in life.journal.envelopes] == texts


@pytest.mark.parametrize("kept", [{"thread_ts", "reply_count"}, set()])
@clocked
async def test_replies_are_read_where_a_history_does_not_say_when_they_came(here: World, kept: set[str]) -> None:
    """Of a thread that we are in, and if it is said that there is one, of the threads of others, too."""
    slack = here.slack
    ann = slack.add_user("ann")
    general = slack.add_channel("general", [ann])
    async with here.life() as life:
        await life.fetch()
        ours, theirs = slack.say(ann, general, f"{MENTION} hi"), slack.say(ann, general, "among us")
        await life.hear()
    slack.say(ann, general, "and so?", thread=ours)
    slack.say(ann, general, f"{MENTION} you?", thread=theirs)
    for root in (ours, theirs):
        message = slack.workspace.channel(general).messages[root]
        for name in {"thread_ts", "reply_count", "latest_reply", "reply_users", "reply_users_count"} - kept:
            del message[name]
    here.miss()
    async with here.life() as life:
        await life.fetch()
        assert {envelope.text for envelope in life.new} == {"and so?", *(["you?"] if kept else [])}


@clocked
async def test_threads_without_new_replies_cost_no_calls(here: World) -> None:
    slack = here.slack
    ann = slack.add_user("ann")
    general = slack.add_channel("general", [ann])
    async with here.life() as life:
        await life.fetch()
        roots = [slack.say(ann, general, f"{MENTION} {number}") for number in range(20)]
        for root in roots:
            slack.say(ann, general, "reply", thread=root)
        await life.hear()
    await pass_time(2 * OVERLAP_SECONDS)
    async with here.life() as life:
        await life.fetch()
        await pass_time(2 * OVERLAP_SECONDS)
        slack.say(ann, general, "now")
        await life.hear()
    slack.clear_calls()
    slack.say(ann, general, "again", thread=roots[5])
    here.miss()
    async with here.life() as life:
        await life.fetch()
        assert [envelope.text for envelope in life.new] == ["again"]
    assert [params["ts"] for params in slack.calls("conversations.replies")] == [roots[5]]


@pytest.mark.slow
@clocked
async def test_of_too_much_the_last_is_read_and_the_rest_is_told(here: World) -> None:
    slack = here.slack
    ann = slack.add_user("ann")
    general = slack.add_channel("general", [ann])
    await begin(here)
    for number in range(1_100):
        slack.say(ann, general, str(number))
    here.miss()
    async with here.life() as life:
        await life.fetch()
        assert [envelope.text for envelope in life.new] == [str(number) for number in range(100, 1_100)]
        told = life.lacking["history of public channels"]
    assert told == f"#general ({general}): too much was said: only the last 1000 messages were read"


@clocked
async def test_a_life_that_is_cut_while_it_reads_is_followed_by_one_that_goes_on(here: World) -> None:
    slack = here.slack
    ann = slack.add_user("ann")
    places = [slack.add_channel(f"c{number}", [ann]) for number in range(3)]
    await begin(here)
    for place in places:
        slack.say(ann, place, f"{MENTION} a in {place}")
    here.miss()
    await pass_time(60)
    async with here.life() as life:
        slack.fault(
            "drop_before", "conversations.history", times=None, when=lambda params: len(slack.calls("conversations.history")) > 1
        )
        with pytest.raises(TryAgain):
            await life.fetch()
        first = [envelope.text for envelope in life.new]
        assert len(first) == 1
        assert "history" in life.lacking
        slack.say(ann, places[0], f"{MENTION} meanwhile")
        await life.hear()
    slack.clear_faults()
    slack.say(ann, places[0], f"{MENTION} down again")
    here.miss()
    async with here.life() as life:
        await life.fetch()
        assert life.lacking == {}
        second = [envelope.text for envelope in life.new]
    assert sorted(here.texts) == sorted([*(f"a in {place}" for place in places), "meanwhile", "down again"])
    assert not set(first) & set(second)


@clocked
async def test_a_store_that_fails_loses_nothing(here: World) -> None:
    slack = here.slack
    ann = slack.add_user("ann")
    general = slack.add_channel("general", [ann])
    await begin(here)
    slack.say(ann, general, f"{MENTION} hi")
    here.miss()
    await pass_time(60)
    async with here.life() as life:
        life.journal.error = StoreRefused("full")
        with pytest.raises(StoreRefused):
            await life.fetch()
    async with here.life() as life:
        await life.fetch()
        assert [envelope.text for envelope in life.new] == ["hi"]


@clocked
async def test_a_gap_while_another_one_is_read_is_read_too(here: World) -> None:
    slack = here.slack
    ann = slack.add_user("ann")
    first, second = slack.add_channel("first", [ann]), slack.add_channel("second", [ann])
    await begin(here)
    slack.say(ann, first, f"{MENTION} one")
    here.miss()
    await pass_time(60)
    async with here.life() as life:
        async with trio.open_nursery() as nursery:
            slack.rate_limit("conversations.history", int(3 * OVERLAP_SECONDS), times=1, when=lambda it: it["channel"] == second)
            nursery.start_soon(life.fetch)
            await slack.wait_call("conversations.history", when=lambda it: it["channel"] == second)
            life.receiver.note_gap()
            slack.say(ann, first, f"{MENTION} in the second gap")
            here.miss()
            await trio.sleep(2 * OVERLAP_SECONDS)
            slack.say(ann, first, f"{MENTION} live")
            await life.hear()
        await life.fetch()
        assert sorted(envelope.text for envelope in life.new) == ["in the second gap", "live", "one"]


@clocked
async def test_what_is_too_old_is_not_answered_any_more(here: World) -> None:
    slack = here.slack
    ann = slack.add_user("ann")
    general = slack.add_channel("general", [ann])
    await begin(here)
    slack.say(ann, general, f"{MENTION} old")
    await pass_time(3600)
    slack.say(ann, general, f"{MENTION} young")
    here.miss()
    await pass_time(5)
    async with here.life(backfill_minutes=30) as life:
        await life.fetch()
        assert [envelope.text for envelope in life.new] == ["young"]
    await pass_time(5)
    slack.say(ann, general, f"{MENTION} not wanted")
    async with here.life(backfill_minutes=0) as life:
        await life.fetch()
        assert life.new == []


@clocked
async def test_calls_are_bounded_and_what_is_left_is_told(here: World) -> None:
    slack = here.slack
    ann = slack.add_user("ann")
    places = [slack.add_channel(f"c{number}", [ann]) for number in range(5)]
    async with here.life() as life:
        await life.fetch()
        slack.say(ann, places[3], "lately")
        await life.hear()
    await pass_time(60)
    for place in places:
        slack.say(ann, place, f"{MENTION} {place}")
    here.miss()
    slack.clear_calls()
    async with here.life(backfill_calls=6) as life:
        await life.fetch()
        assert slack.calls("conversations.history")[0]["channel"] == places[3]
        assert len([call for call in slack.log if "conversations" in call.method]) == 6
        assert len(life.new) == 2
        assert life.lacking["history"].startswith("only 2 of 5 channels were read")
        assert "backfill_calls" in life.lacking["history"]
    await pass_time(5)
    async with here.life() as life:
        await life.fetch()
        assert life.lacking == {}


@clocked
async def test_progress_is_in_status(here: World) -> None:
    slack = here.slack
    ann = slack.add_user("ann")
    for number in range(3):
        slack.say(ann, slack.add_channel(f"c{number}", [ann]), "hi")
    await begin(here)
    async with here.life() as life:
        told: list[str] = []

        def look(params: Any) -> bool:
            told.append(life.lacking["history"])
            return False

        slack.fault("hang", "conversations.history", times=None, when=look)
        await life.fetch()
        assert [line.rpartition(": ")[2] for line in told] == [f"{number} of 3 channels" for number in range(3)]
        assert told[0].startswith("reading what was said since 20")
        assert life.lacking == {}


@clocked
async def test_a_wait_for_slack_is_in_status(here: World) -> None:
    slack = here.slack
    slack.add_channel("general", [slack.add_user("ann")])
    await begin(here)
    slack.rate_limit("conversations.history", 60, times=1)
    told: list[str] = []
    async with here.life() as life:

        async def look() -> None:
            await trio.sleep(30)
            told.append(life.lacking["history"])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await life.fetch()
        assert life.lacking == {}
    [line] = told
    assert line.endswith(": 0 of 1 channels; Slack conversations.history: too many calls, says Slack")


@clocked
async def test_limits_of_slack_are_waited_for(here: World) -> None:
    """An app outside of the marketplace: 15 messages a page, and one page a minute."""
    slack = here.slack
    ann = slack.add_user("ann")
    general = slack.add_channel("general", [ann])
    await begin(here)
    for number in range(40):
        slack.say(ann, general, f"{MENTION} {number}")
    here.miss()
    slack.small_pages()
    slack.rate_limit("conversations.history", 60, times=3)
    async with here.life() as life:
        await life.fetch()
        assert [envelope.text for envelope in life.new] == [str(number) for number in range(40)]
        assert life.lacking == {}


@clocked
async def test_a_limit_that_lasts_too_long_ends_the_reading(here: World) -> None:
    slack = here.slack
    slack.add_channel("general", [slack.add_user("ann")])
    await begin(here)
    slack.rate_limit("conversations.history", 3600)
    async with here.life(backfill_minutes=10) as life:
        await life.fetch()
        assert "backfill_minutes" in life.lacking["history"]


@clocked
@pytest.mark.parametrize(
    ("scope", "words"),
    [("groups:history", "private channels"), ("groups:read", "private channels"), ("im:history", "direct messages")],
)
async def test_what_the_token_may_not_read_is_told(here: World, scope: str, words: str) -> None:
    slack = here.slack
    ann = slack.add_user("ann")
    slack.say(ann, slack.add_channel("secret", [ann], private=True), f"{MENTION} a")
    slack.dm(ann)
    public = slack.add_channel("general", [ann])
    await pass_time(5)
    await begin(here)
    slack.say(ann, public, f"{MENTION} b")
    here.miss()
    slack.remove_scope(scope)
    async with here.life() as life:
        await life.fetch()
        assert list(life.lacking) == [f"history of {words}"]
        assert scope in life.lacking[f"history of {words}"]
        assert [envelope.text for envelope in life.new] == ["b"]
        slack.set_scopes(sorted(ALL_SCOPES))
        life.receiver.note_gap()
        await life.fetch()
        assert life.lacking == {}


@clocked
async def test_channels_that_are_not_listed_are_read_when_they_are_known(here: World) -> None:
    slack = here.slack
    ann = slack.add_user("ann")
    known, unknown, direct = slack.add_channel("known", [ann]), slack.add_channel("unknown", [ann]), slack.dm(ann)
    async with here.life() as life:
        await life.fetch()
        for place in (known, direct):
            slack.say(ann, place, "before")
        await life.hear()
    await pass_time(60)
    for place in (known, unknown, direct):
        slack.say(ann, place, f"{MENTION} in {place}")
    here.miss()
    slack.remove_scope("channels:read")
    slack.remove_scope("im:read")
    async with here.life() as life:
        await life.fetch()
        assert {envelope.text for envelope in life.new} == {f"in {known}", f"in {direct}"}
        assert list(life.lacking) == ["history of public channels", "history of direct messages"]
        assert "channels:read" in life.lacking["history of public channels"]


@clocked
async def test_a_channel_that_cannot_be_read_is_named(here: World) -> None:
    slack = here.slack
    ann = slack.add_user("ann")
    places = [slack.add_channel(f"c{number}", [ann]) for number in range(12)]
    await begin(here)
    slack.say(ann, places[5], f"{MENTION} hi")
    here.miss()
    slack.refuse("conversations.history", "channel_is_limited_access", times=None, when=lambda it: it["channel"] != places[5])
    async with here.life() as life:
        await life.fetch()
        told = life.lacking["history of public channels"]
        assert f"#c0 ({places[0]})" in told
        assert "and 1 more" in told
        assert "channel_is_limited_access" in told
        assert [envelope.text for envelope in life.new] == ["hi"]


@clocked
async def test_a_void_token_needs_the_operator(here: World) -> None:
    await begin(here)
    here.slack.set_token_state("token_revoked")
    async with here.life() as life:
        with pytest.raises(NeedsOperator):
            await life.fetch()


@clocked
async def test_what_was_edited_meanwhile_is_told(here: World) -> None:
    slack = here.slack
    ann = slack.add_user("ann")
    general = slack.add_channel("general", [ann])
    async with here.life() as life:
        await life.fetch()
        before = slack.say(ann, general, f"{MENTION} frist")
        slack.say(ann, general, f"{MENTION} as it is")
        await life.hear()
    await pass_time(60)
    at = slack.edit(general, before, f"{MENTION} first")
    missed = slack.say(ann, general, f"{MENTION} secnod")
    slack.edit(general, missed, f"{MENTION} second")
    slack.touch(general, before, "unfurl")
    here.miss()
    async with here.life() as life:
        await life.fetch()
        found = [(envelope.kind, envelope.text, envelope.event_key) for envelope in life.new]
    team = slack.team
    assert found == [
        ("edit", "first", f"{team}:{general}:{before}:{at}"),
        ("message", "second", f"{team}:{general}:{missed}"),
    ]


step = st.one_of(
    st.tuples(st.just("say"), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("reply"), st.integers(0, 20), st.booleans()),
    st.tuples(st.sampled_from(["cut", "restart", "break"]), st.integers(1, 2_000), st.booleans()),
)


@settings(max_examples=examples(30))
@example([("say", 0, True), ("break", 900, False), ("say", 0, True)])
@given(st.lists(step, max_size=25))
def test_whatever_is_said_and_cut_each_message_is_journaled_once(steps: list[tuple[str, int, bool]]) -> None:
    """``cut``: nobody listens for a while. ``break``: the same, and the reading ends in the middle of it."""

    async def go() -> None:
        async with world() as here:
            slack = here.slack
            ann = slack.add_user("ann")
            places = [
                slack.add_channel("a", [ann]),
                slack.add_channel("b", [ann], private=True),
                slack.dm(ann),
                slack.group_dm(ann, slack.add_user("ben")),
            ]
            said: list[tuple[str, str, str]] = []
            await begin(here)
            left = list(steps)
            while left:
                async with here.life(backfill_minutes=10_080) as life:
                    await life.fetch()
                    while left:
                        kind, number, mentions = left.pop(0)
                        if kind in ("say", "reply"):
                            _say(here, places, ann, said, kind, number, mentions)
                            await life.hear()
                        elif kind == "restart":
                            await pass_time(number)
                            break
                        else:
                            await _away(here, life, places, ann, said, number, breaks=kind == "break")
            async with here.life(backfill_minutes=10_080) as life:
                await life.fetch()
            assert sorted(here.texts) == sorted(text for *_, text in said)
            mine = {envelope.text: envelope for envelope in here.journaled.values()}
            for place, root, text in said:
                envelope = mine[text]
                assert envelope.message_id is not None
                assert envelope.message_id.startswith(place)
                assert root in (None, "", envelope.peer.thread)

    on_a_clock(go)


def _say(here: World, places: list[str], ann: str, said: list[Any], kind: str, number: int, mentions: bool) -> None:
    text = f"text {len(said)}"
    words = f"{MENTION} {text}" if mentions else text
    roots = [
        (place, ts)
        for place in places
        for ts, it in here.slack.workspace.channel(place).messages.items()
        if "thread_ts" not in it or it["thread_ts"] == ts
    ]
    if kind == "reply" and roots:
        place, root = roots[number % len(roots)]
        here.slack.say(ann, place, words, thread=root)
    else:
        place, root = places[number % len(places)], ""
        here.slack.say(ann, place, words)
    said.append((place, root, text))


async def _away(here: World, life: Life, places: list[str], ann: str, said: list[Any], seconds: int, *, breaks: bool) -> None:
    """Nobody listens for a while, at the beginning of which somebody writes."""
    await pass_time(1)
    for number in range(3):
        _say(here, places, ann, said, "reply" if number else "say", seconds + number, mentions=bool(number % 2))
    here.miss()
    await pass_time(seconds)
    life.receiver.note_gap()
    for number in range(2):
        _say(here, places, ann, said, "reply", len(said) - number, mentions=False)
    await life.hear()
    if breaks:
        here.slack.fault("drop_before", "conversations.history", times=None, when=lambda it: it["channel"] == places[1])
        with pytest.raises(TryAgain):
            await life.fetch()
        here.slack.clear_faults()
    else:
        await life.fetch()
