"""``gatewayctl channels``: the life of accounts."""

from typing import TYPE_CHECKING, Annotated

import typer

from gatewayd.cli.ctl.connection.options import Json, connect
from gatewayd.cli.ctl.exit_codes import UsageError
from gatewayd.model.operator_api import AccountList, ChooseAccounts

if TYPE_CHECKING:
    from gatewayd.cli.ctl.connection.client import Client

channels = typer.Typer(help="List, start, stop and restart accounts.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="CHANNEL[/ACCOUNT]", help="One account, or every account of the channel.")]


@channels.command("list")
def list_accounts(ctx: typer.Context, as_json: Json = False) -> None:
    """List all accounts and their states."""
    from gatewayd.cli.ctl.output.screen import print_text
    from gatewayd.cli.ctl.wording import pretty_json

    with connect(ctx) as client:
        body = client.fetch("GET", "/v1/channels", scope="read")
        answer = client.decode(body, AccountList)
        if as_json:
            print_text(pretty_json(body))
            return
        _show(client, answer)


@channels.command()
def start(ctx: typer.Context, name: Name) -> None:
    """Start an account that is stopped or parked."""
    _order(ctx, name, "start")


@channels.command()
def stop(ctx: typer.Context, name: Name) -> None:
    """Stop an account. What waits in its outbox is kept."""
    _order(ctx, name, "stop")


@channels.command()
def restart(ctx: typer.Context, name: Name) -> None:
    """Stop an account and start it again."""
    _order(ctx, name, "restart")


def _order(ctx: typer.Context, name: str, verb: str) -> None:
    from gatewayd.cli.ctl.connection.client import segment

    channel, _, account = name.partition("/")
    if not channel or (name.endswith("/") and not account):
        raise UsageError(f"{name!r} names no account. It looks like telegram/main, or telegram for all of the channel.")
    with connect(ctx) as client:
        body = ChooseAccounts(account or None)
        _show(client, client.post(f"/v1/channels/{segment(channel)}/{verb}", body, AccountList, scope="admin"))


def _show(client: "Client", answer: AccountList) -> None:
    from gatewayd.cli.ctl.output.accounts_view import accounts_table
    from gatewayd.cli.ctl.output.screen import console, print_lines

    target = console()
    print_lines(accounts_table(answer.accounts, now=client.now(), width=target.width), on=target)
