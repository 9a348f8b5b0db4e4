"""``gatewayctl console``: the way into the pages in the browser."""

from typing import Annotated, Literal

import typer

from gatewayd.cli.ctl.connection.options import Json, connect
from gatewayd.cli.ctl.wording import clean, duration, pretty_json
from gatewayd.model.operator_api import ConsolePage, LoginLink, MakeConsoleLink


def console(
    ctx: typer.Context,
    page: Annotated[ConsolePage, typer.Argument(metavar="PAGE", help="approvals, dead-letters or trace.")] = "approvals",
    as_json: Json = False,
) -> None:
    """Print a link to a page of the console. It works once: treat it as a password."""
    print_link(ctx, page, as_json=as_json)


def print_link(ctx: typer.Context, page: ConsolePage, *, as_json: bool) -> None:
    """The link alone on stdout, how long it is good for on stderr."""
    from gatewayd.cli.ctl.output.screen import print_note, print_text

    with connect(ctx) as client:
        scope: Literal["approvals", "read"] = "approvals" if page == "approvals" else "read"
        body = client.fetch("POST", "/v1/console/links", body=MakeConsoleLink(page), scope=scope)
        made = client.decode(body, LoginLink)
        left = made.expires_at - client.now()
    if as_json:
        print_text(pretty_json(body))
        return
    print_text(clean(made.url, at_most=2000))
    print_note(f"works once, within {duration(left)}")
