"""``gatewayctl pairing``: strangers who ask to talk to the agent, and those who may."""

from collections.abc import Sequence
from typing import Annotated, Literal

import typer

from gatewayd.cli.ctl.connection.options import Json, connect
from gatewayd.cli.ctl.wording import duration, one_line, pretty_json
from gatewayd.model.operator_api import DecidePairing, PairingList, Request, RevokePairing
from gatewayd.model.records.pairing import PairingRow

pairing = typer.Typer(help="Admit, refuse and remove people who write to the agent.", no_args_is_help=True, rich_markup_mode=None)

Code = Annotated[str, typer.Argument(metavar="CODE", help="The code that the stranger was given.")]


@pairing.command("list")
def list_pairings(ctx: typer.Context, as_json: Json = False) -> None:
    """List who asks to be admitted, and who is."""
    from rich.text import Text

    from gatewayd.cli.ctl.output.screen import Column, console, print_lines, print_text, table

    with connect(ctx) as client:
        body = client.fetch("GET", "/v1/pairing", scope="pairing")
        answer = client.decode(body, PairingList)
        now = client.now()
    if as_json:
        print_text(pretty_json(body))
        return

    def common(rows: Sequence[PairingRow]) -> list[Column]:
        return [
            Column("ACCOUNT", [Text(one_line(f"{row.channel}/{row.account}")) for row in rows], least=16),
            Column("SENDER", [Text(one_line(row.sender_id)) for row in rows], least=10),
            Column("NAME", [Text(one_line(row.sender_name or "-")) for row in rows], least=10, drop=2),
        ]

    target = console()
    if pending := answer.pending:
        codes = Column("CODE", [Text(one_line(row.code), style="yellow") for row in pending])
        expires = Column("EXPIRES", [Text(f"in {duration(row.expires_at - now)}") for row in pending], drop=1)
        print_lines(table([codes, *common(pending), expires], target.width), on=target)
        print_text("\nadmit one whose code you were told by that person: gatewayctl pairing approve CODE")
    else:
        print_text("nobody is waiting")
    if paired := answer.paired:
        since = Column(
            "SINCE", [Text("-" if row.decided_at is None else duration(now - row.decided_at)) for row in paired], drop=1
        )
        by = Column("BY", [Text(one_line(row.decided_by or "-")) for row in paired], drop=3)
        print_text("\nadmitted:")
        print_lines(table([*common(paired), since, by], target.width), on=target)


@pairing.command()
def approve(ctx: typer.Context, code: Code) -> None:
    """Admit the person who was given this code."""
    _decide(ctx, code, "approve", "admitted")


@pairing.command()
def deny(ctx: typer.Context, code: Code) -> None:
    """Refuse the person who was given this code."""
    _decide(ctx, code, "deny", "refused")


@pairing.command()
def revoke(
    ctx: typer.Context,
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="The channel, e.g. telegram.")],
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's name.")],
    sender: Annotated[str, typer.Argument(metavar="SENDER", help="The sender's id, as `pairing list` shows it.")],
) -> None:
    """Take back an admission."""
    from gatewayd.cli.ctl.output.screen import print_text

    with connect(ctx) as client:
        client.post("/v1/pairing/revoke", RevokePairing(channel, account, sender), Request, scope="pairing")
    print_text(f"{one_line(sender)} may not talk to {one_line(channel)}/{one_line(account)} any more")


def _decide(ctx: typer.Context, code: str, decision: Literal["approve", "deny"], done: str) -> None:
    from gatewayd.cli.ctl.connection.client import segment
    from gatewayd.cli.ctl.output.screen import print_text

    with connect(ctx) as client:
        row = client.post(f"/v1/pairing/{segment(code)}", DecidePairing(decision), PairingRow, scope="pairing")
    name = f" ({one_line(row.sender_name)})" if row.sender_name else ""
    print_text(f"{done}: {one_line(row.sender_id)}{name} on {one_line(row.channel)}/{one_line(row.account)}")
