"""What is known of guilds: channels, threads, our roles, and where something was missed; in little memory."""

import gc
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.channels.discord.receiving.guilds import MOST_THREADS, Guilds
from gatewayd.channels.discord.wire.answers import Channel
from tests.channels.discord.receiving.reading import (
    BOB,
    GUILD,
    NOW,
    PLACE,
    ROLE,
    THREAD,
    US,
    channel_of,
    guild_of,
    id_at,
    raw,
    user_of,
)

KIB = 1024


def told(*events: tuple[str, Any]) -> Guilds:
    guilds = Guilds()
    for name, data in events:
        assert guilds.learn(name, raw(data), US)
    return guilds


def test_a_guild_tells_of_its_channels_its_threads_and_our_roles() -> None:
    guilds = told(("GUILD_CREATE", guild_of()))
    assert guilds.is_known(GUILD, PLACE)
    assert guilds.parent_of(PLACE) is None
    assert guilds.is_known(GUILD, THREAD)
    assert guilds.parent_of(THREAD) == PLACE
    assert guilds.own_roles(GUILD) == {ROLE}
    assert not guilds.is_known(GUILD, "1")
    assert not guilds.is_known("1", PLACE)


def test_what_changes_later_is_told_of() -> None:
    guilds = told(("GUILD_CREATE", guild_of()), ("CHANNEL_CREATE", channel_of("71", guild_id=GUILD)))
    thread = channel_of("72", 12, parent_id="71", guild_id=GUILD)
    assert guilds.is_known(GUILD, "71")
    guilds.learn("THREAD_LIST_SYNC", raw({"guild_id": GUILD, "threads": [thread]}), US)
    assert guilds.parent_of("72") == "71"
    guilds.learn("GUILD_MEMBER_UPDATE", raw({"guild_id": GUILD, "user": user_of(BOB), "roles": ["1"]}), US)
    assert guilds.own_roles(GUILD) == {ROLE}
    guilds.learn("GUILD_MEMBER_UPDATE", raw({"guild_id": GUILD, "user": user_of(US), "roles": ["1"]}), US)
    assert guilds.own_roles(GUILD) == {"1"}
    guilds.learn("THREAD_DELETE", raw(thread), US)
    assert not guilds.is_known(GUILD, "72")
    guilds.learn("GUILD_DELETE", raw({"id": GUILD}), US)
    assert not guilds.is_known(GUILD, PLACE)
    assert not guilds.knows_roles(GUILD)


def test_a_session_is_complete_when_each_guild_was_told_of_or_is_away() -> None:
    ready = {"user": user_of(US), "guilds": [{"id": GUILD, "unavailable": True}, {"id": "2", "unavailable": True}]}
    guilds = told(("GUILD_CREATE", guild_of()), ("READY", ready))
    assert not guilds.is_complete
    assert not guilds.is_known(GUILD, PLACE)
    guilds.learn("GUILD_CREATE", raw(guild_of()), US)
    assert not guilds.is_complete
    assert guilds.late == 1
    guilds.learn("GUILD_CREATE", raw({"id": "2", "unavailable": True}), US)
    assert [guilds.is_complete] == [True]
    assert guilds.late == 1
    guilds.learn("GUILD_CREATE", raw(guild_of("2")), US)
    assert guilds.late == 0
    guilds.learn("GUILD_DELETE", raw({"id": "2", "unavailable": True}), US)
    assert (guilds.late, guilds.is_known("2", PLACE)) == (1, False)
    guilds.learn("GUILD_DELETE", raw({"id": "2"}), US)
    assert guilds.late == 0


LAST = int(id_at(NOW))


@pytest.mark.parametrize(
    ("channel", "is_missed"),
    [
        (channel_of("1", last_message_id=str(LAST + 1)), True),
        (channel_of("1", last_message_id=str(LAST)), False),
        (channel_of("1", last_message_id=None), False),
        (channel_of("1", 4, last_message_id=str(LAST + 1)), False),
        (channel_of("1", 15, last_message_id=str(LAST + 1)), True),
        (channel_of(str(LAST + 1), 11, parent_id="2"), True),
        (channel_of("1", 11, parent_id="2"), False),
    ],
)
def test_only_where_something_newer_was_said_something_is_missed(channel: dict[str, Any], is_missed: bool) -> None:
    guilds = Guilds()
    guilds.collect(LAST)
    where = "channels" if channel["type"] != 11 else "threads"
    guilds.learn("GUILD_CREATE", raw(guild_of() | {where: [channel]}), US)
    assert bool(guilds.missed) is is_missed
    guilds.collect(None)
    guilds.learn("GUILD_CREATE", raw(guild_of() | {where: [channel]}), US)
    assert not guilds.missed


def test_the_oldest_thread_is_forgotten_and_asked_for_again() -> None:
    guilds = Guilds()
    for number in range(MOST_THREADS + 1):
        guilds.put_channel(GUILD, Channel(str(number), 11, parent_id=PLACE))
    assert not guilds.is_known(GUILD, "0")
    assert guilds.is_known(GUILD, str(MOST_THREADS))


@given(st.sets(st.integers(0, (1 << 64) - 1), max_size=30), st.sets(st.integers(0, 1 << 66), max_size=30))
def test_exactly_the_channels_of_a_guild_are_known(inside: set[int], others: set[int]) -> None:
    guilds = told(("GUILD_CREATE", guild_of() | {"channels": [channel_of(str(it)) for it in inside], "threads": []}))
    assert {it for it in inside | others if guilds.is_known(GUILD, str(it))} == inside


def big_guild(number: int) -> dict[str, Any]:
    """As Discord sends it: what a channel has besides, is most of it."""
    first = number * 10_000 + (LAST >> 1)
    channels = [
        channel_of(
            str(first + at),
            name=f"a channel with a name {at}",
            topic="What this channel is for, in a sentence or two. " * 4,
            permission_overwrites=[{"id": str(first + role), "type": 0, "allow": "0", "deny": "1024"} for role in range(3)],
            last_message_id=str(LAST - at),
        )
        for at in range(1_000)
    ]
    return guild_of(str(first)) | {"channels": channels, "threads": []}


def test_two_hundred_guilds_of_a_thousand_channels_take_little_memory() -> None:
    """1.6 MB are the bare ids."""
    events = [raw(big_guild(number)) for number in range(4)]
    bare = Guilds()
    bare.learn("GUILD_CREATE", events[0], US)  # what is made once
    guilds = Guilds()
    guilds.collect(LAST)
    gc.collect()
    tracemalloc.start()
    try:
        for event in events:
            guilds.learn("GUILD_CREATE", event, US)
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert kept * 50 < 2_500 * KIB


def test_a_resumed_session_of_an_earlier_life_is_complete_when_it_was_replayed() -> None:
    guilds = Guilds()
    guilds.expect_replay()
    assert not guilds.is_complete
    guilds.learn("GUILD_CREATE", raw(guild_of()), US)
    assert not guilds.is_complete
    guilds.learn("RESUMED", raw(None), US)
    assert [guilds.is_complete] == [True]
    guilds.expect_replay()
    guilds.expect([])
    assert [guilds.is_complete] == [True]
