"""``gatewayctl webchat``: logins of the chat page."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from gatewayd.channels.webchat.api import Link, MakeLink, Revoke, Sessions
from gatewayd.cli.ctl.commands.answer import print_answer
from gatewayd.cli.ctl.commands.console import link_lines
from gatewayd.cli.ctl.connection.options import Json, options_of
from gatewayd.cli.ctl.exit_codes import UsageError
from gatewayd.cli.ctl.wording import clean, count, duration, one_line
from gatewayd.model.config import Name

if TYPE_CHECKING:
    from rich.text import Text

_LOGIN = re.compile("[0-9a-f]{12}")


def _name(text: str | None) -> str | None:
    try:
        return None if text is None else msgspec.convert(text, Name)
    except msgspec.ValidationError:
        raise typer.BadParameter(f"{clean(text or '')!r} is not a name of a-z, 0-9, _ and -") from None


def _login(text: str | None) -> str | None:
    if text is not None and not _LOGIN.fullmatch(text):
        raise typer.BadParameter(f"{clean(text)!r} is not the ID of a login; gatewayctl webchat sessions lists them")
    return text


webchat = typer.Typer(help="Make, list and end logins of the chat page.", no_args_is_help=True, rich_markup_mode=None)


@webchat.command()
def link(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Option(callback=_name, help="Who will be talking: a-z, 0-9, _ and -. [default: owner]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print a login link for the chat page. It works once: treat it as a password."""
    wanted = MakeLink(name or "owner")

    def lines(link: Link, now: float, width: int) -> Iterator[str]:
        return link_lines(link, now, prefix=f"for {wanted.name}, ")

    print_answer(options_of(ctx), "/v1/webchat/links", Link, lines, post=wanted, scope="admin", as_json=as_json)


@webchat.command("sessions")
def list_sessions(ctx: typer.Context, as_json: Json = False) -> None:
    """List the logins of the chat page."""
    print_answer(options_of(ctx), "/v1/webchat/sessions", Sessions, _logins, scope="admin", as_json=as_json)


def _logins(answer: Sessions, now: float, width: int) -> "Iterator[Text | str]":
    from rich.text import Text

    from gatewayd.cli.ctl.output.screen import Column, print_note, table

    columns = [
        Column("ID", [Text(one_line(each.id)) for each in answer.sessions]),
        Column("NAME", [Text(one_line(each.name)) for each in answer.sessions], least=10),
        Column("SINCE", [Text(duration(now - each.created_at)) for each in answer.sessions], drop=1),
        Column("ENDS", [Text(f"in {duration(each.expires_at - now)}") for each in answer.sessions], drop=2),
        Column("PAGES", [Text(str(each.pages)) for each in answer.sessions], drop=3),
    ]
    yield from table(columns, width) if answer.sessions else ["nobody is logged in"]
    if answer.links:
        print_note(f"{count(answer.links, 'link')} not used yet")


@webchat.command()
def revoke(
    ctx: typer.Context,
    session: Annotated[
        str | None, typer.Argument(metavar="ID", callback=_login, help="The login, as `webchat sessions` shows it.")
    ] = None,
    name: Annotated[str | None, typer.Option(callback=_name, help="All logins of this name, and the links made for it.")] = None,
    as_json: Json = False,
) -> None:
    """End a login, or all logins of a name. Open pages end, too."""
    if (session is None) == (name is None):
        raise UsageError("Which login? gatewayctl webchat revoke ID, or gatewayctl webchat revoke --name NAME.")
    wanted = Revoke(session, name)
    print_answer(options_of(ctx), "/v1/webchat/revoke", Sessions, _ended, post=wanted, scope="admin", as_json=as_json)


def _ended(ended: Sessions, now: float, width: int) -> Iterator[str]:
    for each in ended.sessions:
        yield f"ended: {one_line(each.id)} ({one_line(each.name)})"
    if ended.links or not ended.sessions:
        yield f"revoked: {count(ended.links, 'link')}"
