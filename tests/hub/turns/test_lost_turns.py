"""A turn that ran when the daemon was killed: taken up, run again, or reported, and never two of these."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.hub.turns.outcome import SORRY_LOST
from gatewayd.model.config import (
    AccountFrame,
    AccountSettings,
    BindingConfig,
    GatewayConfig,
    LimitsSection,
    MatchConfig,
    SessionsSection,
)
from gatewayd.model.errors import TryAgain
from gatewayd.model.message.envelope import Peer
from gatewayd.ports.agent import CoreTurnState, Final, Turn
from gatewayd.ports.store import InboundRow
from tests.hub.approvals.test_desk import RM, Tool, pending
from tests.hub.house import OPEN, Gate, House, ScriptedAgents, configuration, echo, open_house


class Known(ScriptedAgents):
    """A core that is asked what has become of a turn, and notes when it is not."""

    def __init__(self, known: CoreTurnState | Exception) -> None:
        super().__init__(echo)
        self.state = known
        self.asked: list[tuple[str, str]] = []

    async def turn_state(self, session_id: str, turn_id: str) -> CoreTurnState:
        self.asked.append((session_id, turn_id))
        if isinstance(self.state, Exception):
            raise self.state
        return self.state


class GoingOn(Known):
    """A core at which the turn goes on over the restart, until somebody stops it."""

    def __init__(self) -> None:
        super().__init__("running")
        self.stopped: list[tuple[str, str]] = []
        self.failure: Exception | None = None
        self.asked_for: list[str] = []

    async def core(self, agent_id: str) -> ScriptedAgents:
        self.asked_for.append(agent_id)
        return await super().core(agent_id)

    async def stop_turn(self, session_id: str, turn_id: str) -> None:
        if self.failure is not None:
            raise self.failure
        self.stopped.append((session_id, turn_id))


async def cut(tmp_path: Path) -> int:
    """A turn that runs when the daemon is killed. Returns its row."""
    async with open_house(tmp_path, Gate()) as house:
        row = await house.say("one")
        await trio.testing.wait_all_tasks_blocked()
        return row.id


async def after(house: House, row_id: int) -> tuple[str, str | None]:
    with anyio.fail_after(10):
        row = await house.backlog.wait_ended(row_id)
    return row.state, row.reason


@pytest.mark.parametrize("known", ["running", "ended"])
@pytest.mark.parametrize("policy", ["rerun", "report"])
async def test_what_the_core_still_has_is_taken_up(
    tmp_path: Path, autojump_clock: MockClock, known: CoreTurnState, policy: str
) -> None:
    row = await cut(tmp_path)
    agents = Known(known)
    async with open_house(tmp_path, agents=agents, config=configuration(on_lost_turn=policy)) as house:  # type: ignore[arg-type]
        assert await after(house, row) == ("done", "answered")
        assert (len(agents.turns), len(agents.resumed)) == (0, 1)
        assert agents.asked == [("session-1", f"turn-{row}")]
        assert house.texts == ["re: one"]


@pytest.mark.parametrize(("known", "policy"), [("lost", "rerun"), ("new", "rerun"), ("new", "report")])
async def test_what_was_never_begun_or_may_be_done_again_is_run_again(
    tmp_path: Path, autojump_clock: MockClock, known: CoreTurnState, policy: str
) -> None:
    row = await cut(tmp_path)
    agents = Known(known)
    async with open_house(tmp_path, agents=agents, config=configuration(on_lost_turn=policy)) as house:  # type: ignore[arg-type]
        assert await after(house, row) == ("done", "answered")
        assert (len(agents.turns), len(agents.resumed)) == (1, 0)
        assert house.texts == ["re: one"]


async def test_a_lost_turn_is_reported_and_nothing_is_run(tmp_path: Path, autojump_clock: MockClock) -> None:
    row = await cut(tmp_path)
    agents = Known("lost")
    async with open_house(tmp_path, agents=agents, config=configuration(on_lost_turn="report")) as house:
        assert await after(house, row) == ("dead", "turn_lost")
        assert (agents.turns, agents.resumed) == ([], [])
        assert house.texts == [SORRY_LOST]
        assert (await house.ended(await house.say("next"))).reason == "answered", "the lane goes on"
    async with open_house(tmp_path, agents=agents, config=configuration(on_lost_turn="report")) as house:
        await trio.testing.wait_all_tasks_blocked()
        assert len(await house.store.outbound_by("turn_id", f"turn-{row}")) == 1, "once"


async def test_a_lost_turn_that_is_reported_withdraws_what_it_asked(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM)) as house:
        row = await house.say("go")
        approval = await pending(house)
    tool = Tool(RM)
    agents = ScriptedAgents(tool)
    async with open_house(tmp_path, agents=agents, config=configuration(on_lost_turn="report")) as house:
        assert (await house.ended(row)).reason == "turn_lost"
        assert (await house.desk.get(approval.id)).state == "withdrawn"
        assert tool.decisions == []


async def test_a_core_that_cannot_be_asked_is_asked_again_and_not_made_to_run(tmp_path: Path, autojump_clock: MockClock) -> None:
    row = await cut(tmp_path)
    agents = Known(TryAgain("it is being started"))
    async with open_house(tmp_path, agents=agents) as house:
        await trio.testing.wait_all_tasks_blocked()
        assert (len(agents.asked), agents.turns, agents.resumed) == (1, [], [])
        agents.state = "running"
        await anyio.sleep(100)
        assert await after(house, row) == ("done", "answered")
        assert (len(agents.turns), len(agents.resumed)) == (0, 1)


async def test_a_turn_that_is_new_to_this_process_is_not_asked_about(tmp_path: Path, autojump_clock: MockClock) -> None:
    agents = Known("lost")
    async with open_house(tmp_path, agents=agents, config=configuration(on_lost_turn="report")) as house:
        assert (await house.ended(await house.say("one"))).reason == "answered"
        assert agents.asked == []


async def test_an_outage_before_anything_ran_is_no_lost_turn(tmp_path: Path, autojump_clock: MockClock) -> None:
    """The core promises with TryAgain that nothing was run."""
    agents = Known("lost")
    failures = [TryAgain("it is down")] * 2

    async def script(turn: Turn) -> str:
        if failures:
            raise failures.pop()
        return "at last"

    agents.script = script
    async with open_house(tmp_path, agents=agents, config=configuration(on_lost_turn="report")) as house:
        row = await house.say("one")
        await anyio.sleep(300)
        assert (await house.ended(row)).reason == "answered"
        assert (len(agents.turns), agents.asked) == (3, [])


async def test_a_turn_that_is_stopped_before_it_is_taken_up_is_stopped_at_its_core(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    row = await cut(tmp_path)
    agents = GoingOn()
    agents.away = TryAgain("agent assistant is waiting: it is being restarted")
    async with open_house(tmp_path, agents=agents) as house:
        await trio.testing.wait_all_tasks_blocked()
        await house.say("/stop")
        agents.away = None
        assert await after(house, row) == ("done", "stopped")
        assert agents.stopped == [("session-1", f"turn-{row}")]
        assert (agents.turns, agents.resumed) == ([], [])


async def test_a_turn_that_is_stopped_while_its_core_is_asked_about_it_is_stopped_at_its_core(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    row = await cut(tmp_path)
    asked = anyio.Event()

    class Slow(GoingOn):
        async def turn_state(self, session_id: str, turn_id: str) -> CoreTurnState:
            asked.set()
            await anyio.sleep(1)
            return "running"

    agents = Slow()
    async with open_house(tmp_path, agents=agents) as house:
        await asked.wait()
        await house.say("/stop")
        assert await after(house, row) == ("done", "stopped")
        assert agents.stopped == [("session-1", f"turn-{row}")]
        assert (agents.turns, agents.resumed) == ([], [])


async def test_what_was_begun_goes_on_before_an_older_message_that_is_run_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_house(tmp_path) as house:
        older = await house.say("older")
        await house.ended(older)
    begun = await cut(tmp_path)
    retried = """
        UPDATE inbound SET state = 'received', attempts = 0, turn_id = NULL, retries = 1, reason = NULL, ended_at = NULL
        WHERE id = ?
    """
    with closing(sqlite3.connect(tmp_path / "gatewayd.db")) as connection, connection:
        connection.execute(retried, (older.id,))
    agents = Known("running")
    async with open_house(tmp_path, agents=agents) as house:
        await after(house, older.id)
        assert await after(house, begun) == ("done", "answered")
        assert [turn.request.turn_id for turn in agents.resumed] == [f"turn-{begun}"]
        assert house.texts == ["re: one", "re: older"]


async def test_a_turn_that_has_no_slot_yet_is_stopped_at_its_core_too(tmp_path: Path, autojump_clock: MockClock) -> None:
    limits = LimitsSection(turns=1)
    gates = [Gate(), Gate()]
    async with open_house(tmp_path, gates[0], config=configuration()) as house:
        rows = [await house.say("one", peer=Peer("dm", peer)) for peer in ("7", "8")]
        await trio.testing.wait_all_tasks_blocked()
    agents = GoingOn()
    agents.script = gates[1]
    async with open_house(tmp_path, agents=agents, config=configuration(limits=limits)) as house:
        await trio.testing.wait_all_tasks_blocked()
        [taken] = [turn.request.peer.id for turn in agents.resumed]
        waits = "8" if taken == "7" else "7"
        await house.say("/stop", peer=Peer("dm", waits))
        next_one = await house.say("next", peer=Peer("dm", waits))
        await trio.testing.wait_all_tasks_blocked()
        gates[1].gate.set()
        assert await after(house, rows[0].id if waits == "7" else rows[1].id) == ("done", "stopped")
        assert len(agents.stopped) == 1
        assert await after(house, next_one.id) == ("done", "answered")


async def test_a_core_that_cannot_stop_its_turn_gets_no_other_in_that_session(tmp_path: Path, autojump_clock: MockClock) -> None:
    row = await cut(tmp_path)
    agents = GoingOn()
    agents.failure = TryAgain("connection refused")
    agents.away = TryAgain("agent assistant is waiting: it is being restarted")
    async with open_house(tmp_path, agents=agents) as house:
        await trio.testing.wait_all_tasks_blocked()
        await house.say("/stop")
        agents.away = None
        assert await after(house, row) == ("done", "stopped")
        said = await house.say("next")
        await anyio.sleep(3600)
        assert (agents.turns, agents.stopped) == ([], []), "it would run beside the other in one session"
        ended = await house.ended(said)
        assert (ended.state, ended.reason) == ("dead", "attempts_exhausted")


async def test_a_core_that_comes_back_stops_the_turn_that_was_left_over_before_it_runs_the_next(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    row = await cut(tmp_path)
    agents = GoingOn()
    agents.failure = TryAgain("connection refused")
    agents.away = TryAgain("agent assistant is waiting: it is being restarted")
    async with open_house(tmp_path, agents=agents) as house:
        await trio.testing.wait_all_tasks_blocked()
        await house.say("/stop")
        agents.away = None
        await after(house, row)
        said = await house.say("next")
        await anyio.sleep(5)
        agents.failure = None
        assert (await house.ended(said)).reason == "answered"
        assert agents.stopped == [("session-1", f"turn-{row}")]


GONE = replace(configuration(), accounts=configuration().accounts[1:])


async def test_a_turn_of_an_account_that_is_gone_at_the_start_is_stopped_at_its_core(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    row = await cut(tmp_path)
    agents = GoingOn()
    other = replace(GONE, agents=(replace(GONE.agents[0], agent_id="other"), *GONE.agents))
    async with open_house(tmp_path, agents=agents, config=other) as house:
        assert await after(house, row) == ("dropped", "account_removed")
        assert agents.stopped == [("session-1", f"turn-{row}")]
        assert agents.asked_for == ["assistant"], "the agent that it was begun with, wherever the bindings lead now"
        assert (agents.turns, agents.resumed, house.backlog.waiting) == ([], [], 0)


async def test_a_turn_of_an_account_that_is_gone_and_cannot_be_stopped_is_stopped_before_the_next(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Also over a restart, when the account is there again."""
    row = await cut(tmp_path)
    agents = GoingOn()
    agents.away = TryAgain("connection refused")
    async with open_house(tmp_path, agents=agents, config=GONE) as house:
        assert await after(house, row) == ("dropped", "account_removed")
        assert agents.stopped == []
    agents.away = None
    async with open_house(tmp_path, agents=agents) as house:
        assert (await house.ended(await house.say("next"))).reason == "answered"
        assert agents.stopped == [("session-1", f"turn-{row}")]
        assert (await house.ended(await house.say("and next"))).reason == "answered"
        assert len(agents.stopped) == 1, "once"


async def test_a_turn_that_waits_for_its_slot_when_its_account_goes_is_stopped_at_its_core(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_house(tmp_path, Gate()) as house:
        rows = [await house.say("one", channel=channel) for channel in ("chat", "tg")]
        await trio.testing.wait_all_tasks_blocked()
    agents = GoingOn()
    agents.script = gate = Gate()
    narrow = configuration(limits=LimitsSection(turns=1))
    async with open_house(tmp_path, agents=agents, config=narrow) as house:
        await trio.testing.wait_all_tasks_blocked()
        [taken] = [turn.request.channel for turn in agents.resumed]
        waits = rows[0] if taken == "tg" else rows[1]
        gone = tuple(account for account in narrow.accounts if account.channel != waits.envelope.channel)
        house.configured.replace(replace(narrow, accounts=gone))
        assert await after(house, waits.id) == ("dropped", "account_removed")
        assert [turn_id for _, turn_id in agents.stopped] == [f"turn-{waits.id}"]
        gate.gate.set()


async def test_a_turn_that_only_waits_for_its_agent_ends_with_its_account(tmp_path: Path, autojump_clock: MockClock) -> None:
    agents = GoingOn()
    agents.away = TryAgain("agent assistant is waiting")
    async with open_house(tmp_path, agents=agents) as house:
        row = await house.say("one")
        await anyio.sleep(60)
        house.configured.replace(GONE)
        assert await after(house, row.id) == ("done", "account_removed")
        assert house.backlog.waiting == 0


async def test_a_turn_that_goes_on_with_another_agent_is_stopped_where_it_was_begun_when_that_is_back(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    row = await cut(tmp_path)
    config = configuration()
    other = replace(config, agents=(replace(config.agents[0], agent_id="other"),))
    async with open_house(tmp_path, agents=Known("new"), config=other) as house:
        assert await after(house, row) == ("done", "answered")
    agents = GoingOn()
    async with open_house(tmp_path, agents=agents) as house:
        assert (await house.ended(await house.say("next"))).reason == "answered"
        assert agents.stopped == [("session-1", f"turn-{row}")]


ONE_SESSION = SessionsSection(dm_scope="main")
"""All direct messages of an agent are in one session."""


class Strict(GoingOn):
    """A core that takes its time to stop a turn, and notes what happens in which order."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []

    async def stop_turn(self, session_id: str, turn_id: str) -> None:
        await anyio.sleep(1)
        await super().stop_turn(session_id, turn_id)
        self.order.append(f"stopped {turn_id}")

    async def run(self, turn: Turn) -> Final:
        self.order.append(f"run {turn.request.turn_id}")
        return await super().run(turn)

    async def resume(self, turn: Turn) -> Final:
        self.order.append(f"resumed {turn.request.turn_id}")
        return await super().resume(turn)


async def test_the_turn_of_an_account_that_is_gone_is_stopped_before_the_next_turn_of_its_session_begins(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_house(tmp_path, Gate(), config=configuration(sessions=ONE_SESSION)) as house:
        gone, waits = [await house.say("one", channel=channel) for channel in ("chat", "tg")]
        await trio.testing.wait_all_tasks_blocked()
    agents = Strict()
    async with open_house(tmp_path, agents=agents, config=replace(GONE, sessions=ONE_SESSION)) as house:
        assert await after(house, waits.id) == ("done", "answered")
        assert agents.order == [f"stopped turn-{gone.id}", f"run turn-{waits.id}"]


def bound_to_other(*channels: str) -> GatewayConfig:
    """Two agents. These channels belong to the second one."""
    config = configuration(sessions=ONE_SESSION)
    bindings = tuple(BindingConfig(MatchConfig(channel=channel), "other") for channel in channels)
    return replace(config, agents=(*config.agents, replace(config.agents[0], agent_id="other")), bindings=bindings)


async def test_the_turn_of_an_account_that_goes_is_stopped_before_a_turn_that_waits_for_its_slot_begins(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    config = bound_to_other("tg")
    accounts = [AccountSettings(channel, name, OPEN, AccountFrame()) for channel in ("chat", "tg") for name in ("goes", "stays")]
    config = replace(config, accounts=tuple(accounts))
    async with open_house(tmp_path, Gate(), config=config) as house:
        rows = {(it.channel, it.account): await house.say("one", channel=it.channel, account=it.account) for it in accounts}
        await trio.testing.wait_all_tasks_blocked()
    agents = Strict()
    agents.script = gate = Gate()
    narrow = replace(config, limits=LimitsSection(turns=1))
    async with open_house(tmp_path, agents=agents, config=narrow) as house:
        await trio.testing.wait_all_tasks_blocked()
        [taken] = [turn.request.channel for turn in agents.resumed]
        waits = "tg" if taken == "chat" else "chat"
        gone, stays = rows[waits, "goes"].id, rows[waits, "stays"].id
        house.configured.replace(
            replace(narrow, accounts=tuple(it for it in accounts if (it.channel, it.account) != (waits, "goes")))
        )
        gate.gate.set()
        assert await after(house, stays) == ("done", "answered")
        there = [what for what in agents.order if what.split("-")[-1] in (str(gone), str(stays))]
        assert there == [f"stopped turn-{gone}", f"run turn-{stays}"]


async def one_for_each_agent(tmp_path: Path) -> tuple[InboundRow, InboundRow, InboundRow]:
    """The first row runs at ``other``, the second at ``assistant``, where the third waits, when the daemon is killed."""
    async with open_house(tmp_path, Gate(), config=bound_to_other("sms")) as house:
        first, second, third = [await house.say("one", channel=channel) for channel in ("sms", "chat", "tg")]
        await trio.testing.wait_all_tasks_blocked()
    return first, second, third


async def test_a_turn_that_waits_for_its_new_agent_is_stopped_where_it_was_begun_before_the_next_turn_there(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    first, begun, waits = await one_for_each_agent(tmp_path)
    agents = Strict()
    agents.script = Gate()
    async with open_house(tmp_path, agents=agents, config=bound_to_other("sms", "chat")):
        await anyio.sleep(5)
        at_assistant = [what for what in agents.order if f"turn-{first.id}" not in what]
        assert at_assistant == [f"stopped turn-{begun.id}", f"run turn-{waits.id}"]


async def test_a_turn_that_comes_from_another_agent_does_not_begin_before_what_was_begun_there(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_house(tmp_path, Gate(), config=bound_to_other("sms")) as house:
        older, begun = [await house.say("one", channel=channel) for channel in ("chat", "sms")]
        await trio.testing.wait_all_tasks_blocked()
    agents = Strict()
    async with open_house(tmp_path, agents=agents, config=bound_to_other("chat", "sms")) as house:
        assert await after(house, older.id) == ("done", "answered")
        assert [what.split()[-1] for what in agents.order] == [f"turn-{begun.id}", f"turn-{older.id}"]


@pytest.mark.parametrize("back", [configuration(sessions=ONE_SESSION), bound_to_other("sms")], ids=["alone", "beside the other"])
async def test_a_turn_that_comes_back_to_where_it_was_begun_is_taken_up_and_not_stopped(
    tmp_path: Path, autojump_clock: MockClock, back: GatewayConfig
) -> None:
    _, begun, _ = await one_for_each_agent(tmp_path)
    agents = Strict()
    agents.script = Gate()
    everywhere = bound_to_other("sms", "chat", "tg")
    async with open_house(tmp_path, agents=agents, config=everywhere) as house:
        await anyio.sleep(5)
        assert not any(f"turn-{begun.id}" in what for what in agents.order), "it waits for its new agent"
        house.configured.replace(back)
        await anyio.sleep(5)
        assert [what for what in agents.order if f"turn-{begun.id}" in what] == [f"resumed turn-{begun.id}"]


async def test_a_turn_that_its_new_agent_has_not_seen_goes_back_to_where_it_was_begun(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    class OtherIsAway(Strict):
        async def core(self, agent_id: str) -> ScriptedAgents:
            if agent_id == "other":
                raise TryAgain("agent other is waiting")
            return await super().core(agent_id)

    row = await cut(tmp_path)
    agents = OtherIsAway()
    async with open_house(tmp_path, agents=agents, config=replace(bound_to_other("chat"), sessions=SessionsSection())) as house:
        await anyio.sleep(5)
        house.configured.replace(replace(bound_to_other(), sessions=SessionsSection()))
        assert await after(house, row) == ("done", "answered")
        assert agents.order == [f"resumed turn-{row}"]


ANOTHER_AGENT = replace(bound_to_other("chat"), sessions=SessionsSection())
"""It gets the chats that the first agent has had."""


@asynccontextmanager
async def one_without_a_slot(tmp_path: Path) -> AsyncIterator[tuple[House, GoingOn, Gate, InboundRow]]:
    """Two turns go on at their agent over a restart. One row waits for its slot, because only one turn may run."""
    async with open_house(tmp_path, Gate()) as house:
        rows = [await house.say("one", peer=Peer("dm", peer)) for peer in ("7", "8")]
        await trio.testing.wait_all_tasks_blocked()
    agents = GoingOn()
    agents.script = gate = Gate()
    async with open_house(
        tmp_path, agents=agents, config=replace(ANOTHER_AGENT, bindings=(), limits=LimitsSection(turns=1))
    ) as house:
        await trio.testing.wait_all_tasks_blocked()
        [taken] = [turn.request.peer for turn in agents.resumed]
        yield house, agents, gate, next(row for row in rows if row.envelope.peer != taken)
        gate.gate.set()


async def test_a_chat_that_goes_to_another_agent_gets_one_answer_after_the_other_also_when_the_first_has_no_slot(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with one_without_a_slot(tmp_path) as (house, agents, gate, waits):
        house.configured.replace(ANOTHER_AGENT)
        said = await house.say("next", peer=waits.envelope.peer)
        await anyio.sleep(5)
        assert (len(agents.resumed), agents.turns) == (2, [])
        gate.gate.set()
        assert (await house.ended(said)).reason == "answered"
        assert [turn.request.agent_id for turn in agents.turns] == ["other"]


async def test_a_stop_in_a_chat_that_goes_to_another_agent_finds_the_turn_that_has_no_slot(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with one_without_a_slot(tmp_path) as (house, agents, _, waits):
        house.configured.replace(replace(ANOTHER_AGENT, limits=LimitsSection(turns=1)))
        await house.say("/stop", peer=waits.envelope.peer)
        assert await after(house, waits.id) == ("done", "stopped")
        assert [turn_id for _, turn_id in agents.stopped] == [f"turn-{waits.id}"]
