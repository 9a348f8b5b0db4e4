"""``gatewayctl webchat``: letting somebody into the chat page, and out of it."""

import re
from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from gatewayd.cli.ctl.connection.options import Json, connect
from gatewayd.cli.ctl.exit_codes import UsageError
from gatewayd.cli.ctl.wording import clean, count, duration, one_line, pretty_json
from gatewayd.model.config import Name
from gatewayd.model.operator_api import MakeWebchatLink, RevokeWebchat, WebchatLink, WebchatSession, WebchatSessions

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


webchat = typer.Typer(help="Let somebody into the chat page, and out of it.", no_args_is_help=True, rich_markup_mode=None)


@webchat.command()
def link(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Option(callback=_name, help="Who will be talking: a-z, 0-9, _ and -. [default: owner]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print a login link for the chat page. It works once: treat it as a password."""
    from gatewayd.cli.ctl.output.screen import print_note, print_text

    with connect(ctx) as client:
        body = client.fetch("POST", "/v1/webchat/links", body=MakeWebchatLink(name or "owner"), scope="admin")
        made = client.decode(body, WebchatLink)
        left = made.expires_at - client.now()
    if as_json:
        print_text(pretty_json(body))
        return
    print_text(clean(made.url, at_most=2000))
    print_note(f"for {clean(name or 'owner')}, works once, within {duration(left)}")


@webchat.command("sessions")
def list_sessions(ctx: typer.Context, as_json: Json = False) -> None:
    """List who is logged in to the chat page."""
    from rich.text import Text

    from gatewayd.cli.ctl.output.screen import Column, console, print_lines, print_note, print_text, table

    with connect(ctx) as client:
        body = client.fetch("GET", "/v1/webchat/sessions", scope="admin")
        answer = client.decode(body, WebchatSessions)
        now = client.now()
    if as_json:
        print_text(pretty_json(body))
        return
    if answer.sessions:
        columns = [
            Column("ID", [Text(one_line(each.id)) for each in answer.sessions]),
            Column("NAME", [Text(one_line(each.name)) for each in answer.sessions], least=10),
            Column("SINCE", [Text(duration(now - each.created_at)) for each in answer.sessions], drop=1),
            Column("ENDS", [Text(f"in {duration(each.expires_at - now)}") for each in answer.sessions], drop=2),
            Column("PAGES", [Text(str(each.pages)) for each in answer.sessions], drop=3),
        ]
        target = console()
        print_lines(table(columns, target.width), on=target)
    else:
        print_text("nobody is logged in")
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
    """End a login, or all of a name, with the pages that are open."""
    from gatewayd.cli.ctl.output.screen import print_text

    if (session is None) == (name is None):
        raise UsageError("Say whose: gatewayctl webchat revoke ID, or gatewayctl webchat revoke --name NAME.")
    with connect(ctx) as client:
        body = client.fetch("POST", "/v1/webchat/revoke", body=RevokeWebchat(session, name), scope="admin")
        ended = client.decode(body, WebchatSessions)
    print_text(pretty_json(body) if as_json else _said(ended.sessions, ended.links))


def _said(ended: Sequence[WebchatSession], links: int) -> str:
    lines = [f"ended: {one_line(each.id)} ({one_line(each.name)})" for each in ended]
    return "\n".join([*lines, f"taken back: {count(links, 'link')}"] if links or not lines else lines)
