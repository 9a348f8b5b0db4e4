"""An agent that is spoken to in the middle of a thread gets what was said there before, once, from those who may talk to it."""

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from gatewayd.model.config import AccountFrame, GroupRules, SessionsSection
from gatewayd.model.errors import NotFound, SendRejected, TryAgain
from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.envelope import Peer, Sender
from gatewayd.ports.agent import TurnRequest
from tests.hub.house import OPEN, House, configuration, echo, now, open_house

THREAD = Peer("group", "C1", "1700.1")
SAID = (
    Earlier(Sender("1", "Alice"), "the build is red", 1_700_000_000.0),
    Earlier(Sender("2", "Bob"), "> the tests", 1_700_000_060.0),
    Earlier(Sender("9"), "Shall I look?", 1_700_000_120.0, ours=True),
)


async def asked(house: House, **changes: Any) -> TurnRequest:
    """The request of the turn of one message in the thread."""
    fields: dict[str, Any] = {"channel": "slick", "peer": THREAD, "sender": Sender("1", "Alice"), "received_at": now(), **changes}
    await house.ended(await house.say("please do", **fields))
    return house.agents.turns[-1].request


def house_of(tmp_path: Path, *, frame: AccountFrame = OPEN, sessions: SessionsSection | None = None) -> Any:
    return open_house(tmp_path, echo, config=configuration(channels=["slick", "chat"], frame=frame, sessions=sessions))


async def test_the_first_turn_of_a_session_has_what_was_said_before_and_later_ones_have_not(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with house_of(tmp_path) as house:
        house.accounts.thread = SAID
        first = await asked(house)
        assert first.earlier == SAID
        assert first.text == "please do"
        assert first.prompt.split("\n\n")[:3] == [
            '[earlier in this thread, from "Alice" id 1, 2023-11-14 22:13 UTC]\n> the build is red',
            '[earlier in this thread, from "Bob" id 2, 2023-11-14 22:14 UTC]\n> > the tests',
            "[earlier in this thread, from you, 2023-11-14 22:15 UTC]\n> Shall I look?",
        ]
        await trio.sleep(60)
        second = await asked(house)
        assert second.earlier == ()
        assert second.session_id == first.session_id
        assert "earlier" not in second.prompt


@pytest.mark.parametrize(
    "changes", [{"channel": "chat"}, {"peer": Peer("group", "C1")}, {"via": "bridge"}], ids=["channel", "no thread", "connector"]
)
async def test_nothing_is_asked_where_nothing_can_be_told(
    tmp_path: Path, autojump_clock: MockClock, changes: dict[str, Any]
) -> None:
    async with house_of(tmp_path) as house:
        house.accounts.thread = AssertionError("it was asked")
        assert (await asked(house, **changes)).earlier == ()


async def test_zero_is_none_and_a_bound_keeps_the_newest(tmp_path: Path, autojump_clock: MockClock) -> None:
    for size, kept in ((0, ()), (2, SAID[1:])):
        async with house_of(tmp_path / str(size), sessions=SessionsSection(thread_context=size)) as house:
            house.accounts.thread = SAID
            assert (await asked(house)).earlier == kept


async def test_people_who_may_not_talk_to_the_agent_are_not_read_to_it(tmp_path: Path, autojump_clock: MockClock) -> None:
    frame = AccountFrame(groups={"C1": GroupRules(allow_from=("1",))}, require_mention=True)
    async with house_of(tmp_path, frame=frame) as house:
        house.accounts.thread = SAID
        assert (await asked(house)).earlier == (SAID[0], SAID[2])


@pytest.mark.parametrize("error", [SendRejected("no right to read"), NotFound("gone"), TryAgain("not connected")])
async def test_a_thread_that_cannot_be_read_is_named_and_holds_nothing_up(
    tmp_path: Path, autojump_clock: MockClock, error: Exception
) -> None:
    async with house_of(tmp_path) as house:
        house.accounts.thread = error
        before = trio.current_time()
        request = await asked(house)
        assert trio.current_time() - before < 6
        assert request.earlier is None
        assert request.prompt.startswith("[earlier messages of this thread could not be read]\n\n[slick/main group C1 thread ")


async def test_an_account_that_connects_meanwhile_is_waited_for(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with house_of(tmp_path) as house, trio.open_nursery() as nursery:
        house.accounts.thread = TryAgain("the account is not connected")

        async def connect() -> None:
            await trio.sleep(2)
            house.accounts.thread = SAID

        nursery.start_soon(connect)
        assert (await asked(house)).earlier == SAID
