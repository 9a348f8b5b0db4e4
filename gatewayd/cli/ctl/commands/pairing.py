"""``gatewayctl pairing``: strangers who ask to talk with an agent, and people who may."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gatewayd.cli.ctl.commands.answer import print_answer
from gatewayd.cli.ctl.connection.options import Json, options_of
from gatewayd.cli.ctl.wording import duration, one_line
from gatewayd.model.operator_api import DecidePairing, PairingList, Request, RevokePairing
from gatewayd.model.records.pairing import PairingRow

if TYPE_CHECKING:
    from rich.text import Text

pairing = typer.Typer(help="Admit, deny and remove people who write to an agent.", no_args_is_help=True, rich_markup_mode=None)

Code = Annotated[str, typer.Argument(metavar="CODE", help="The code that the stranger was given.")]


@pairing.command("list")
def list_pairings(ctx: typer.Context, as_json: Json = False) -> None:
    """List the strangers who ask, and the people who are admitted."""
    print_answer(options_of(ctx), "/v1/pairing", PairingList, _lists, scope="pairing", as_json=as_json)


def _lists(answer: PairingList, now: float, width: int) -> "Iterator[Text | str]":
    from rich.text import Text

    from gatewayd.cli.ctl.output.screen import Column, table

    def common(rows: Sequence[PairingRow]) -> list[Column]:
        return [
            Column("ACCOUNT", [Text(one_line(f"{row.channel}/{row.account}")) for row in rows], least=16),
            Column("SENDER", [Text(one_line(row.sender_id)) for row in rows], least=10),
            Column("NAME", [Text(one_line(row.sender_name or "-")) for row in rows], least=10, drop=2),
        ]

    if pending := answer.pending:
        codes = Column("CODE", [Text(one_line(row.code), style="yellow") for row in pending])
        expires = Column("EXPIRES", [Text(f"in {duration(row.expires_at - now)}") for row in pending], drop=1)
        yield from table([codes, *common(pending), expires], width)
        yield "\nadmit a person who gave you this code: gatewayctl pairing approve CODE"
    else:
        yield "nobody is waiting"
    if paired := answer.paired:
        ages = ["-" if row.decided_at is None else duration(now - row.decided_at) for row in paired]
        by = Column("BY", [Text(one_line(row.decided_by or "-")) for row in paired], drop=3)
        yield "\nadmitted:"
        yield from table([*common(paired), Column("SINCE", [Text(age) for age in ages], drop=1), by], width)


@pairing.command()
def approve(ctx: typer.Context, code: Code) -> None:
    """Admit the person who was given this code."""
    _decide(ctx, code, "approve", "admitted")


@pairing.command()
def deny(ctx: typer.Context, code: Code) -> None:
    """Deny the person who was given this code."""
    _decide(ctx, code, "deny", "refused")


@pairing.command()
def revoke(
    ctx: typer.Context,
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="The channel, e.g. telegram.")],
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's name.")],
    sender: Annotated[str, typer.Argument(metavar="SENDER", help="The sender's id, as `pairing list` shows it.")],
) -> None:
    """Revoke an admission."""

    def lines(answer: Request, now: float, width: int) -> list[str]:
        return [f"{one_line(sender)} may not talk to {one_line(channel)}/{one_line(account)} any more"]

    wanted = RevokePairing(channel, account, sender)
    print_answer(options_of(ctx), "/v1/pairing/revoke", Request, lines, post=wanted, scope="pairing")


def _decide(ctx: typer.Context, code: str, decision: Literal["approve", "deny"], done: str) -> None:
    from gatewayd.cli.ctl.connection.client import segment

    def lines(row: PairingRow, now: float, width: int) -> list[str]:
        name = f" ({one_line(row.sender_name)})" if row.sender_name else ""
        return [f"{done}: {one_line(row.sender_id)}{name} on {one_line(row.channel)}/{one_line(row.account)}"]

    path = f"/v1/pairing/{segment(code)}"
    print_answer(options_of(ctx), path, PairingRow, lines, post=DecidePairing(decision), scope="pairing")
