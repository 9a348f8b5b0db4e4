"""``gatewayctl trace``: what happened to one message."""

from typing import Annotated

import typer

from gatewayd.cli.ctl.commands.answer import print_answer
from gatewayd.cli.ctl.connection.options import Json, options_of
from gatewayd.cli.ctl.exit_codes import UsageError
from gatewayd.model.records.trace import Trace


def trace(
    ctx: typer.Context,
    message_id: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="in-12, out-7, a turn, an approval or question, the platform's id of the message (telegram/main/12),"
            " an event key or a session key.",
        ),
    ],
    as_json: Json = False,
) -> None:
    """Show what happened to a message, when and why, from its receipt to the end of its reply."""
    from gatewayd.cli.ctl.connection.client import segments
    from gatewayd.cli.ctl.output.trace_view import trace_lines

    if not message_id:
        raise UsageError("Which message? gatewayctl trace in-12, or another ID: gatewayctl trace --help.")
    path = f"/v1/messages/{segments(message_id)}"
    print_answer(options_of(ctx), path, Trace, trace_lines, scope="read", as_json=as_json)
