"""``gatewayctl webchat``: letting somebody into the chat page."""

from typing import Annotated

import typer
from msgspec import Struct

from gatewayd.cli.ctl.options import Json, connect
from gatewayd.cli.ctl.wording import clean, duration, pretty_json

webchat = typer.Typer(help="Let somebody into the chat page.", no_args_is_help=True, rich_markup_mode=None)


class Link(Struct, frozen=True):
    url: str
    expires_at: float


class _Who(Struct, frozen=True, omit_defaults=True):
    name: str | None = None


@webchat.callback()
def group() -> None:
    """Keeps `link` a command of its own while it is the only one."""


@webchat.command()
def link(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Option(help="Who will be talking: a-z, 0-9, _ and -. [default: owner]")] = None,
    as_json: Json = False,
) -> None:
    """Print a login link for the chat page. It works once: treat it as a password."""
    from gatewayd.cli.ctl.screen import remark, say

    with connect(ctx) as client:
        body = client.fetch("POST", "/v1/webchat/links", body=_Who(name), scope="admin")
        made = client.decode(body, Link)
        left = made.expires_at - client.now()
    if as_json:
        say(pretty_json(body))
        return
    say(clean(made.url, at_most=2000))
    remark(f"for {clean(name or 'owner')}, works once, within {duration(left)}")
