"""Presses that were lost: what must hold of the requests and questions that waited for them."""

import math
from collections import Counter
from typing import TYPE_CHECKING, Final

from gatewayd.hub.approvals.shown import SHOWN_ANEW_MAX
from gatewayd.model.message.payload import SendText
from tests.simulation.checks.ledger import Ledger, OutRow
from tests.simulation.outside.platforms import Account
from tests.simulation.trace import Violation

if TYPE_CHECKING:
    from tests.simulation.world import World

_SURELY_SECONDS: Final = 5.0
"""In this time a daemon that lives has shown a prompt anew, if its disk is well and not slow."""


def check_presses(world: "World", ledger: Ledger) -> None:
    """:raises Violation:"""
    ended = {row.id: row.decided_at for row in ledger.asked} | {row.id: row.ended_at for row in ledger.questions}
    for account in world.accounts.values():
        prompts = [row for row in _of(account, ledger) if row.subject in ended and row.payload.choices]
        _few_prompts(account, prompts)
        if account.was_away or world.scenario.chances.illnesses or world.scenario.chances.slow_disk:
            continue
        for message_id, lost_at in account.lost_presses:
            row = next((row for row in prompts if row.message_id == message_id), None)
            if row is not None and not _is_shown_anew(row, prompts):
                until = ended[row.subject or ""] or math.inf
                for at, life in account.connections:
                    if lost_at < at and (row.sending_at or 0.0) < at and min(until, life.over_at) > at + _SURELY_SECONDS:
                        raise Violation("presses count", f"a press under out-{row.id} was lost, and it was not shown anew")


def _of(account: Account, ledger: Ledger) -> list[OutRow]:
    rows = [row for row in ledger.outbound if (row.channel, row.account) == (account.channel, account.name)]
    return [row for row in rows if isinstance(row.payload, SendText)]


def _few_prompts(account: Account, prompts: list[OutRow]) -> None:
    """At most one for each gap, and a few in all; none where no press is lost."""
    most = 1 + min(SHOWN_ANEW_MAX, len(account.connections) if account.forgets_presses else 0)
    for (subject, place), times in Counter((row.subject, row.place) for row in prompts).items():
        if times > most:
            raise Violation("presses count", f"{subject} has {times} prompts in {place}")


def _is_shown_anew(row: OutRow, prompts: list[OutRow]) -> bool:
    """Or may not be any more."""
    same = [one for one in prompts if (one.subject, one.place) == (row.subject, row.place)]
    return same[-1] is not row or len(same) > SHOWN_ANEW_MAX
