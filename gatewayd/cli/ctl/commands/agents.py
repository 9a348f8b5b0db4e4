"""``gatewayctl agents``: the agents and their cores."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from gatewayd.cli.ctl.commands.answer import print_answer
from gatewayd.cli.ctl.connection.options import Json, options_of
from gatewayd.cli.ctl.wording import clean, count, duration
from gatewayd.model.operator_api import AgentList, AgentReport, Request
from gatewayd.model.status import AgentState, AgentStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

agents = typer.Typer(help="See and restart agents.", invoke_without_command=True, no_args_is_help=False, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The agent's name in the configuration.")]

_STYLES: dict[AgentState, str] = {"open": "green", "opening": "cyan", "waiting": "yellow", "parked": "bold red"}


@agents.callback()
def group(ctx: typer.Context) -> None:
    """See and restart agents. Without a command: list."""
    if ctx.invoked_subcommand is None:
        list_agents(ctx)


@agents.command("list")
def list_agents(ctx: typer.Context, as_json: Json = False) -> None:
    """List the agents: each core's state, version, process, sessions and turns."""
    print_answer(options_of(ctx), "/v1/agents", AgentList, _table, scope="read", as_json=as_json)


@agents.command("show")
def show_agent(ctx: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show one agent in full, with the last lines of output of its process."""
    from gatewayd.cli.ctl.connection.client import segment

    print_answer(options_of(ctx), f"/v1/agents/{segment(name)}", AgentReport, _report, scope="admin", as_json=as_json)


@agents.command("restart")
def restart(ctx: typer.Context, name: Name) -> None:
    """Close an agent's core and open it again, also a parked one. Turns that run on it are interrupted."""
    from gatewayd.cli.ctl.connection.client import segment

    path = f"/v1/agents/{segment(name)}/restart"
    print_answer(options_of(ctx), path, AgentStatus, _restarted, post=Request(), scope="admin")


def _restarted(agent: AgentStatus, now: float, width: int) -> list[str]:
    return [f"{clean(agent.agent)} is {agent.state}" + (f": {clean(agent.reason)}" if agent.reason else "")]


def _report(report: AgentReport, now: float, width: int) -> Iterator[str]:
    for label, value in _facts(report.agent, now):
        yield f"{label:<12}{value}"
    if report.output:
        yield "\nlast lines of its output:"
    for line in report.output:
        yield f"  {clean(line, at_most=2000)}"


def _table(answer: AgentList, now: float, width: int) -> "list[Text]":
    from rich.text import Text

    from gatewayd.cli.ctl.output.screen import Column, table, wrapped

    rows = answer.agents
    if not rows:
        return [Text("no agents are configured")]

    def cells(values: "Sequence[str | int | None]") -> list[Text]:
        return [Text("-" if value is None else clean(str(value), at_most=64)) for value in values]

    columns = [
        Column("AGENT", cells([row.agent for row in rows]), least=10),
        Column("CORE", cells([row.core for row in rows]), drop=2, least=8),
        Column("STATE", [Text(row.state, style=_STYLES[row.state]) for row in rows]),
        Column("VERSION", cells([row.version for row in rows]), drop=3, least=7),
        Column("PID", cells([row.pid for row in rows]), drop=4),
        Column("SESSIONS", cells([row.sessions for row in rows]), drop=5),
        Column("RUNNING", cells([row.running for row in rows])),
        Column("TURNS", cells([row.turns for row in rows])),
        Column("FAILURES", cells([row.failures for row in rows])),
    ]
    details = []
    for row in rows:
        parts = [clean(row.reason)] if row.reason else []
        if row.state == "parked":
            parts.append(f"to continue: gatewayctl agents restart {clean(row.agent)}")
            if row.next_attempt_at is not None:
                parts.append(f"next attempt in {duration(row.next_attempt_at - now)}")
        if row.last_error is not None:
            parts.append(f"last error{_ago(row, now)}: {clean(row.last_error)}")
        details.append(wrapped(Text("; ".join(parts), style="dim"), width, indent=2) if parts else [])
    return table(columns, width, details=details)


def _facts(agent: AgentStatus, now: float) -> list[tuple[str, str]]:
    failures = count(agent.failures, "failure")
    facts: list[tuple[str, str | None]] = [
        ("agent", agent.agent),
        ("core", agent.core),
        ("state", agent.state + (f": {agent.reason}" if agent.reason else "")),
        ("continue", f"gatewayctl agents restart {agent.agent}" if agent.state == "parked" else None),
        ("next try", None if agent.next_attempt_at is None else f"in {duration(agent.next_attempt_at - now)}"),
        ("version", agent.version),
        ("process", None if agent.pid is None else str(agent.pid)),
        ("url", agent.url),
        ("sessions", None if agent.sessions is None else str(agent.sessions)),
        ("turns", f"{agent.turns}, {agent.running} running, {failures}"),
        ("last error", None if agent.last_error is None else agent.last_error + _ago(agent, now)),
    ]
    return [(label, clean(value, at_most=2000)) for label, value in facts if value is not None]


def _ago(agent: AgentStatus, now: float) -> str:
    return "" if agent.last_error_at is None else f" ({duration(now - agent.last_error_at)} ago)"
