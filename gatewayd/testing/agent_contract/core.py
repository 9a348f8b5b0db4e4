"""How the tests of the contract use a core: they open it by its manifest and run turns beside each other, as the hub does."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import ClassVar, cast

import httpx2
import pytest
import trio

from gatewayd.actor.border import leaves
from gatewayd.model.errors import GatewayError, TryAgain
from gatewayd.ports.agent import AgentCore, AgentOpener, AgentPlugin, Final
from gatewayd.testing.agent_contract.harness import Act, AgentHarness, HubTurn, Services
from gatewayd.testing.manifest import ManifestContract, resolve

STOPS_WITHIN_SECONDS = 8.0
"""The hub abandons a turn that is cancelled and has not ended after a few seconds; a core may take these."""

Outcome = Final | GatewayError


class RunningTurn:
    """A turn that runs beside the test. ``outcome`` is what came of it; None while it runs, and when it was stopped."""

    def __init__(self, turn: HubTurn) -> None:
        self.turn = turn
        self.outcome: Outcome | None = None
        self.over = trio.Event()
        self._scope = trio.CancelScope()

    async def run(self, work: Callable[[HubTurn], Awaitable[Final]]) -> None:
        try:
            with self._scope:
                self.outcome = await work(self.turn)
        except (GatewayError, BaseExceptionGroup) as error:
            found = [leaf for leaf in leaves(error) if isinstance(leaf, GatewayError)]
            if len(found) < len(leaves(error)):
                raise
            # Errors may come in a group. The strictest counts, as for the hub.
            self.outcome = min(found, key=lambda leaf: isinstance(leaf, TryAgain))
        finally:
            self.turn.over = True
            self.over.set()

    async def wait(self) -> Outcome:
        await self.over.wait()
        assert self.outcome is not None, "the turn was stopped"
        return self.outcome

    async def stop(self) -> None:
        """Cancel the turn. Returns once it has ended."""
        self._scope.cancel()
        with trio.fail_after(STOPS_WITHIN_SECONDS):
            await self.over.wait()


class OpenCore:
    """An open core. Its turns belong to the hub, so they go on when the core ends by itself."""

    def __init__(self, core: AgentCore, turns: trio.Nursery) -> None:
        self.core = core
        self._turns = turns

    def start(self, turn: HubTurn) -> RunningTurn:
        return self._start(turn, self.core.run)

    def resume(self, turn: HubTurn) -> RunningTurn:
        return self._start(turn, self.core.resume)

    async def run(self, turn: HubTurn) -> Outcome:
        return await self.start(turn).wait()

    async def say(self, session: str, text: str, *, turn_id: str = "turn-1") -> str:
        """The reply to ``text``."""
        outcome = await self.run(HubTurn(session, text, turn_id=turn_id))
        assert isinstance(outcome, Final), f"the turn failed: {outcome}"
        return outcome.text.strip()

    def _start(self, turn: HubTurn, work: Callable[[HubTurn], Awaitable[Final]]) -> RunningTurn:
        running = RunningTurn(turn)
        self._turns.start_soon(running.run, work)
        return running


class CoreContract(ManifestContract):
    """``repeatable``: running a turn twice does no harm, so the core may call a turn new that has run before.

    ``one_at_a_time``: what runs the agent cannot keep two turns apart, so the core lets others wait, and tells their users.
    """

    group = "gatewayd.agents"
    plugin: ClassVar[AgentPlugin]
    repeatable: ClassVar[bool] = False
    one_at_a_time: ClassVar[bool] = False

    def harness(self, directory: Path) -> AbstractAsyncContextManager[AgentHarness]:
        """The agent, ready for a core that wants to use it. ``directory`` is empty, and for the harness alone. Leaving ends what
        it has started."""
        raise NotImplementedError

    def opener(self) -> AgentOpener:
        return cast(AgentOpener, resolve(self.plugin.open))

    @asynccontextmanager
    async def ready(self, directory: Path) -> AsyncIterator[tuple[AgentHarness, Services]]:
        """The agent and the hub, without a core between them yet."""
        (directory / "harness").mkdir()
        async with self.harness(directory / "harness") as harness, httpx2.AsyncClient() as http:
            yield harness, Services(http, directory / "agent")

    @asynccontextmanager
    async def opened(self, harness: AgentHarness, services: Services, *, may_end: bool = False) -> AsyncIterator[OpenCore]:
        """An open core. ``may_end``: it may end by itself, with a named error, which then ends the block."""
        async with trio.open_nursery() as turns:
            try:
                async with self.opener()(harness.agent, services) as core:
                    yield OpenCore(core, turns)
            except (GatewayError, BaseExceptionGroup) as error:
                # The hub opens a core again that ends with a named error. Any other error is a bug.
                if not may_end or not all(isinstance(leaf, GatewayError) for leaf in leaves(error)):
                    raise

    def text_for(self, harness: AgentHarness, act: Act, argument: str = "") -> str:
        """What the user writes for this act. Skips the test where the agent cannot do it."""
        if act not in harness.acts:
            pytest.skip(f"{self.plugin.id} has no act {act!r}")
        return harness.acts[act](argument)


def replies(outcomes: Sequence[Outcome]) -> list[str]:
    assert all(isinstance(outcome, Final) for outcome in outcomes), f"a turn failed: {outcomes}"
    return [outcome.text.strip() for outcome in outcomes if isinstance(outcome, Final)]
