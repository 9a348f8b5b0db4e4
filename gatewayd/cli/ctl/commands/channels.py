"""``gatewayctl channels``: the accounts."""

from typing import TYPE_CHECKING, Annotated

import typer

from gatewayd.cli.ctl.commands.answer import print_answer
from gatewayd.cli.ctl.connection.options import Json, options_of
from gatewayd.cli.ctl.exit_codes import UsageError
from gatewayd.model.operator_api import AccountList, ChooseAccounts

if TYPE_CHECKING:
    from rich.text import Text

channels = typer.Typer(help="List, start, stop and restart accounts.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="CHANNEL[/ACCOUNT]", help="One account, or every account of the channel.")]


@channels.command("list")
def list_accounts(ctx: typer.Context, as_json: Json = False) -> None:
    """List all accounts and their states."""
    print_answer(options_of(ctx), "/v1/channels", AccountList, _table, scope="read", as_json=as_json)


@channels.command()
def start(ctx: typer.Context, name: Name) -> None:
    """Start an account that is stopped or parked."""
    _order(ctx, name, "start")


@channels.command()
def stop(ctx: typer.Context, name: Name) -> None:
    """Stop an account. The replies in its outbox are kept."""
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
    chosen = ChooseAccounts(account or None)
    print_answer(options_of(ctx), f"/v1/channels/{segment(channel)}/{verb}", AccountList, _table, post=chosen, scope="admin")


def _table(answer: AccountList, now: float, width: int) -> "list[Text]":
    from gatewayd.cli.ctl.output.accounts_view import accounts_table

    return accounts_table(answer.accounts, now=now, width=width)
