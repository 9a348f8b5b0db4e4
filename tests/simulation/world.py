"""One run: the world outside of the daemon, and life after life of it in one state directory."""

import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import trio
import trio.testing
from msgspec import Struct
from msgspec.structs import replace

from gatewayd.channels.slack import PLUGIN as SLACK
from gatewayd.channels.slack.settings import SlackSettings
from gatewayd.channels.telegram import PLUGIN as TELEGRAM
from gatewayd.channels.telegram.settings import TelegramSettings
from gatewayd.hub.gateway import Gateway
from gatewayd.model.config import AccountSettings, AgentSettings, GatewayConfig
from gatewayd.model.secret import Secret
from gatewayd.plugins import Registry
from tests.fakes.slack_platform.platform import APP_TOKEN, BOT_TOKEN
from tests.simulation.checks.invariants import check, check_gone
from tests.simulation.checks.ledger import Ledger
from tests.simulation.checks.rest import check_at_rest
from tests.simulation.crash import CrashPlan, Steps, draw_plan
from tests.simulation.life import Life
from tests.simulation.outside.connectors import Connector
from tests.simulation.outside.cores import CORE, Core, CoreWire
from tests.simulation.outside.corners import Corner
from tests.simulation.outside.disk import Disk
from tests.simulation.outside.drivers import POLLED, PUSHED, Wire, knowing
from tests.simulation.outside.people import People, decide_requests, repair, revive
from tests.simulation.outside.platforms import KINDS_OF_KNOWING, PUSH_FAULTS, Account, Update, Weather
from tests.simulation.outside.troubles import Troubles
from tests.simulation.scenario import Scenario, add_slack, draw_scenario
from tests.simulation.slack.account import SlackAccount
from tests.simulation.slack.server import SlackServer
from tests.simulation.slack.troubles import trouble
from tests.simulation.telegram.server import BOT_ID, TOKEN, BotServer
from tests.simulation.trace import Trace, Violation

EPOCH = 1_800_000_000.0
_SETTLE_SECONDS = 3 * 3600.0
_LOOK_SECONDS = 5.0
_STOP_SECONDS = 60.0
_STEPS_MAX = 200_000


class World:
    """Everything that outlives a life of the daemon. ``run`` is the run."""

    def __init__(self, seed: int, state_dir: Path, trace: Trace) -> None:
        self.seed = seed
        self.state_dir = state_dir
        self.trace = trace
        self.rng = self.rng_of("world")
        self.scenario: Scenario = add_slack(draw_scenario(self.rng_of("scenario")), self.rng_of("slack"))
        chances = self.scenario.chances
        knows = {plugin.id: self.rng_of(f"what {plugin.id} knows").choice(KINDS_OF_KNOWING) for plugin in (POLLED, PUSHED)}
        forgets = self.rng_of("what polled forgets").random() < 0.5
        polled = replace(POLLED, repeats_presses=not forgets)
        plugins = [knowing(plugin, knows[plugin.id]) for plugin in (polled, PUSHED)]
        self.registry = Registry.of([*plugins, TELEGRAM, replace(SLACK, ephemeral=False)], [CORE])
        self.fired: Counter[str] = Counter()
        """How often what happened: the workloads that docs/simulation.md has a table of."""
        self.disk = Disk(self.rng_of("disk"), slow=chances.slow_disk)
        self.steps = Steps(_STEPS_MAX, self._go_in_circles)
        self.crashes = 0
        self.lives: list[Life] = []
        self.violation: Violation | None = None
        self.accounts: dict[tuple[str, str], Account] = {}
        for (channel, name), chance in zip(self.scenario.accounts, chances.network, strict=True):
            weather = Weather(self.rng_of(f"weather of {channel}/{name}"), chance)
            keys = f"{BOT_ID}:" if channel == "telegram" else ""
            kind = SlackAccount if channel == SLACK.id else Account
            account = self.accounts[channel, name] = kind(channel, name, weather, trace, self.now, keys=keys)
            account.knows = knows.get(channel, account.knows)
            account.late, account.fail, account.count = self.later, self.fail, self.count
            account.gives_up = lambda: self.sections[1].max_attempts < 100
            account.tells_all = channel in (POLLED.id, PUSHED.id)
            account.forgets_presses = forgets if channel == POLLED.id else channel == SLACK.id and not SLACK.repeats_presses
        self.cores = [
            Core(name, memory, self.rng_of(f"core {name}"), trace, self.now) for name, memory, _ in self.scenario.agents
        ]
        for core in self.cores:
            core.fail, core.count = self.fail, self.count
            core.chance = chances.agent if self.scenario.mood == "rough" or core is self.cores[0] else 0.0
        self.people = People(self, self.rng_of("people"), self.scenario)
        for account in self.accounts.values():
            account.on_shown, account.on_pause = self.people.see, self.people.lose_patience
        self.connectors = [Connector(self, name, self.rng_of(f"connector {name}")) for name in ("bridge", "relay")]
        self._nursery: trio.Nursery | None = None
        self._under_way = 0
        self.is_quiet = False
        self.sections = self.scenario.sections
        self.frames = {name: frame for name, _, frame in self.scenario.agents}
        self.changes: list[tuple[float, frozenset[str]]] = [(-math.inf, frozenset())]
        """When another configuration was asked for, and the identities that are one person by it."""
        self.away: set[object] = set()
        """The accounts and agents that are not in the configuration now."""
        self.troubles = Troubles(self)
        self.corner = Corner(self, self.troubles)

    # What the parts of the world use.

    def rng_of(self, what: str) -> Random:
        """A stream of its own for each part: what one draws does not move another."""
        return Random(f"{self.seed} {what}")

    def now(self) -> float:
        return EPOCH + trio.current_time()

    def is_calm(self, account: Account) -> bool:
        """Whether nothing may go wrong for this account."""
        return self.scenario.mood == "isolated" and (account.channel, account.name) == self.scenario.accounts[0]

    def fail(self, violation: Violation) -> None:
        """A promise is broken: the run ends. The first one counts."""
        if self.violation is None:
            self.violation = violation
            self.trace.tell("VIOLATION", str(violation))
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def _go_in_circles(self) -> None:
        self.fail(Violation("everything ends", f"{_STEPS_MAX} steps, and no end: something goes round in circles"))

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        """Do something in a while. The run does not end before."""
        assert self._nursery is not None
        self._under_way += 1
        self._nursery.start_soon(self._later, seconds, act)

    def start(self, work: Callable[..., Awaitable[None]], *args: object) -> None:
        """Something begins that takes its time. The run does not end before it has."""
        assert self._nursery is not None
        self._under_way += 1
        self._nursery.start_soon(self._finish, work, args)

    async def _finish(self, work: Callable[..., Awaitable[None]], args: tuple[object, ...]) -> None:
        try:
            await work(*args)
        except Violation as violation:
            self.fail(violation)
        self._under_way -= 1

    def take_down(self, meanwhile: Callable[[], None], *, when: str = "when a question was open") -> bool:
        """The process dies, and something happens before it is there again; where it may not die, that happens only."""
        may = self.scenario.mood == "rough" and not self.is_quiet and self.lives[-1].is_up
        if may:
            self.lives[-1].crash(when)
        meanwhile()
        return may

    def operate(self, name: str, act: Callable[[Gateway], Awaitable[object]]) -> None:
        """An operator does something with the daemon, if there is one."""
        if self.lives:
            self.lives[-1].do(name, act)

    def count(self, what: str) -> None:
        """Something happened that is told of how often it does."""
        self.fired[what] += 1

    def accept(self, life: Life, host: str, stream: Any) -> None:
        """The daemon connects to a server. :raises OSError: it is not reached."""
        [account] = [account for account in self.accounts.values() if account.name == host.partition(".")[0]]
        server_rng = self.rng_of(f"server of {account}, {self.steps.count}")
        if life.dead or (account.weather.down and server_rng.random() < 0.5):
            raise OSError("the network is unreachable")
        assert self._nursery is not None
        if isinstance(account, SlackAccount):
            self._nursery.start_soon(SlackServer(account, life, server_rng, self.count).serve, stream)
        else:
            self._nursery.start_soon(BotServer(account, server_rng, self.count).serve, life, stream)

    def settings_of(self, account: Account, life: Life) -> Struct:
        """An account's own keys in the configuration."""
        match account.channel:
            case "telegram":
                return TelegramSettings(Secret(TOKEN), api_base=f"http://{account.name}.example", poll_timeout_seconds=25)
            case "slack":
                return SlackSettings(
                    Secret(BOT_TOKEN),
                    app_token=Secret(APP_TOKEN),
                    api_base=f"http://{account.name}.example/api",
                    replies="channel",
                    backfill_minutes=10_080,
                )
        return Wire(account, life)

    def configuration(self, life: Life) -> GatewayConfig:
        scenario = self.scenario
        sessions, outbox, limits, approvals = self.sections
        return GatewayConfig(
            gateway=scenario.gateway,
            sessions=sessions,
            outbox=outbox,
            limits=limits,
            approvals=approvals,
            agents=tuple(
                AgentSettings(core.name, self.frames[core.name], CoreWire(core, life))
                for core in self.cores
                if core not in self.away
            ),
            accounts=tuple(
                AccountSettings(account.channel, account.name, scenario.frame, self.settings_of(account, life))
                for account in self.accounts.values()
                if account not in self.away
            ),
            bindings=tuple(
                one for one in scenario.bindings if one.agent not in {core.name for core in self.cores if core in self.away}
            ),
        )

    # The run.

    async def run(self) -> None:
        self.trace.tell("world", f"seed {self.seed}: {self.scenario.mood}, {self.scenario.seconds:g} s, {self.scenario.chances}")
        async with trio.open_nursery() as self._nursery:
            for account in self.accounts.values():
                if account.channel == PUSHED.id:
                    self._nursery.start_soon(self._push_forever, account)
                if isinstance(account, SlackAccount):
                    account.begin(self._nursery, self.rng_of(f"workspace of {account}"))
                    self._nursery.start_soon(trouble, account, self._nursery, self.rng_of(f"connections of {account}"))
            for at, act in (*self.people.plan(), *self.troubles.plan(), *self.corner.plan()):
                self.later(at, act)
            for connector in self.connectors:
                for at, act in connector.plan():
                    self.later(at, act)
            self._nursery.start_soon(self._operate_now_and_then)
            await self._live_until(self.scenario.seconds)
            await self._settle()
            self._nursery.cancel_scope.cancel()

    async def _live_until(self, seconds: float) -> None:
        """Lives with their crashes and stops, while things go wrong."""
        rng, left = self.rng_of("lives"), self.scenario.chances.lives
        with trio.move_on_at(seconds):
            while True:
                left -= 1
                life = self._begin(draw_plan(rng) if left > 0 else CrashPlan(None, 0))
                if left > 0 and rng.random() < 0.2:
                    self.later(rng.uniform(0, seconds / 2), life.stop)
                await life.unwound.wait() if rng.random() < 0.3 else await life.over.wait()
                await trio.sleep(rng.choice((0.0, 0.05, 2.0, 30.0)))

    def _begin(self, plan: CrashPlan) -> Life:
        life = Life(self, len(self.lives) + 1, plan)
        self.lives.append(life)
        assert self._nursery is not None
        self._nursery.start_soon(life.run)
        return life

    async def _settle(self) -> None:
        """Nothing goes wrong any more: everything must come to its end, and the daemon must be able to stop."""
        self.trace.tell("world", "is quiet from now on")
        self.is_quiet = True
        self.disk.illness = "none"
        for core in self.cores:
            core.clear()
        for account in self.accounts.values():
            account.weather.clear()
        self.lives[-1].disarm()
        try:
            life = await self._come_to_rest()
            await self._stop(life)
            check_gone(self, Ledger(self.state_dir / "gatewayd.db"))
            # What was taken in the last moment of that stop is there at the next start, and so is what was away.
            self.away.clear()
            self._begin(CrashPlan(None, 0))
            await self._stop(await self._come_to_rest())
            check(self, Ledger(self.state_dir / "gatewayd.db"))
        except Violation as violation:
            self.fail(violation)

    async def _come_to_rest(self) -> Life:
        """The daemon when all has come to its end. :raises Violation: that takes too long, or it keeps something."""
        life = self.lives[-1]
        with trio.move_on_after(_SETTLE_SECONDS) as scope:
            while True:
                if life.over.is_set():
                    await life.unwound.wait()
                    life = self._begin(CrashPlan(None, 0))
                left = self._unsettled(life)
                if not left:
                    break
                await trio.sleep(_LOOK_SECONDS)
        if scope.cancelled_caught:
            raise Violation("everything ends", f"after {_SETTLE_SECONDS:g} s of quiet: {self._unsettled(life)}")
        assert life.gateway is not None
        check_at_rest(life.gateway, life.make_unused())
        return life

    async def _stop(self, life: Life) -> None:
        seconds = self.scenario.gateway.drain_seconds + _STOP_SECONDS
        life.stop()
        with trio.move_on_after(seconds) as scope:
            for one in self.lives:
                await one.unwound.wait()
        if scope.cancelled_caught:
            raise Violation("nothing is kept", f"tasks of a daemon that was stopped run {seconds:g} s later")

    def _unsettled(self, life: Life) -> str:
        """What is not at its end yet, in words; empty when everything is."""
        if self._under_way or life.doing:
            return f"{self._under_way + life.doing} things are about to happen"
        gateway = life.gateway
        if gateway is None or not life.is_up:
            return "the daemon is not up"
        if not life.is_configured:
            return "another configuration is in force"
        here = [account for account in self.accounts.values() if account not in self.away]
        left = [f"{account} has {len(account.unconfirmed)} updates" for account in here if account.unconfirmed]
        snapshot = gateway.snapshot()
        counts = {
            "messages in the inbox": gateway.backlog.waiting,
            "lanes": snapshot.lanes.live,
            "replies ready": snapshot.outbox.ready,
            "replies being sent": snapshot.outbox.sending,
            "requests": snapshot.approvals_pending,
            # One that closes slowly is gone in the end: it is no rest before that.
            "abandoned connections": gateway.manager.statistics().supervisor.abandoned,
            "events to be written": len(gateway.events._buffer),
        }
        return ", ".join(left + [f"{count} {what}" for what, count in counts.items() if count])

    async def _later(self, seconds: float, act: Callable[[], object]) -> None:
        await trio.sleep(seconds)
        self._under_way -= 1
        act()

    async def _operate_now_and_then(self) -> None:
        rng = self.rng_of("operator")
        while True:
            await trio.sleep(rng.uniform(4.0, 30.0))
            self.operate("revives", revive)
            if self.lives and not self.lives[-1].is_configured:
                self.lives[-1].reload()
            if not self.is_quiet and rng.random() < self.scenario.chances.operator / 2:
                self.operate("repairs", partial(repair, rng=rng))
            if rng.random() < self.scenario.chances.operator:
                self.operate("decides", partial(decide_requests, rng=rng))

    async def _push_forever(self, account: Account) -> None:
        """The platform calls the webhook for each update, a few at a time, until it is answered 200."""
        places = trio.Semaphore(self.rng_of(f"pushes of {account}").choice((1, 3)))
        begun = 0
        assert self._nursery is not None
        while True:
            while begun < len(account.updates):
                await places.acquire()
                self._nursery.start_soon(self._push, account, account.updates[begun], places)
                begun += 1
            await account.wait_arrived()

    async def _push(self, account: Account, update: Update, places: trio.Semaphore) -> None:
        weather, body = account.weather, msgspec.json.encode(update)
        times = 2 if weather.draw(PUSH_FAULTS) == "twice" else 1
        while times:
            fate = weather.draw(PUSH_FAULTS)
            await trio.sleep(weather.latency(fate))
            status = None
            if fate != "dropped" and self.lives:
                status = await self.lives[-1].call_webhook(account.channel, account.name, body)
            if status == 200 and fate != "answer_lost":
                account.confirm(update)
                times -= 1
            else:
                await trio.sleep(weather.rng.uniform(0.1, 20.0))
        places.release()


def simulate(seed: int, trace: Trace) -> World:
    """Run one seed. The world is returned as it is at the end, with the violation if there was one."""
    fast = Path("/dev/shm")  # noqa: S108
    folder = Path(tempfile.mkdtemp(prefix="gatewayd-simulation-", dir=fast if fast.is_dir() else None))
    try:
        world = World(seed, folder / "state", trace)
        clock = trio.testing.MockClock(autojump_threshold=0)
        trio.run(world.run, clock=clock, instruments=[world.steps])
        trace.count_in((world.steps.count, world.disk.commits))
        return world
    finally:
        shutil.rmtree(folder)
