"""One life of the daemon, from its start to its stop or to the moment at which the process is gone."""

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, cast

import anyio
import trio
from msgspec import Struct

from gatewayd.actor.border import leaves
from gatewayd.hub.gateway import Gateway
from gatewayd.hub.reload import Reloader
from gatewayd.model.config import GatewayConfig
from gatewayd.model.errors import Conflict, GatewayError, TryAgain
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.model.message.payload import PressAnswer
from gatewayd.ports.channel import WebhookRequest
from gatewayd.ports.store import InboundRow
from gatewayd.stores.sqlite import SqliteStore, open_store
from gatewayd.web.api.chat import deliver_message
from gatewayd.web.http.errors import HttpError
from gatewayd.web.webhooks import WebhookDesk
from gatewayd.wiring import build_gateway, drain, run_hub
from tests.hub.house import NoStalls
from tests.simulation.crash import CrashPlan, Point
from tests.simulation.outside.disk import LifeDisk
from tests.simulation.outside.platforms import Panic
from tests.simulation.telegram.streams import open_client
from tests.simulation.trace import Violation

if TYPE_CHECKING:
    from tests.simulation.world import World


class Answered(Struct):
    """A request to the daemon: its status, or what it came to, when it was answered; None when the process was gone before."""

    done: trio.Event
    status: int | None = None
    result: object = None


class Life:
    """``dead`` from the moment of the crash: nothing that still runs has any effect on the disk or on the other sides."""

    def __init__(self, world: "World", number: int, plan: CrashPlan) -> None:
        self.world = world
        self.number = number
        self.dead = False
        self.over = trio.Event()
        self.over_at = math.inf
        self.unwound = trio.Event()
        self.gateway: Gateway | None = None
        self._reloader: Reloader | None = None
        self._store: SqliteStore | None = None
        self._plan = plan
        self._disk = LifeDisk(world.disk, self)
        self._scope = trio.CancelScope()
        self._passed: dict[Point, int] = {}
        self._desk: WebhookDesk | None = None
        self._nursery: trio.Nursery | None = None
        self._http = open_client(partial(world.accept, self))
        self._stop = trio.Event()
        self.doing = 0
        self._requests: set[trio.Event] = set()

    def check_alive(self) -> None:
        """:raises TryAgain: nobody hears from a process that is gone, nor does it hear from anybody."""
        if self.dead:
            raise TryAgain("the process is gone")

    def pass_point(self, point: Point) -> None:
        """The life comes past a point where it may end."""
        self._passed[point] = self._passed.get(point, 0) + 1
        if point == "after_commit":
            self.world.corner.pass_commit(self)
        if self._plan.point == point and self._passed[point] == self._plan.number:
            self.crash(f"{point} {self._plan.number}")

    def disarm(self) -> None:
        """No crash any more."""
        self._plan = CrashPlan(None, 0)
        self.world.steps.forget()

    def crash(self, where: str) -> None:
        """The process is gone, now."""
        if self.dead or self.over.is_set():
            return
        self.dead = True
        self.world.trace.tell(f"life {self.number}", f"crashes ({where})")
        self.world.crashes += 1
        self._end()
        self._scope.cancel()

    def stop(self) -> None:
        """Ask for a graceful end."""
        self._stop.set()

    def make_unused(self) -> Gateway:
        """A daemon of the same configuration that never ran."""
        assert self._store is not None
        return self._join(self._store)

    def reload(self) -> None:
        """An operator has the configuration read anew."""

        async def load() -> GatewayConfig:
            await trio.lowlevel.checkpoint()
            return self.world.configuration(self)

        async def prepare(config: GatewayConfig) -> None:
            await trio.lowlevel.checkpoint()
            registry = self.world.registry
            gateway.configured.add_plugins({account.channel: registry.channel(account.channel) for account in config.accounts})

        if self.is_up:
            assert self.gateway is not None
            gateway = self.gateway
            reloader = self._reloader = self._reloader or Reloader(gateway, load, prepare)
            self.do("reloads", lambda gateway: reloader.reload("operator:alice"))

    @property
    def is_configured(self) -> bool:
        """Whether the accounts, agents and rules are in force that there are to be; a reload may have been refused."""
        wanted = self.world.configuration(self)
        return self.gateway is None or self.gateway.config == wanted

    def note_told(self, answer: PressAnswer) -> None:
        """Somebody who pressed was told something."""
        if not self.dead and answer.text:
            self.world.trace.tell(f"life {self.number}", f"tells who pressed {answer.press}: {answer.text!r}")

    @property
    def is_up(self) -> bool:
        return self._nursery is not None and not self.dead and not self._stop.is_set()

    def do(self, name: str, act: Callable[[Gateway], Awaitable[object]]) -> None:
        """Somebody does something over the daemon's HTTP interface. It comes to nothing when there is no daemon."""
        if self.is_up:
            assert self._nursery is not None
            self._nursery.start_soon(self._do, name, act)

    async def call_webhook(self, channel: str, account: str, body: bytes) -> int | None:
        """The status that a platform gets for one call, None when it gets none."""
        if not self.is_up:
            return None
        assert self._nursery is not None
        answered = Answered(trio.Event())
        self._requests.add(answered.done)
        self._nursery.start_soon(self._answer, channel, account, body, answered)
        await answered.done.wait()
        self._requests.discard(answered.done)
        return answered.status

    async def bring(self, envelope: InboundEnvelope) -> tuple[InboundRow, bool] | None:
        """What a connector is told of what it brings: the row, and whether it was known. None: it is not taken now, or the
        connector does not hear of it. :raises Conflict: its key is that of another message."""
        if not self.is_up:
            return None
        assert self._nursery is not None
        answered = Answered(trio.Event())
        self._requests.add(answered.done)
        self._nursery.start_soon(self._take_brought, envelope, answered)
        await answered.done.wait()
        self._requests.discard(answered.done)
        if isinstance(answered.result, Conflict):
            raise answered.result
        return cast("tuple[InboundRow, bool] | None", answered.result)

    async def _take_brought(self, envelope: InboundEnvelope, answered: Answered) -> None:
        assert self.gateway is not None
        result: object = None
        try:
            result = await deliver_message(self.gateway, envelope)
        except Conflict as error:
            result = error
        except (GatewayError, HttpError):
            result = None
        if not self.dead:
            answered.result = result
        answered.done.set()

    async def run(self) -> None:
        """Live. Errors that a daemon may end with end the life; any other is a violation."""
        world = self.world
        if self._plan.point == "step":
            world.steps.call_after(self._plan.number, lambda: self.crash(f"step {self._plan.number}"))
        world.trace.tell(f"life {self.number}", f"starts (crash: {self._plan})")
        try:
            with self._scope:
                await self._serve()
        except* (Exception, KeyboardInterrupt, SystemExit, GeneratorExit, Panic) as group:
            self._judge(group)
        finally:
            self._end()
            self.unwound.set()

    async def _serve(self) -> None:
        world = self.world
        async with self._http, anyio.create_task_group() as parent:
            try:
                async with (
                    open_store(world.state_dir, now=world.now, run_blocking=self._disk) as store,
                    trio.open_nursery() as own,
                ):
                    self._store = store
                    gateway = self.gateway = self._join(store)
                    async with run_hub(gateway, parent=parent):
                        gateway.enter("ready")
                        self._desk = WebhookDesk(gateway)
                        await own.start(self._desk.run)
                        self._nursery = own
                        world.trace.tell(f"life {self.number}", "is ready")
                        await self._stop.wait()
                        world.trace.tell(f"life {self.number}", "is asked to stop")
                        await drain(gateway)
                    own.cancel_scope.cancel()
            finally:
                parent.cancel_scope.cancel()
        world.trace.tell(f"life {self.number}", "has stopped")

    def _join(self, store: SqliteStore) -> Gateway:
        world = self.world
        return build_gateway(
            world.configuration(self),
            world.registry,
            store,
            self._http,
            state_dir=world.state_dir,
            now=world.now,
            stalls=NoStalls(),
            rng=world.rng_of(f"life {self.number}"),
        )

    def _judge(self, error: BaseException) -> None:
        """An error that a live daemon ended with."""
        if self.dead:
            return
        found = leaves(error)
        reason = "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in found).replace(str(self.world.state_dir), "STATE")
        self.world.trace.tell(f"life {self.number}", f"ends: {reason}")
        if not (self.world.disk.refused and all(isinstance(leaf, GatewayError) for leaf in found)):
            self.world.fail(Violation("the daemon lives", reason))

    def _end(self) -> None:
        if self.over.is_set():
            return
        self.over.set()
        self.over_at = self.world.now()
        self._disk.cut_off()
        self.world.steps.forget()
        for core in self.world.cores:
            core.lose_daemon()
        for event in self._requests:
            event.set()

    async def _answer(self, channel: str, account: str, body: bytes, answered: Answered) -> None:
        assert self._desk is not None
        request = WebhookRequest(method="POST", headers={}, query="", body=body)
        try:
            receipt = await self._desk.answer(channel, account, request)
        except HttpError as error:
            status = error.status
        else:
            status = receipt.reply.status
            self._desk.afterwards(receipt)
        if not self.dead:
            answered.status = status
        answered.done.set()

    async def _do(self, name: str, act: Callable[[Gateway], Awaitable[object]]) -> None:
        assert self.gateway is not None
        self.doing += 1
        try:
            await act(self.gateway)
            if name not in ("revives", "decides") and not self.dead:
                self.world.trace.tell("operator", f"{name}: done")
        except GatewayError as error:
            if not self.dead:
                # Not by its path, which is another one in each run.
                reason = error.reason.replace(str(self.world.state_dir), "STATE_DIR")
                self.world.trace.tell("operator", f"{name}: {reason}")
        finally:
            self.doing -= 1
