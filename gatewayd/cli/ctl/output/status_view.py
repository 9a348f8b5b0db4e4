"""The view of the status: the verdict first, and beside each problem what to do."""

from typing import Literal

from rich.text import Text

from gatewayd.cli.ctl.output.accounts_view import DOWN, accounts_table
from gatewayd.cli.ctl.output.screen import wrapped
from gatewayd.cli.ctl.wording import clean, count, duration, uptime
from gatewayd.model.records.dead_letter import DeadLetterCounts
from gatewayd.model.status import AccountStatus, AgentStatus, InboxStatus, OutboxStatus, Problem, Snapshot

_INDENT = 14
_PROBLEMS_SHOWN = 10
_GROUPS_SHOWN = 5


def is_healthy(snapshot: Snapshot) -> bool:
    """Whether the exit code is 0. A warning needs attention, but is not unhealthy."""
    return snapshot.ready and not _of_level(snapshot, "failing")


def verdict(snapshot: Snapshot) -> str:
    """The first line: healthy, or degraded with the reason."""
    wanted = [one for one in snapshot.accounts if one.state not in ("disabled", "stopped")]
    down = sum(one.state in DOWN for one in wanted)
    if is_healthy(snapshot):
        return _healthy(snapshot, len(wanted), down)
    if snapshot.state != "ready":
        return f"degraded: gatewayd is {snapshot.state}"
    if down:
        return f"degraded: {down} of {count(len(wanted), 'account')} {'is' if down == 1 else 'are'} not connected"
    now = _now(snapshot)
    first, *others = [_problem_text(one, now) for one in _of_level(snapshot, "failing")] or ["gatewayd is not ready"]
    return f"degraded: {first}" + (f", and {len(others)} more" if others else "")


def _healthy(snapshot: Snapshot, wanted: int, down: int) -> str:
    stopped = sum(one.state == "stopped" for one in snapshot.accounts)
    warnings = len(_of_level(snapshot, "warning"))
    said = f"healthy: {f'{wanted - down} of ' if down else ''}{count(wanted, 'account')} connected"
    if stopped:
        said += f", {stopped} stopped by an operator"
    return said + (f", {count(warnings, 'warning')}" if warnings else "")


def status_lines(snapshot: Snapshot, width: int) -> list[Text]:
    """The output of ``gatewayctl status``. No line is wider than ``width`` cells."""
    now = _now(snapshot)
    style = "bold green" if is_healthy(snapshot) else "bold red"
    lines = wrapped(Text(verdict(snapshot), style=style), width, indent=0)
    lines += _problem_lines(snapshot, width)
    lines += [Text(), *accounts_table(snapshot.accounts, now=now, width=width), Text()]
    lines += _labelled("groups", [_groups(account) for account in snapshot.accounts if account.open_groups], width)
    lines += _labelled("lanes", [_lanes(snapshot)], width)
    lines += _labelled("inbox", _inbox(snapshot.inbox, now), width)
    lines += _labelled("outbox", _outbox(snapshot.outbox), width)
    for label, waiting, command in (
        ("dead letters", _dead_letters(snapshot.dead_letters), "gatewayctl dead-letters list"),
        ("approvals", snapshot.approvals_pending, "gatewayctl approvals list"),
        ("pairings", snapshot.pairings_pending, "gatewayctl pairing list"),
    ):
        if waiting:
            lines += _labelled(label, [f"{waiting} waiting: {command}"], width, style="yellow")
    lines += _labelled("agents", [_agent(agent, now) for agent in snapshot.agents] or ["none"], width)
    state = "running" if snapshot.state == "ready" else snapshot.state
    about = f"{clean(snapshot.version, at_most=40)}, {state}, up {uptime(snapshot.uptime_s)}, pid {snapshot.pid}"
    return lines + _labelled("gatewayd", [about], width)


def _now(snapshot: Snapshot) -> float:
    """The time of the daemon. Ages do not depend on the clock of this machine."""
    return snapshot.started_at + snapshot.uptime_s


def _of_level(snapshot: Snapshot, level: Literal["failing", "warning"]) -> list[Problem]:
    return [problem for problem in snapshot.problems if problem.level == level]


def _problem_text(problem: Problem, now: float) -> str:
    """A problem in the words of the daemon, and its age."""
    return f"{clean(problem.text)} (for {duration(now - problem.since)})"


def _problem_lines(snapshot: Snapshot, width: int) -> list[Text]:
    """The failing problems, then the warnings in yellow, without the problem that the verdict names."""
    now, said = _now(snapshot), verdict(snapshot)
    failing = [_problem_text(one, now) for one in _of_level(snapshot, "failing") if one.code != snapshot.state]
    if failing and said.startswith(f"degraded: {failing[0]}"):
        del failing[0]
    shown = [(text, "") for text in failing]
    shown += [(_problem_text(one, now), "yellow") for one in _of_level(snapshot, "warning")]
    lines = []
    for text, style in shown[:_PROBLEMS_SHOWN]:
        lines += wrapped(Text(text, style=style), width, indent=4, first=Text("  -"))
    if len(shown) > _PROBLEMS_SHOWN:
        lines.append(Text(f"  - and {len(shown) - _PROBLEMS_SHOWN} more (--json has all)"))
    return lines


def _labelled(label: str, entries: list[str], width: int, *, style: str = "") -> list[Text]:
    lines = []
    for index, entry in enumerate(entries):
        head = Text(label if index == 0 else "", style="bold")
        lines += wrapped(Text(entry, style=style), width, indent=_INDENT, first=head)
    return lines


def _groups(account: AccountStatus) -> str:
    """The groups in which everybody may talk. An operator should know of them."""
    ids = account.open_groups
    shown = ", ".join("any group" if one == "*" else clean(one, at_most=64) for one in ids[:_GROUPS_SHOWN])
    more = f" and {len(ids) - _GROUPS_SHOWN} more" if len(ids) > _GROUPS_SHOWN else ""
    return f"{clean(account.channel)}/{clean(account.account)}: everybody in {shown}{more} may talk"


def _lanes(snapshot: Snapshot) -> str:
    lanes = snapshot.lanes
    return f"{lanes.live} live, {lanes.running} running, {count(lanes.waiting, 'message')} waiting"


def _outbox(outbox: OutboxStatus) -> list[str]:
    entries = [f"{outbox.ready} ready, {outbox.sending} sending"]
    if outbox.unknown:
        entries.append(f"{outbox.unknown} unknown: cut off while sending, perhaps delivered. Look into the chat first")
    if outbox.parked:
        entries.append(f"{outbox.parked} parked: too old to be sent late (outbox.stale_after_seconds)")
    if outbox.dead:
        entries.append(f"{outbox.dead} dead: given up")
    return entries


def _inbox(inbox: InboxStatus, now: float) -> list[str]:
    """The messages that wait for a turn, and the age of the oldest. Empty for an empty inbox."""
    entries = []
    if inbox.waiting:
        oldest = "" if inbox.oldest_at is None else f", the oldest for {duration(now - inbox.oldest_at)}"
        entries.append(f"{inbox.waiting} of {inbox.limit} waiting{oldest}")
    if inbox.limited_senders:
        entries.append(f"{count(inbox.limited_senders, 'sender')} at the limit of waiting messages (limits.sender_backlog)")
    return entries


def _dead_letters(dead_letters: DeadLetterCounts) -> int:
    return dead_letters.in_dead + dead_letters.out_dead + dead_letters.out_unknown + dead_letters.out_parked


def _agent(agent: AgentStatus, now: float) -> str:
    text = f"{clean(agent.agent, at_most=64)} ({clean(agent.core, at_most=64)}) {agent.state}"
    if agent.reason:
        text += f" ({clean(agent.reason, at_most=200)})"
    text += f": {count(agent.turns, 'turn')}"
    if agent.running:
        text += f", {agent.running} running"
    if agent.failures:
        text += f", {count(agent.failures, 'failure')}"
    if agent.last_error is not None:
        when = "" if agent.last_error_at is None else f" {duration(now - agent.last_error_at)} ago"
        text += f"; last failure{when}: {clean(agent.last_error, at_most=200)}"
    return text
