"""Starts the agent's process and opens a core over it, for as long as it lives."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio

from gatewayd.agents.acp.connection import Connection
from gatewayd.agents.acp.core import AcpCore
from gatewayd.agents.acp.dispatch import Dispatch
from gatewayd.agents.acp.settings import AcpSettings
from gatewayd.agents.acp.setup import Setup
from gatewayd.agents.acp.turn.late_texts import LateTexts
from gatewayd.kit.command import work_directory
from gatewayd.kit.process import ChildProcess, open_process
from gatewayd.model.errors import TryAgain
from gatewayd.ports.agent import AgentConfig, AgentCore, AgentServices

_EXIT_SUMMARY_SECONDS: Final = 0.5


@asynccontextmanager
async def open_acp(agent: AgentConfig, services: AgentServices) -> AsyncIterator[AgentCore]:
    """The core is open when the agent has answered initialize, and closes with its process. Errors may come in a group.

    :raises NeedsOperator: there is no such command, or it is no ACP agent. :raises TryAgain: the process ended, also later.
    """
    settings = agent.settings
    assert isinstance(settings, AcpSettings)
    directory = await work_directory(settings.directory, services.directory)
    async with (
        open_process(
            settings.command,
            cwd=directory,
            env=settings.variables(),
            marker=str(services.directory),
            stdin=True,
            stdout="caller",
            secrets=settings.secrets.values(),
        ) as process,
        open_core(process, settings, services, directory) as core,
    ):
        services.log.info("acp_agent_opened", version=core.facts().version, pid=process.pid)
        yield core


@asynccontextmanager
async def open_core(
    process: ChildProcess, settings: AcpSettings, services: AgentServices, directory: Path
) -> AsyncIterator[AcpCore]:
    """The core over a process that runs. Raises as ``open_acp`` does."""
    connection = Connection(process.note)
    late = LateTexts(services.log)
    dispatch = Dispatch(connection, late.take, services.log)
    async with anyio.create_task_group() as group:
        group.start_soon(_watch, connection, process)
        group.start_soon(connection.run, process.stdin, process.stdout, dispatch)
        setup = Setup(connection, dispatch, directory, settings.start_timeout_seconds)
        await _initialize(setup)
        core = AcpCore(connection, dispatch, setup, late, process, settings, services)
        group.start_soon(late.run, core.say_late)
        yield core
        group.cancel_scope.cancel()


async def _initialize(setup: Setup) -> None:
    try:
        await setup.initialize()
    except TryAgain:
        # The connection is lost, and _watch is about to raise an error with the exit summary.
        await anyio.sleep_forever()


async def _watch(connection: Connection, process: ChildProcess) -> None:
    """:raises TryAgain: the process has ended, or the connection is lost."""
    async with anyio.create_task_group() as group:
        group.start_soon(_lose_at_end, connection, process)
        why = await connection.wait_lost()
        # A process that ends closes its output first: its exit summary says more.
        with anyio.move_on_after(_EXIT_SUMMARY_SECONDS):
            await process.wait()
        group.cancel_scope.cancel()
    raise TryAgain(f"the agent {why}; {process.exit_summary}")


async def _lose_at_end(connection: Connection, process: ChildProcess) -> None:
    await process.wait()
    # A process that the agent has started may hold the output open for ever. The agent's own output is read by then.
    await anyio.sleep(_EXIT_SUMMARY_SECONDS)
    connection.lose("has ended")
