"""``gatewayctl route``: the agent and session of a message that is not sent, and who may talk there."""

from collections.abc import Iterator
from typing import Annotated

import typer

from gatewayd.cli.ctl.commands.answer import print_answer
from gatewayd.cli.ctl.connection.options import Json, options_of
from gatewayd.cli.ctl.wording import clean
from gatewayd.model.message.route import Explained


def _peer(text: str) -> str:
    kind, colon, peer_id = text.partition(":")
    if kind not in ("dm", "group", "channel") or not colon or not peer_id:
        raise typer.BadParameter("a peer is dm:ID, group:ID or channel:ID, for example dm:4711")
    return text


def _given(text: str | None) -> str | None:
    if text == "":
        raise typer.BadParameter("it is empty")
    return text


def route(
    ctx: typer.Context,
    channel: Annotated[str, typer.Option(callback=_given, help="The channel, e.g. telegram.")],
    account: Annotated[str, typer.Option(callback=_given, help="The account's name.")],
    peer: Annotated[str, typer.Option(metavar="KIND:ID", callback=_peer, help="dm:ID, group:ID or channel:ID.")],
    thread: Annotated[str | None, typer.Option(callback=_given, help="The id of a thread or topic in the peer.")] = None,
    guild: Annotated[str | None, typer.Option(callback=_given, help="The id of the Discord server.")] = None,
    team: Annotated[str | None, typer.Option(callback=_given, help="The id of the Slack team.")] = None,
    sender: Annotated[str | None, typer.Option(callback=_given, help="Whether this sender may talk there, by id.")] = None,
    as_json: Json = False,
) -> None:
    """Show the agent, session and rule for a message, and who may talk there. Nothing is sent."""
    given = {
        "channel": channel,
        "account": account,
        "peer": peer,
        "thread": thread,
        "guild": guild,
        "team": team,
        "sender": sender,
    }
    params = {key: value for key, value in given.items() if value is not None}

    def lines(found: Explained, now: float, width: int) -> Iterator[str]:
        yield f"agent        {clean(found.agent_id)}"
        yield f"session key  {clean(found.session_key)}"
        yield f"rule         {_rule(found)}"
        if found.who:
            yield f"may talk     {clean(found.who)}"
        if sender and found.verdict:
            yield f"sender       {clean(sender)}: {_verdict(found)}"

    print_answer(options_of(ctx), "/v1/gateway/route", Explained, lines, params=params, scope="read", as_json=as_json)


def _rule(found: Explained) -> str:
    if found.binding is not None:
        return f"{found.rule} (number {found.binding + 1} of [[bindings]])"
    return "group: its own agent" if found.rule == "group" else "default: no binding matches"


def _verdict(found: Explained) -> str:
    said = {"admit": "may talk", "pair": "is asked to pair", None: ""}.get(found.verdict, f"may not talk ({found.reason})")
    return f"{said}, by {clean(found.decided_by)}" if found.decided_by else said
