"""``gatewayctl route``: which agent and session a message would go to, without sending one."""

from typing import Annotated

import typer

from gatewayd.cli.ctl.options import Json, connect
from gatewayd.cli.ctl.wording import clean, pretty_json
from gatewayd.model.route import Route


def _peer(text: str) -> str:
    kind, colon, peer_id = text.partition(":")
    if kind not in ("dm", "group", "channel") or not colon or not peer_id:
        raise typer.BadParameter("a peer is dm:ID, group:ID or channel:ID, for example dm:4711")
    return text


def route(
    ctx: typer.Context,
    channel: Annotated[str, typer.Option(help="The channel, e.g. telegram.")],
    account: Annotated[str, typer.Option(help="The account's name.")],
    peer: Annotated[str, typer.Option(metavar="KIND:ID", callback=_peer, help="dm:ID, group:ID or channel:ID.")],
    thread: Annotated[str | None, typer.Option(help="The id of a thread or topic in the peer.")] = None,
    guild: Annotated[str | None, typer.Option(help="The id of the Discord server.")] = None,
    team: Annotated[str | None, typer.Option(help="The id of the Slack team.")] = None,
    as_json: Json = False,
) -> None:
    """Say which agent and session a message would go to, and by which rule. Nothing is sent."""
    from gatewayd.cli.ctl.screen import say

    given = {"channel": channel, "account": account, "peer": peer, "thread": thread, "guild": guild, "team": team}
    params = {key: value for key, value in given.items() if value is not None}
    with connect(ctx) as client:
        body = client.fetch("GET", "/v1/gateway/route", params=params, scope="read")
        found = client.decode(body, Route)
    if as_json:
        say(pretty_json(body))
        return
    rule = (
        "default: no binding matches" if found.binding is None else f"{found.rule} (number {found.binding + 1} of [[bindings]])"
    )
    say(f"agent        {clean(found.agent_id)}\nsession key  {clean(found.session_key)}\nrule         {rule}")
