"""Turns that run while the test goes on."""

import trio

from gatewayd.agents.opencode.core import OpencodeCore
from gatewayd.model.errors import GatewayError
from gatewayd.ports.agent import Final
from tests.agents.opencode.house import FakeTurn


class Going:
    """A turn that runs in the background; ``wait`` gives its end."""

    def __init__(self, core: OpencodeCore, turn: FakeTurn, *, resume: bool = False) -> None:
        self.turn = turn
        self.scope = trio.CancelScope()
        self.done = trio.Event()
        self.final: Final | None = None
        self.error: GatewayError | None = None
        self._work = core.resume if resume else core.run

    async def run(self) -> None:
        try:
            with self.scope:
                self.final = await self._work(self.turn)
        except GatewayError as error:
            self.error = error
        finally:
            self.done.set()

    def kill(self) -> None:
        """Its gatewayd is gone, and has told nobody."""
        self.turn.goes_on = True
        self.scope.cancel()

    def stop(self) -> None:
        """As /stop and the turn's timeout do it."""
        self.turn.goes_on = False
        self.scope.cancel()

    async def wait(self) -> Final:
        await self.done.wait()
        if self.error is not None:
            raise self.error
        assert self.final is not None
        return self.final


def go(nursery: trio.Nursery, core: OpencodeCore, turn: FakeTurn, *, resume: bool = False) -> Going:
    going = Going(core, turn, resume=resume)
    nursery.start_soon(going.run)
    return going
