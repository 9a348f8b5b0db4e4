"""The table of accounts: the state of each one, since when and why, and its unsent replies."""

from collections.abc import Sequence

from rich.text import Text

from gatewayd.cli.ctl.output.screen import Column, table, wrapped
from gatewayd.cli.ctl.wording import clean, count, duration
from gatewayd.model.status import AccountState, AccountStatus

STYLES: dict[AccountState, str] = {
    "connected": "green",
    "interrupted": "yellow",
    "starting": "cyan",
    "waiting": "yellow",
    "parked": "bold red",
    "stopped": "dim",
    "disabled": "dim",
}
DOWN: frozenset[AccountState] = frozenset({"starting", "interrupted", "waiting", "parked"})
"""The states of an account that should be connected and is not."""


def accounts_table(accounts: Sequence[AccountStatus], *, now: float, width: int) -> list[Text]:
    """One row for each account, in the order of the daemon, with its reason below. ``now`` is the daemon's Unix time."""
    if not accounts:
        return [Text("no accounts are configured")]

    def ages(moments: Sequence[float | None]) -> list[Text]:
        return [Text("-" if at is None else duration(now - at)) for at in moments]

    columns = [
        Column("ACCOUNT", [Text(account_name(one)) for one in accounts], least=16),
        Column("STATE", [Text(one.state, style=STYLES[one.state]) for one in accounts]),
        Column("SINCE", ages([one.since for one in accounts])),
        Column("LAST IN", ages([one.last_inbound_at for one in accounts]), drop=2),
        Column("LAST OUT", ages([one.last_outbound_at for one in accounts]), drop=3),
        Column("PENDING", [_pending(one, now) for one in accounts]),
        Column("RESTARTS", [Text(str(one.restarts)) for one in accounts], drop=5),
    ]
    if any(one.identity for one in accounts):
        columns.append(Column("IDENTITY", [Text(clean(one.identity or "-", at_most=60)) for one in accounts], drop=4, least=10))
    return table(columns, width, details=[_details(one, now, width) for one in accounts])


def account_name(account: AccountStatus) -> str:
    """``channel/account``, as the commands take it."""
    return clean(f"{account.channel}/{account.account}", at_most=130)


def _pending(account: AccountStatus, now: float) -> Text:
    """The number of unsent replies, and the age of the oldest."""
    text = Text(str(account.outbox_depth))
    if account.oldest_pending_at is not None:
        age = now - account.oldest_pending_at
        text.append(f" ({duration(age)})", style="yellow" if age >= 60 else "")
    return text


def _details(account: AccountStatus, now: float, width: int) -> list[Text]:
    parts = [clean(account.reason)] if account.reason else []
    if account.next_attempt_at is not None and account.state == "waiting":
        parts.append(f"next attempt in {duration(account.next_attempt_at - now)}, after {count(account.attempt, 'failure')}")
    if account.next_attempt_at is not None and account.state == "parked":
        parts.append(f"next attempt in {duration(account.next_attempt_at - now)}")
    if account.sends_held_since is not None:
        parts.append(
            f"sends have waited for {duration(now - account.sends_held_since)}: {clean(account.sends_held_reason or '')}"
        )
    parts += [
        f"degraded for {duration(now - lack.since)}: {clean(lack.what)}: {clean(lack.reason)}" for lack in account.lacks[:10]
    ]
    if not parts:
        return []
    return wrapped(Text("; ".join(parts), style="dim" if account.state not in DOWN else ""), width, indent=2)
