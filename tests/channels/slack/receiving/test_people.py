"""Names of people: asked for in the background, kept for a while, and never waited for."""

import json
from collections.abc import AsyncIterator

import pytest
import trio

from gatewayd.channels.slack.receiving.inbound import MEET_SECONDS
from gatewayd.channels.slack.receiving.people import AFTER_FAILURE_SECONDS, AGAIN_SECONDS, MOST_AT_ONCE, MOST_WANTED
from gatewayd.channels.slack.wire.events import Profile
from gatewayd.model.errors import NeedsOperator
from tests.channels.slack.receiving.life import World, on_a_clock, pass_time, world

clocked = pytest.mark.trio(run=on_a_clock)


@pytest.fixture
async def here() -> AsyncIterator[World]:
    async with world() as found:
        yield found


@clocked
async def test_a_name_is_known_from_the_second_time_on(here: World) -> None:
    ann = here.slack.add_user("ann")
    async with here.life() as life, trio.open_nursery() as nursery:
        nursery.start_soon(life.people.run)
        assert life.people.name_of(ann) is None
        assert life.people.name_of(ann) is None
        await here.slack.wait_call("users.info")
        await trio.sleep(2)
        assert life.people.name_of(ann) == "ann"
        await trio.sleep(2)
        assert len(here.slack.calls("users.info")) == 1
        nursery.cancel_scope.cancel()


@clocked
async def test_a_name_is_asked_for_again_after_some_hours(here: World) -> None:
    ann = here.slack.add_user("ann")
    async with here.life() as life, trio.open_nursery() as nursery:
        nursery.start_soon(life.people.run)
        life.people.note(ann, Profile("Ann", "Ann A"))
        assert life.people.name_of(ann) == "Ann"
        assert here.slack.calls("users.info") == []
        await pass_time(AGAIN_SECONDS + 1)
        assert life.people.name_of(ann) == "Ann"
        await trio.sleep(2)
        assert life.people.name_of(ann) == "ann"
        nursery.cancel_scope.cancel()


@clocked
async def test_without_the_scope_nobody_is_asked_for_twice(here: World) -> None:
    here.slack.remove_scope("users:read")
    ann = here.slack.add_user("ann")
    async with here.life() as life, trio.open_nursery() as nursery:
        nursery.start_soon(life.people.run)
        for _ in range(3):
            assert life.people.name_of(ann) is None
            await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert len(here.slack.calls("users.info")) == 1


@clocked
async def test_a_limit_is_waited_for(here: World) -> None:
    ann, ben = here.slack.add_user("ann"), here.slack.add_user("ben")
    here.slack.rate_limit("users.info", 30, times=1)
    async with here.life() as life, trio.open_nursery() as nursery:
        nursery.start_soon(life.people.run)
        life.people.name_of(ann)
        life.people.name_of(ben)
        await trio.sleep(20)
        assert len(here.slack.calls("users.info")) == 1
        await trio.sleep(20)
        assert life.people.name_of(ben) == "ben"
        assert life.people.name_of(ann) is None
        await trio.sleep(5)
        assert life.people.name_of(ann) == "ann"
        nursery.cancel_scope.cancel()


@pytest.mark.slow
@clocked
async def test_many_strangers_at_once_are_bounded(here: World) -> None:
    async with here.life() as life:
        for number in range(2 * MOST_WANTED):
            life.people.name_of(f"U{number}")
        assert life.people.name_of("") is None
        with trio.move_on_after(3600):
            await life.people.run()
    assert len(here.slack.calls("users.info")) == MOST_WANTED


@clocked
async def test_a_void_token_needs_the_operator(here: World) -> None:
    here.slack.set_token_state("account_inactive")
    async with here.life() as life:
        life.people.name_of("U0ANN")
        with pytest.raises(NeedsOperator):
            await life.people.run()


@clocked
async def test_names_are_waited_for_as_long_as_it_is_said(here: World) -> None:
    ann, ben = here.slack.add_user("ann"), here.slack.add_user("ben")
    here.slack.delay("users.info", 2, when=lambda params: params["user"] == ben)
    async with here.life() as life:
        began_at = trio.current_time()
        await life.people.learn([ann, ann, ben], within_seconds=1.5)
        assert trio.current_time() - began_at == pytest.approx(1.5, abs=0.2)
        assert life.people.name_of(ann) == "ann"
        assert life.people.name_of(ben) is None


@clocked
async def test_who_is_in_a_message_is_met_before_it_is_read(here: World) -> None:
    slack = here.slack
    ann, ben = slack.add_user("ann"), slack.add_user("ben")
    slack.say(ann, slack.dm(ann), f"ask <@{ben}>, and <@{slack.bot_user}>")
    async with here.life() as life:
        payload = json.dumps(slack.deliveries.all[0].payload).encode()
        await life.receiver.meet([payload])
        (envelope,) = life.receiver.event(payload).envelopes
    assert (envelope.sender.name, envelope.text) == ("ann", "ask @ben, and @gatebot")
    assert {params["user"] for params in slack.calls("users.info")} == {ann, ben}


@clocked
async def test_nobody_waits_again_right_after_it_was_in_vain(here: World) -> None:
    slack = here.slack
    ann, ben = slack.add_user("ann"), slack.add_user("ben")
    slack.fault("hang", "users.info", times=None)
    async with here.life() as life:
        for user, seconds in ((ann, MEET_SECONDS), (ben, 0.0)):
            began_at = trio.current_time()
            await life.receiver.meet([b'{"user": "%s"}' % user.encode()])
            assert trio.current_time() - began_at == pytest.approx(seconds, abs=0.2)
        assert len(slack.calls("users.info")) == 1
        slack.clear_faults()
        await pass_time(AFTER_FAILURE_SECONDS + 1)
        await life.receiver.meet([b'{"user":"%s"}' % ben.encode()])
        assert life.people.name_of(ben) == "ben"


@clocked
async def test_a_crowd_in_one_message_is_not_waited_for(here: World) -> None:
    async with here.life() as life:
        await life.receiver.meet([b"".join(b"<@U%05d>" % number for number in range(100))])
    assert len(here.slack.calls("users.info")) <= MOST_AT_ONCE
