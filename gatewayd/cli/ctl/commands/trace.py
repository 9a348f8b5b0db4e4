"""``gatewayctl trace``: what happened to one message."""

from typing import Annotated

import typer

from gatewayd.cli.ctl.connection.options import Json, connect
from gatewayd.cli.ctl.exit_codes import UsageError
from gatewayd.cli.ctl.wording import pretty_json
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
    """Tell what happened to a message, when and why, from its receipt to what became of its reply."""
    from gatewayd.cli.ctl.connection.client import segments
    from gatewayd.cli.ctl.output.screen import console, print_lines, print_text
    from gatewayd.cli.ctl.output.trace_view import trace_lines

    if not message_id:
        raise UsageError("Which message? gatewayctl trace in-12, or another ID: gatewayctl trace --help.")
    with connect(ctx) as client:
        body = client.fetch("GET", f"/v1/messages/{segments(message_id)}", scope="read")
        found = client.decode(body, Trace)
    if as_json:
        print_text(pretty_json(body))
        return
    target = console()
    print_lines(trace_lines(found, target.width), on=target)
