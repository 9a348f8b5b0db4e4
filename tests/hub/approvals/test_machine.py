"""Whatever the order of presses, time-outs, restarts, deaths of the agent and stops: a gated action runs at most once for each
allow, and only after one that was recorded for exactly it, and used up."""

import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import trio
from hypothesis import event, example, given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace
from trio.testing import MockClock, wait_all_tasks_blocked

from gatewayd.model.config import ApprovalRule, GatewayConfig
from gatewayd.model.errors import Conflict, StoreRefused, TryAgain
from gatewayd.model.message.envelope import Peer, Sender
from gatewayd.model.message.payload import SendText
from gatewayd.model.records.approval import Approval, ToolRequest
from gatewayd.model.records.audit import verify
from gatewayd.ports.agent import CoreTurnState, Turn
from tests.hub.approvals.approvers import asking
from tests.hub.house import House, ScriptedAgents, message, open_house

RM, DD, LS, CAT = (ToolRequest("shell", f'{{"command":"{command}"}}') for command in ("rm x", "dd y", "ls", "cat z"))
LANES = (Peer("dm", "7"), Peer("dm", "8"))
TIMEOUT = 100.0


class World(Struct, frozen=True):
    """What does not change during one play. ``known`` None: the agent gives no ids of its own."""

    known: CoreTurnState | None
    quorum: int
    grant: str
    requests: tuple[ToolRequest, ...]

    def config(self) -> GatewayConfig:
        rules = (ApprovalRule("allow", "shell", {"command": "ls"}), ApprovalRule("deny", "shell", {"command": "dd *"}))
        policy: dict[str, object] = {"quorum": self.quorum, "session_grant": self.grant, "rules": rules}
        return asking("team", "operators", seconds=TIMEOUT, escalate_after_seconds=40, **policy)


class Core:
    """An agent that asks for all its requests at once. What it runs, and what it knows by its own ids, outlives the daemon."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ran: list[tuple[str, str | None]] = []
        self.turns: dict[str, Turn] = {}
        self.alive: list[anyio.CancelScope] = []
        self.generation: Counter[str] = Counter()

    async def __call__(self, turn: Turn) -> str:
        turn_id = turn.request.turn_id
        self.turns[turn_id] = turn
        if self.world.known == "lost":
            self.generation[turn_id] += 1  # begun anew, it asks under other ids
        async with anyio.create_task_group() as asks:
            self.alive.append(asks.cancel_scope)
            for number, request in enumerate(self.world.requests):
                asks.start_soon(self._ask, turn, self._named(turn_id, number, request))
        self.alive.remove(asks.cancel_scope)
        if asks.cancel_scope.cancel_called:
            raise TryAgain("the agent has died")
        return "over"

    def _named(self, turn_id: str, number: int, request: ToolRequest) -> ToolRequest:
        if self.world.known is None:
            return request
        return replace(request, ref=f"{turn_id}/{self.generation[turn_id]}/{number}")

    async def _ask(self, turn: Turn, request: ToolRequest) -> None:
        decision = await turn.permission(request)
        if decision.allowed and (request.ref is None or request.ref not in {ref for _, ref in self.ran}):
            self.ran.append((request.input, request.ref))

    def die(self) -> None:
        for scope in list(self.alive):
            scope.cancel()


class Play:
    """The house, its restarts, and what must hold between two steps."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder = folder
        self.world = world
        self.core = Core(world)
        self.ended: dict[str, Approval] = {}
        self.allowed_by: dict[str, set[str]] = {}
        self.house: House

    async def start(self, stack: AsyncExitStack) -> None:
        agents = ScriptedAgents(self.core)
        agents.known = self.world.known or "lost"
        opened = open_house(self.folder, self.core, config=self.world.config(), agents=agents)
        self.house = await stack.enter_async_context(opened)
        await self.settle()

    async def settle(self) -> None:
        await wait_all_tasks_blocked()
        if not self.house.flaky.refuses:
            await self.house.send_all()

    async def approval(self, which: int) -> Approval | None:
        rows = await self.house.store.list_approvals(None, limit=1000)
        asked = [row for row in rows if row.decided_by is None or not row.decided_by.startswith(("policy", "session"))]
        return asked[which % len(asked)] if asked else None

    # --- Steps

    async def say(self, which: int, how: int) -> None:
        await self.house.say("go", peer=LANES[which % 2])

    async def press(self, which: int, how: int) -> None:
        await self._press(which, how, times=1)

    async def press_twice(self, which: int, how: int) -> None:
        await self._press(which, how, times=2)

    async def _press(self, which: int, how: int, *, times: int) -> None:
        """By one of the team (1 to 3) or by somebody else; a yes, a no, or a yes for the session."""
        approval = await self.approval(which)
        if approval is None:
            return
        person = str(1 + how % 4) if how % 4 < 3 else "66"
        data = ("once", "session", "once", "deny")[how // 4 % 4]
        rows = await self.house.store.outbound_by("subject", approval.id)
        prompt = next((row for row in rows if isinstance(row.payload, SendText)), None)
        if prompt is None or prompt.receipt is None:
            return
        if data != "deny" and person != "66":
            self.allowed_by.setdefault(approval.id, set()).add(f"tg:{person}")
        press = message(f"ap:{approval.id}:{data}", peer=prompt.payload.peer, sender=Sender(person), channel="tg", kind="button")
        under = {"message_id": prompt.receipt.message_id, "press": "p"}
        presses = [replace(press, event_key=f"{press.event_key}/{n}", **under) for n in range(times)]
        await self.house.inbox.deliver(presses)

    async def operator(self, which: int, how: int) -> None:
        approval = await self.approval(which)
        if approval is None:
            return
        by, allow = f"operator:{how % 2}", how % 4 < 3
        if allow:
            self.allowed_by.setdefault(approval.id, set()).add(by)
        with anyio.move_on_after(0.5):
            try:
                await self.house.desk.decide(approval.id, allow=allow, by=by)
            except Conflict:
                event("a second answer is refused")
            except StoreRefused:
                event("the disk is full")

    async def wait(self, which: int, how: int) -> None:
        await anyio.sleep((1.0, 30.0, 45.0, TIMEOUT)[how % 4])

    async def stop(self, which: int, how: int) -> None:
        await self.house.say("/stop", peer=LANES[which % 2])

    async def new(self, which: int, how: int) -> None:
        await self.house.say("/new", peer=LANES[which % 2])

    async def die(self, which: int, how: int) -> None:
        self.core.die()

    async def withdraw(self, which: int, how: int) -> None:
        approval = await self.approval(which)
        if approval is not None and approval.ref is not None:
            with anyio.move_on_after(0.5):
                await self.core.turns[approval.turn_id].withdraw(approval.ref, why="the core took it back")

    async def fill_disk(self, which: int, how: int) -> None:
        methods = ("vote_approval", "consume_approval", "add_outbound", "decide_approval", "add_approval", "end_inbound")
        self.house.flaky.refuses.add(methods[which % len(methods)])

    async def empty_disk(self, which: int, how: int) -> None:
        self.house.flaky.refuses.clear()

    # --- What must hold

    async def check(self) -> None:
        rows = {row.id: row for row in await self.house.store.list_approvals(None, limit=1000)}
        self._check_ended(rows)
        for row in rows.values():
            self._check_row(row)
        self._check_runs(list(rows.values()))

    def _check_row(self, row: Approval) -> None:
        allows = {vote.by for vote in row.votes if vote.allow}
        assert allows <= self.allowed_by.get(row.id, set()), "nobody's yes is in the row but of those who gave it"
        assert len({vote.by for vote in row.votes}) == len(row.votes), "nobody counts twice"
        if row.consumed_at is not None:
            assert row.state == "allowed"
            assert row.decided_at is not None
            assert row.decided_at <= row.consumed_at
        if row.state != "allowed":
            return
        assert row.input != DD.input, "a rule denies it"
        assert all(vote.allow for vote in row.votes)
        if row.decided_by == "policy:rule 1":
            assert row.input == LS.input
        elif (row.decided_by or "").startswith("session:"):
            self._check_grant(row, self.ended[(row.decided_by or "").removeprefix("session:")])
        else:
            assert len(allows) == self.world.quorum
            assert all(vote.at <= row.expires_at for vote in row.votes)

    def _check_grant(self, row: Approval, granted: Approval) -> None:
        event("granted by an earlier yes for the session")
        assert (granted.state, granted.scope, granted.session_id) == ("allowed", "session", row.session_id)
        assert self.world.grant == "tool" or (self.world.grant == "input" and granted.input_hash == row.input_hash)

    def _check_ended(self, rows: dict[str, Approval]) -> None:
        for known in self.ended.values():
            now = rows[known.id]
            used = known if known.consumed_at is not None else replace(known, consumed_at=now.consumed_at, ref=now.ref)
            assert now == used, "what has ended never changes, but for being used"
        self.ended = {row.id: row for row in rows.values() if row.state != "pending"}

    def _check_runs(self, rows: list[Approval]) -> None:
        used = Counter((row.input, row.ref) for row in rows if row.consumed_at is not None)
        for action, times in Counter(self.core.ran).items():
            assert times <= used[action], f"{action} ran more often than it was allowed and used up"
            assert times == 1 or action[1] is None

    async def check_end(self) -> None:
        """Nobody presses any more: everything comes to an end, and every trace of it agrees."""
        self.house.flaky.refuses.clear()
        await anyio.sleep(3000)
        await self.settle()
        await self.check()
        rows = await self.house.store.list_approvals(None, limit=1000)
        assert [row for row in rows if row.state == "pending"] == []
        assert self.house.desk.pending_count() == 0
        assert await self.house.store.pending_inbound(list(self.house.configured.accounts), after_id=0, limit=10) == []
        entries = await self.house.audited()
        verify(entries)
        votes = Counter((row.id, "allow" if vote.allow else "deny", vote.by) for row in rows for vote in row.votes)
        actions = (("approval.allow", "allow"), ("approval.deny", "deny"))
        audited = Counter(
            (entry.subject, said, entry.actor) for entry in entries for action, said in actions if entry.action == action
        )
        assert audited == votes, "each vote has its entry, and each entry its vote"

    async def check_prompts(self) -> None:
        """After one more start: what could not be shown while the disk was full is shown at the latest then."""
        await self.check()
        for row in await self.house.store.list_approvals(None, limit=1000):
            await self._check_prompts(row)

    async def _check_prompts(self, row: Approval) -> None:
        prompts = await self.house.store.outbound_by("subject", row.id)
        assert sum(isinstance(prompt.payload, SendText) for prompt in prompts) <= 1, "nothing is shown twice"
        bodies = [prompt.payload.body.text for prompt in prompts]
        assert len(set(bodies)) == len(bodies), "nor rewritten twice"
        if prompts:
            assert prompts[-1].payload.choices == (), "what is over has no buttons"


STEPS: dict[str, Callable[[Play, int, int], Awaitable[None]]] = {
    "say": Play.say,
    "press": Play.press,
    "press_twice": Play.press_twice,
    "operator": Play.operator,
    "wait": Play.wait,
    "stop": Play.stop,
    "new": Play.new,
    "die": Play.die,
    "withdraw": Play.withdraw,
    "fill_disk": Play.fill_disk,
    "empty_disk": Play.empty_disk,
}
KINDS = ["crash", "press", "press", "operator", *STEPS]
Step = tuple[str, int, int]


async def play(world: World, steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scene = Play(Path(folder), world)
        waiting: list[Step] = [("say", 0, 0), *steps]
        while waiting:
            async with AsyncExitStack() as stack:
                await scene.start(stack)
                await scene.check()
                while waiting and (step := waiting.pop(0))[0] != "crash":
                    await STEPS[step[0]](scene, step[1], step[2])
                    await scene.settle()
                    await scene.check()
                if not waiting:
                    await scene.check_end()
        async with AsyncExitStack() as stack:
            await scene.start(stack)
            await scene.check_prompts()
        event(f"runs: {min(len(scene.core.ran), 3)}")


WORLDS = st.builds(
    World,
    known=st.sampled_from([None, "lost", "running"]),
    quorum=st.sampled_from([1, 1, 2]),
    grant=st.sampled_from(["off", "input", "tool"]),
    requests=st.lists(st.sampled_from([RM, RM, CAT, LS, DD]), min_size=1, max_size=3).map(tuple),
)
PLAYS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 5), st.integers(0, 15)), max_size=12)
ONE = World(None, 1, "input", (RM,))
NAMED = World("running", 1, "input", (RM, CAT))


@given(WORLDS, PLAYS)
@example(ONE, [("press", 0, 0), ("crash", 0, 0)])
@example(ONE, [("press_twice", 0, 0), ("say", 0, 0), ("crash", 0, 0), ("press", 0, 1)])
@example(ONE, [("fill_disk", 1, 0), ("operator", 0, 0), ("crash", 0, 0)])
@example(NAMED, [("operator", 0, 0), ("die", 0, 0), ("operator", 1, 0), ("crash", 0, 0), ("wait", 0, 3)])
@example(NAMED, [("press", 0, 0), ("crash", 0, 0), ("press", 1, 0), ("crash", 0, 0)])
@example(World("lost", 1, "off", (RM,)), [("crash", 0, 0), ("crash", 0, 0), ("press", 0, 0)])
@example(World("lost", 2, "off", (RM, RM)), [("press", 0, 0), ("press", 0, 1), ("crash", 0, 0), ("operator", 1, 0)])
def test_a_gated_action_runs_once_for_each_allow_and_never_before(world: World, steps: list[Step]) -> None:
    trio.run(play, world, steps, clock=MockClock(autojump_threshold=0))
