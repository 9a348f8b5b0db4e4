"""``gatewayctl approvals``: tool requests that wait for a yes or no."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from msgspec import Struct

from gatewayd.cli.ctl.console import print_link
from gatewayd.cli.ctl.options import Json, Options, connect, options_of
from gatewayd.cli.ctl.outcome import Misunderstood, NotNow, Unreachable
from gatewayd.cli.ctl.wording import clean, clock_time, duration, pretty_json, visible
from gatewayd.model.approval import Approval

if TYPE_CHECKING:
    from rich.text import Text

    from gatewayd.cli.ctl.client import Client

approvals = typer.Typer(
    help="See and answer tool requests that wait for an operator.", no_args_is_help=True, rich_markup_mode=None
)

Id = Annotated[str, typer.Argument(metavar="ID", help="The approval's id or code, as `approvals list` shows it.")]
Note = Annotated[str | None, typer.Option("--note", help="A word to the agent, kept with the decision.")]

_EVERY_SECONDS = 1.0
_PENDING = {"state": "pending", "limit": "1000"}


class Approvals(Struct, frozen=True):
    approvals: tuple[Approval, ...]


class _Answer(Struct, frozen=True, omit_defaults=True):
    decision: str
    note: str | None = None
    scope: str = "once"


@approvals.command("list")
def list_approvals(ctx: typer.Context, as_json: Json = False) -> None:
    """List the requests that wait, the oldest first."""
    from gatewayd.cli.ctl.screen import console, say, show

    with connect(ctx) as client:
        body = client.fetch("GET", "/v1/approvals", params=_PENDING, scope="approvals")
        waiting = client.decode(body, Approvals).approvals
        now = client.now()
    if as_json:
        say(pretty_json(body))
        return
    if not waiting:
        say("no approvals are waiting")
        return
    target = console()
    show(_table(waiting, now, target.width), on=target)
    say("\nsee one in full: gatewayctl approvals show ID   answer it: gatewayctl approvals allow|deny ID")


@approvals.command("show")
def show_approval(ctx: typer.Context, approval_id: Id, as_json: Json = False) -> None:
    """Show one request in full: exactly what would be run."""
    from gatewayd.cli.ctl.screen import say

    with connect(ctx) as client:
        body = client.fetch("GET", _path(approval_id), scope="approvals")
        approval = client.decode(body, Approval)
        say(pretty_json(body) if as_json else "\n".join(_full(approval, client.now())))


@approvals.command()
def allow(
    ctx: typer.Context,
    approval_id: Id,
    note: Note = None,
    session: Annotated[bool, typer.Option("--session", help="Not only once: for this session, as session_grant says.")] = False,
) -> None:
    """Let the agent run the tool with the input that is shown, once."""
    _decide(ctx, approval_id, _Answer("allow", note, "session" if session else "once"))


@approvals.command()
def deny(ctx: typer.Context, approval_id: Id, note: Note = None) -> None:
    """Refuse the request; the agent is told so."""
    _decide(ctx, approval_id, _Answer("deny", note))


@approvals.command()
def page(ctx: typer.Context, as_json: Json = False) -> None:
    """Print a link to the page on which requests are answered. It works once: treat it as a password."""
    print_link(ctx, "approvals", as_json=as_json)


@approvals.command()
def watch(ctx: typer.Context) -> None:
    """Print each request as it comes and how it ended, until Ctrl-C."""
    follow_approvals(options_of(ctx))


def follow_approvals(options: Options, *, pause: Callable[[float], None] = time.sleep) -> None:
    """Look every second and print what is new. A restart of the daemon is said, and waited out.

    :raises CtlError: the first look fails, the daemon refuses the token, or its answer is not understood.
    """
    from gatewayd.cli.ctl.screen import remark

    known: dict[str, Approval] = {}
    state: Literal["new", "connected", "cut"] = "new"
    try:
        while True:
            try:
                with options.connect() as client:
                    _print_changes(client, known)
                state = "connected"
            except (Unreachable, NotNow) as error:
                if state == "new" or isinstance(error, Misunderstood):
                    raise
                if state == "connected":
                    remark(f"{error} Waiting for it to come back.")
                state = "cut"
            pause(_EVERY_SECONDS)
    except KeyboardInterrupt:
        return


def _print_changes(client: "Client", known: dict[str, Approval]) -> None:
    """Print what is not ``known`` and what has ended, and bring ``known`` up to date with each line."""
    from gatewayd.cli.ctl.screen import say

    waiting = client.get("/v1/approvals", Approvals, params=_PENDING, scope="approvals").approvals
    for gone in known.keys() - {approval.id for approval in waiting}:
        say(_ending(client.get(_path(gone), Approval, scope="approvals")))
        del known[gone]
    for approval in waiting:
        if approval.id not in known:
            say("\n".join(_full(approval, client.now())) + "\n")
            known[approval.id] = approval


def _decide(ctx: typer.Context, approval_id: str, answer: _Answer) -> None:
    from gatewayd.cli.ctl.screen import say

    with connect(ctx) as client:
        say(_ending(client.post(_path(approval_id), answer, Approval, scope="approvals")))


def _path(approval_id: str) -> str:
    from gatewayd.cli.ctl.client import segment

    return f"/v1/approvals/{segment(approval_id)}"


def _ending(approval: Approval) -> str:
    by = f" by {clean(approval.decided_by)}" if approval.decided_by else ""
    if approval.state == "pending":
        by = f", {len(approval.votes)} of {approval.quorum} have allowed it"
    elif approval.scope == "session":
        by += " for this session"
    return f"{clean(approval.id)} {approval.state}{by}: {clean(approval.tool)} {clean(visible(approval.input), at_most=200)}"


def _full(approval: Approval, now: float) -> list[str]:
    """What is shown is what is bound: the input is never shortened, and nothing in it is invisible."""
    lines = [
        f"id       {clean(approval.id)}",
        f"agent    {clean(approval.agent)}",
        f"session  {clean(approval.session_key)}",
        f"tool     {visible(approval.tool)}",
        f"input    {visible(approval.input).replace(chr(10), chr(10) + ' ' * 9)}",
        f"asked    {clock_time(approval.created_at)} ({duration(now - approval.created_at)} ago), from {clean(approval.origin)}",
    ]
    if approval.asked_by:
        lines.append(f"for      {clean(approval.asked_by)}")
    if approval.groups:
        lines.append(f"asks     {clean(', then '.join(approval.groups))}; {approval.quorum} must allow it")
    for vote in approval.votes:
        said = "allowed" if vote.allow else "denied"
        lines.append(f"vote     {said} by {clean(vote.by)}, {clock_time(vote.at)}")
    if approval.state == "pending":
        lines.append(f"state    pending, expires in {duration(approval.expires_at - now)}")
        lines.append(f"answer   gatewayctl approvals allow {clean(approval.id)}")
        lines.append(f"         gatewayctl approvals deny {clean(approval.id)}")
        return lines
    by = f" by {clean(approval.decided_by)}" if approval.decided_by else ""
    at = f", {clock_time(approval.decided_at)}" if approval.decided_at is not None else ""
    lines.append(f"state    {approval.state}{by}{at}" + (", used" if approval.consumed_at is not None else ""))
    if approval.note:
        lines.append(f"note     {clean(approval.note, at_most=2000)}")
    return lines


def _table(waiting: tuple[Approval, ...], now: float, width: int) -> list["Text"]:
    from rich.text import Text

    from gatewayd.cli.ctl.screen import Column, table

    columns = [
        Column("ID", [Text(clean(one.id)) for one in waiting]),
        Column("AGE", [Text(duration(now - one.created_at)) for one in waiting]),
        Column("EXPIRES", [Text(f"in {duration(one.expires_at - now)}") for one in waiting], drop=1),
        Column("AGENT", [Text(clean(one.agent)) for one in waiting], drop=2, least=12),
        Column("TOOL", [Text(clean(visible(one.tool)), style="yellow") for one in waiting], least=10),
        Column("INPUT", [Text(clean(visible(one.input))) for one in waiting], least=16),
    ]
    return table(columns, width)
