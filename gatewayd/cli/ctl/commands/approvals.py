"""``gatewayctl approvals``: tool requests that wait for an operator."""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gatewayd.cli.ctl.commands.answer import print_answer
from gatewayd.cli.ctl.commands.console import print_link
from gatewayd.cli.ctl.connection.options import Json, Options, options_of
from gatewayd.cli.ctl.exit_codes import IncompatibleResponse, TemporaryError, Unreachable
from gatewayd.cli.ctl.wording import clock_time, count, duration, one_line
from gatewayd.model.operator_api import ApprovalList, DecideApproval
from gatewayd.model.records.approval import Approval

if TYPE_CHECKING:
    from rich.text import Text

    from gatewayd.cli.ctl.connection.client import Client

approvals = typer.Typer(
    help="See and answer tool requests that wait for an operator.", no_args_is_help=True, rich_markup_mode=None
)

Id = Annotated[str, typer.Argument(metavar="ID", help="The approval's id or code, as `approvals list` shows it.")]
Note = Annotated[str | None, typer.Option("--note", help="A text for the agent, stored with the decision.")]

_EVERY_SECONDS = 1.0
_PENDING = {"state": "pending", "limit": "1000"}


@approvals.command("list")
def list_approvals(ctx: typer.Context, as_json: Json = False) -> None:
    """List the requests that wait, the oldest first."""
    options = options_of(ctx)
    print_answer(options, "/v1/approvals", ApprovalList, _list, params=_PENDING, scope="approvals", as_json=as_json)


@approvals.command("show")
def show_approval(ctx: typer.Context, approval_id: Id, as_json: Json = False) -> None:
    """Show one request in full: exactly what would run."""
    print_answer(options_of(ctx), _path(approval_id), Approval, _full, scope="approvals", as_json=as_json)


@approvals.command()
def allow(
    ctx: typer.Context,
    approval_id: Id,
    note: Note = None,
    session: Annotated[bool, typer.Option("--session", help="For this session, as session_grant says.")] = False,
) -> None:
    """Let the agent run the tool with the input that is shown, once."""
    _decide(ctx, approval_id, DecideApproval("allow", note, "session" if session else "once"))


@approvals.command()
def deny(ctx: typer.Context, approval_id: Id, note: Note = None) -> None:
    """Deny the request. The agent is told so."""
    _decide(ctx, approval_id, DecideApproval("deny", note))


@approvals.command()
def page(ctx: typer.Context, as_json: Json = False) -> None:
    """Print a link to the page of requests. It works once: treat it as a password."""
    print_link(ctx, "approvals", as_json=as_json)


@approvals.command()
def watch(ctx: typer.Context) -> None:
    """Print each new request and how it ended, until Ctrl-C."""
    follow_approvals(options_of(ctx))


def follow_approvals(options: Options, *, pause: Callable[[float], None] = time.sleep) -> None:
    """Ask every second and print what is new. During a restart of the daemon it waits, and says so.

    :raises CtlError: the first request fails, the daemon rejects the token, or its response cannot be decoded.
    """
    from gatewayd.cli.ctl.output.screen import print_note

    known: dict[str, Approval] = {}
    state: Literal["new", "connected", "cut"] = "new"
    try:
        while True:
            try:
                with options.connect() as client:
                    _print_changes(client, known)
                state = "connected"
            except (Unreachable, TemporaryError) as error:
                if state == "new" or isinstance(error, IncompatibleResponse):
                    raise
                if state == "connected":
                    print_note(f"{error} Waiting for it to come back.")
                state = "cut"
            pause(_EVERY_SECONDS)
    except KeyboardInterrupt:
        return


def _print_changes(client: "Client", known: dict[str, Approval]) -> None:
    """Print the requests that are not ``known`` and those that have ended. Each printed line updates ``known``."""
    from gatewayd.cli.ctl.output.screen import console, print_text

    waiting = client.get("/v1/approvals", ApprovalList, params=_PENDING, scope="approvals").approvals
    for gone in known.keys() - {approval.id for approval in waiting}:
        print_text(_ending(client.get(_path(gone), Approval, scope="approvals")))
        del known[gone]
    for approval in waiting:
        if approval.id not in known:
            print_text("\n".join(_full(approval, client.now(), console().width)) + "\n")
            known[approval.id] = approval


def _decide(ctx: typer.Context, approval_id: str, decision: DecideApproval) -> None:
    print_answer(options_of(ctx), _path(approval_id), Approval, _decided, post=decision, scope="approvals")


def _decided(approval: Approval, now: float, width: int) -> list[str]:
    return [_ending(approval)]


def _path(approval_id: str) -> str:
    from gatewayd.cli.ctl.connection.client import segment

    return f"/v1/approvals/{segment(approval_id)}"


def _ending(approval: Approval) -> str:
    by = f" by {one_line(approval.decided_by)}" if approval.decided_by else ""
    if approval.state == "pending":
        by = f", {count(len(approval.votes), 'vote')} so far, {approval.quorum} must allow it"
    elif approval.scope == "session":
        by += f" for this session ({approval.for_session(one_line(approval.tool))})"
    return f"{one_line(approval.id)} {approval.state}{by}: {one_line(approval.tool)} {one_line(approval.input, at_most=200)}"


def _full(approval: Approval, now: float, width: int) -> list[str]:
    """The decision is for exactly this text: the input is never shortened, nothing in it is invisible, and no text looks like
    another field."""
    from gatewayd.cli.ctl.output.screen import field

    return [line for label, text in _fields(approval, now) for line in field(label, text, width=width)]


def _fields(approval: Approval, now: float) -> Iterator[tuple[str, str]]:
    yield "id", approval.id
    yield "agent", approval.agent
    yield "session", approval.session_key
    yield "tool", approval.tool
    yield "input", approval.input
    yield "asked", f"{clock_time(approval.created_at)} ({duration(now - approval.created_at)} ago), from {approval.origin}"
    if approval.asked_by:
        yield "for", approval.asked_by
    if approval.groups:
        yield "asks", f"{', then '.join(approval.groups)}; {approval.quorum} must allow it"
    for vote in approval.votes:
        yield "vote", f"{'allowed' if vote.allow else 'denied'} by {vote.by}, {clock_time(vote.at)}"
    if approval.state == "pending":
        yield "state", f"pending, expires in {duration(approval.expires_at - now)}"
        yield "answer", f"gatewayctl approvals allow {approval.id}"
        if approval.session_grant != "off":
            yield "", f"gatewayctl approvals allow --session {approval.id}"
            yield "", f"  (for this session: {approval.for_session(one_line(approval.tool))})"
        yield "", f"gatewayctl approvals deny {approval.id}"
        return
    session = f" for this session ({approval.for_session(one_line(approval.tool))})" if approval.scope == "session" else ""
    by = f" by {approval.decided_by}" if approval.decided_by else ""
    at = f", {clock_time(approval.decided_at)}" if approval.decided_at is not None else ""
    yield "state", f"{approval.state}{session}{by}{at}" + (", used" if approval.consumed_at is not None else "")
    if approval.note:
        yield "note", approval.note


def _list(answer: ApprovalList, now: float, width: int) -> "list[Text | str]":
    if not answer.approvals:
        return ["no approvals are waiting"]
    help_line = "\nsee one in full: gatewayctl approvals show ID   answer it: gatewayctl approvals allow|deny ID"
    return [*_table(answer.approvals, now, width), help_line]


def _table(waiting: tuple[Approval, ...], now: float, width: int) -> list["Text"]:
    from rich.text import Text

    from gatewayd.cli.ctl.output.screen import Column, table

    columns = [
        Column("ID", [Text(one_line(one.id)) for one in waiting]),
        Column("AGE", [Text(duration(now - one.created_at)) for one in waiting]),
        Column("EXPIRES", [Text(f"in {duration(one.expires_at - now)}") for one in waiting], drop=1),
        Column("AGENT", [Text(one_line(one.agent)) for one in waiting], drop=2, least=12),
        Column("TOOL", [Text(one_line(one.tool), style="yellow") for one in waiting], least=10),
        Column("INPUT", [Text(one_line(one.input)) for one in waiting], least=16),
    ]
    return table(columns, width)
