"""``gatewayctl console``: links to the pages of the console."""

from collections.abc import Iterator
from typing import Annotated

import typer

from gatewayd.cli.ctl.commands.answer import print_answer
from gatewayd.cli.ctl.connection.options import Json, options_of
from gatewayd.cli.ctl.wording import clean, duration
from gatewayd.model.config import Scope
from gatewayd.model.operator_api import ConsolePage, LoginLink, MakeConsoleLink


def console(
    ctx: typer.Context,
    page: Annotated[ConsolePage, typer.Argument(metavar="PAGE", help="approvals, dead-letters or trace.")] = "approvals",
    as_json: Json = False,
) -> None:
    """Print a link to a page of the console. It works once: treat it as a password."""
    print_link(ctx, page, as_json=as_json)


def print_link(ctx: typer.Context, page: ConsolePage, *, as_json: bool) -> None:
    """The link alone on stdout, and its lifetime on stderr."""

    def lines(link: LoginLink, now: float, width: int) -> Iterator[str]:
        return link_lines(link, now)

    scope: Scope = "approvals" if page == "approvals" else "read"
    wanted = MakeConsoleLink(page)
    print_answer(options_of(ctx), "/v1/console/links", LoginLink, lines, post=wanted, scope=scope, as_json=as_json)


def link_lines(link: LoginLink, now: float, *, prefix: str = "") -> Iterator[str]:
    """The link, and a note on stderr with its lifetime. The note begins with ``prefix``."""
    from gatewayd.cli.ctl.output.screen import print_note

    yield clean(link.url, at_most=2000)
    print_note(f"{prefix}works once, within {duration(link.expires_at - now)}")
