"""Health checks: the present problems, computed from facts. Pure, so that readiness, status and metrics cannot disagree.

A problem is ``failing`` if it stops messages somewhere: they are not taken, not answered or not sent. The daemon is not ready
then. A problem is a ``warning`` if messages go through, and an operator should look. ``since`` is when it began.
"""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from gatewayd.model.records.dead_letter import DeadLetterCounts
from gatewayd.model.status import (
    AbandonedTask,
    AccountStatus,
    AgentStatus,
    DaemonState,
    InboxStatus,
    Problem,
    Stall,
)
from gatewayd.ports.store import StoreStatistics

FAILED_IN_A_ROW: Final = 3
"""If an open agent fails so many turns in a row, that is a problem."""
HUNG_SECONDS: Final = 10.0
"""A commit that takes longer means that the disk does not answer."""
INTERRUPTED_SECONDS: Final = 30.0
"""If a driver has been connecting again for so long, that is a problem."""
_LACKS_SHOWN: Final = 3
OLD_SECONDS: Final = 300.0
"""If a connected account has not sent a reply for so long, that is a problem."""
STALL_TOLD_SECONDS: Final = 600.0
"""How long a stall of the event loop stays a problem after its end."""


class RejectedReload(Struct, frozen=True):
    """A new configuration was refused ``at`` this time. The one before it is in force."""

    at: float
    reason: str


class Facts(Struct, frozen=True):
    """The facts at ``now`` from which problems are found."""

    now: float
    state: DaemonState
    state_since: float
    store: StoreStatistics
    inbox: InboxStatus
    dead_letters: DeadLetterCounts
    accounts: tuple[AccountStatus, ...]
    agents: tuple[AgentStatus, ...]
    abandoned_tasks: tuple[AbandonedTask, ...] = ()
    stall: Stall | None = None
    refused: RejectedReload | None = None
    no_descriptors_since: float | None = None


def problems_of(facts: Facts) -> tuple[Problem, ...]:
    """All problems, the failing ones first."""
    found = [*_of_daemon(facts), *_of_accounts(facts), *_of_agents(facts), *_to_look_at(facts)]
    return tuple(sorted(found, key=lambda problem: problem.level != "failing"))


def is_down(account: AccountStatus) -> bool:
    """Whether an account should be connected and is not."""
    return account.state in ("starting", "interrupted", "waiting", "parked")


def _of_daemon(facts: Facts) -> Iterator[Problem]:
    if facts.state != "ready":
        yield Problem(facts.state, "failing", "", facts.state_since, f"the daemon is {facts.state}")
    if not facts.store.healthy:
        since = facts.store.failing_since or facts.now
        yield Problem("store_unwritable", "failing", "", since, f"the store does not write: {facts.store.last_error}")
    elif (began_at := facts.store.committing_since) is not None and facts.now - began_at > HUNG_SECONDS:
        text = f"the store does not write: the disk has not answered for more than {HUNG_SECONDS:g} s"
        yield Problem("store_unwritable", "failing", "", began_at, text)
    if facts.no_descriptors_since is not None:
        text = "no more connections can be accepted: the process has no descriptors left (LimitNOFILE)"
        yield Problem("no_descriptors", "failing", "", facts.no_descriptors_since, text)
    if facts.inbox.full_since is not None:
        text = f"the inbox is full: {_messages(facts.inbox.waiting)} for a turn"
        yield Problem("inbox_full", "failing", "", facts.inbox.full_since, text)


def _of_accounts(facts: Facts) -> Iterator[Problem]:
    for account in facts.accounts:
        name = f"{account.channel}/{account.account}"
        if account.state == "interrupted" and facts.now - account.since < INTERRUPTED_SECONDS:
            pass  # sessions of some networks are resumed every few hours, within a second
        elif is_down(account):
            yield Problem("account_down", "failing", name, account.down_since or account.since, _account_down(account, name))
        elif account.state == "connected" and _is_old(account.oldest_pending_at, facts.now):
            text = f"{name} is connected, and its oldest reply has not been sent for {OLD_SECONDS / 60:g} minutes or more"
            yield Problem("outbox_old", "warning", name, account.oldest_pending_at or facts.now, text)
        if account.lacks:
            parts = "; ".join(f"{lack.what}: {lack.reason}" for lack in account.lacks[:_LACKS_SHOWN])
            more = "" if len(account.lacks) <= _LACKS_SHOWN else f"; and {len(account.lacks) - _LACKS_SHOWN} more"
            since = min(lack.since for lack in account.lacks)
            yield Problem("account_degraded", "warning", name, since, f"{name} is degraded: {parts}{more}")
        if account.inbox_full_since is not None:
            text = f"{name} is full: {_messages(account.inbox_waiting)} for a turn"
            yield Problem("account_full", "failing", name, account.inbox_full_since, text)


def _account_down(account: AccountStatus, name: str) -> str:
    reason = f": {account.reason}" if account.reason else ""
    waits = f"; replies that wait: {account.outbox_depth}" if account.outbox_depth else ""
    return f"{name} is {account.state}{reason}{waits}"


def _is_old(since: float | None, now: float) -> bool:
    return since is not None and now - since > OLD_SECONDS


def _of_agents(facts: Facts) -> Iterator[Problem]:
    for agent in facts.agents:
        if agent.state != "open":
            reason = f": {agent.reason}" if agent.reason else ""
            text = f"agent {agent.agent} is {agent.state}{reason}"
            yield Problem("agent_down", "failing", agent.agent, agent.down_since or agent.since, text)
        elif agent.away_since is not None:
            text = f"agent {agent.agent} does not answer: {agent.away_reason or 'it does not say why'}"
            yield Problem("agent_away", "failing", agent.agent, agent.away_since, text)
        elif agent.failed_in_a_row >= FAILED_IN_A_ROW:
            text = f"agent {agent.agent} is open, and its last {agent.failed_in_a_row} turns failed: see `gatewayctl agents list`"
            yield Problem("agent_failing", "failing", agent.agent, agent.failing_since or facts.now, text)
    for left in facts.abandoned_tasks:
        yield Problem("agent_task_abandoned", "warning", left.agent, left.since, _does_not_stop(left))


def _does_not_stop(left: AbandonedTask) -> str:
    what, stand = ("1 turn", "runs") if left.count == 1 else (f"{left.count} turns", "run")
    where = f" at {' and at '.join(left.where)}" if left.where else ""
    return f"agent {left.agent}: {what} of it was to end and still {stand}{where}; only a restart of gatewayd ends that"


def _to_look_at(facts: Facts) -> Iterator[Problem]:
    dead_letters = facts.dead_letters
    given_up_at = [at for at in (dead_letters.oldest_dead_at, dead_letters.oldest_parked_at) if at is not None]
    if given_up_at:
        text = f"{_given_up(dead_letters.in_dead, dead_letters.out_dead + dead_letters.out_parked)}: gatewayctl dead-letters list"
        yield Problem("dead_letters", "warning", "", min(given_up_at), text)
    if dead_letters.oldest_unknown_at is not None:
        replies = "1 reply was" if dead_letters.out_unknown == 1 else f"{dead_letters.out_unknown} replies were"
        text = f"{replies} cut off, and may or may not have been seen: gatewayctl dead-letters list"
        yield Problem("unknown_sends", "warning", "", dead_letters.oldest_unknown_at, text)
    stall = facts.stall
    if stall is not None and facts.now - stall.began_at - stall.seconds < STALL_TOLD_SECONDS:
        text = f"the event loop stood still for {stall.seconds:.1f} s in {stall.where}"
        yield Problem("loop_stalled", "warning", "", stall.began_at, text)
    if facts.refused is not None:
        text = f"the new configuration is not in force: {facts.refused.reason}"
        yield Problem("config_refused", "warning", "", facts.refused.at, text)


def _messages(waiting: int) -> str:
    return "1 message waits" if waiting == 1 else f"{waiting} messages wait"


def _given_up(messages: int, replies: int) -> str:
    told = [] if not messages else ["1 message" if messages == 1 else f"{messages} messages"]
    told += [] if not replies else ["1 reply" if replies == 1 else f"{replies} replies"]
    return f"{' and '.join(told)} {'was' if messages + replies == 1 else 'were'} given up"
