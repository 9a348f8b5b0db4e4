"""Whatever the links of a reload say, before, between and after: one person is one voter, and no vote is lost."""

import tempfile
from contextlib import suppress
from pathlib import Path

import trio
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.model.config import GatewayConfig, SessionsSection
from gatewayd.model.errors import Conflict
from tests.examples import examples
from tests.hub.approvals.approvers import asking
from tests.hub.approvals.test_desk import RM, Tool, pending
from tests.hub.house import open_house

IDENTITIES = ("tg:1", "tg:2", "operator:ann", "operator:bob")
LINKS: tuple[dict[str, tuple[str, ...]], ...] = (
    {},
    {"ann": ("tg:1", "operator:ann")},
    {"bob": ("tg:2", "operator:bob")},
    {"all": IDENTITIES},
    {"ann": ("tg:1", "tg:2")},
)
STEPS = st.lists(st.one_of(st.sampled_from(IDENTITIES), st.integers(0, len(LINKS) - 1)), max_size=10)


def linked(number: int, quorum: int) -> GatewayConfig:
    return replace(asking(quorum=quorum), sessions=SessionsSection(identity_links=dict(LINKS[number])))


def people(votes: list[str], links: int) -> set[str]:
    """By the links, in other words than the daemon's."""
    return {next((name for name, known in LINKS[links].items() if vote in known), vote) for vote in votes}


@settings(max_examples=examples(30))
@given(st.sampled_from([2, 3]), STEPS)
@example(2, ["tg:1", 1, "operator:ann"])
@example(2, [1, "tg:1", 0, "operator:ann"])
@example(3, ["tg:1", "operator:ann", 1, "tg:2", 0, "operator:bob"])
def test_no_reload_makes_a_quorum_of_one_person_or_loses_a_vote(quorum: int, steps: list[str | int]) -> None:
    trio.run(play, quorum, steps, clock=MockClock(autojump_threshold=0))


async def play(quorum: int, steps: list[str | int]) -> None:
    votes: list[str] = []
    links = 0
    with tempfile.TemporaryDirectory() as folder:
        async with open_house(Path(folder), Tool(RM), config=linked(0, quorum)) as house:
            await house.say("go")
            approval = await pending(house)
            for step in steps:
                if isinstance(step, int):
                    links = step
                    house.configured.replace(linked(links, quorum))
                    continue
                may = people([step], links).isdisjoint(people(votes, links))
                try:
                    row = await house.desk.decide(approval.id, allow=True, by=step)
                except Conflict:
                    assert not may, "whoever has not voted may"
                    event("refused")
                    continue
                assert may, "nobody votes twice"
                votes.append(step)
                assert [vote.by for vote in row.votes] == votes, "each vote has the identity that gave it"
                assert (row.state == "allowed") == (len(people(votes, links)) >= quorum)
                if row.state == "allowed":
                    event("allowed")
                    return


async def test_who_is_one_person_since_a_reload_is_one_voter(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM), config=linked(0, 2)) as house:
        await house.say("go")
        approval = await pending(house)
        await house.desk.decide(approval.id, allow=True, by="tg:1")
        house.configured.replace(linked(1, 2))
        with suppress(Conflict):
            await house.desk.decide(approval.id, allow=True, by="operator:ann")
        assert (await house.desk.get(approval.id)).state == "pending"
