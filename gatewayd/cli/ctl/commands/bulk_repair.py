"""Retries and drops dead letters, one by one or by a filter, and reports the progress."""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from gatewayd.cli.ctl.exit_codes import CtlError, ItemError, UsageError
from gatewayd.cli.ctl.output.dead_letters_view import SEEN_TWICE, add_kinds, ended, summary
from gatewayd.cli.ctl.output.screen import confirm
from gatewayd.cli.ctl.wording import clean, count, safe_json
from gatewayd.model.operator_api import DeadLetterList, OneDeadLetter, RepairedMany, RepairMany, RepairOne
from gatewayd.model.records.dead_letter import DeadLetterCounts, DeadLetterFilter, RepairAction, Skipped

if TYPE_CHECKING:
    from gatewayd.cli.ctl.connection.client import Client

Report = Callable[[str], None]

DEAD_LETTERS = "/v1/dead-letters"
_PAGE = "500"
_PAGES_COUNTED = 40
"""Before the confirmation of a bulk order its dead letters are counted, up to 20,000."""
_REFS_NAMED = 5


class _Result(Struct, frozen=True):
    done: int
    skipped: list[Skipped]


class Progress:
    """The progress of an order: ``done`` of ``total`` dead letters (None: it has not begun). ``skipped`` maps refs to reasons."""

    def __init__(self, action: RepairAction) -> None:
        self.action: RepairAction = action
        self.total: int | None = None
        self.done = 0
        self.skipped: dict[str, str] = {}

    def so_far(self) -> str:
        """The line for an interrupted order. The running request may have succeeded."""
        if self.total is None:
            return "stopped before anything was done"
        return f"stopped: {self.counted()} so far. The running request may have succeeded. See: gatewayctl dead-letters list"

    def counted(self) -> str:
        """The counts in words."""
        said = f"{self.done} of {count(self.total or 0, 'dead letter')} {_PAST[self.action]}"
        return said + (f", {len(self.skipped)} skipped" if self.skipped else "")

    def reasons(self) -> list[str]:
        """A line for each reason, with the first dead letters that were skipped for it."""
        by_reason: dict[str, list[str]] = {}
        for ref, why in self.skipped.items():
            by_reason.setdefault(clean(why), []).append(clean(ref))
        lines = []
        for why, refs in by_reason.items():
            others = f" and {len(refs) - _REFS_NAMED} more" if len(refs) > _REFS_NAMED else ""
            lines.append(f"  skipped: {', '.join(refs[:_REFS_NAMED])}{others}: {why}")
        return lines

    def as_json(self) -> str:
        """``{"done", "skipped": [{"ref", "why"}]}``."""
        result = _Result(self.done, [Skipped(ref, why) for ref, why in self.skipped.items()])
        return safe_json(msgspec.json.format(msgspec.json.encode(result), indent=2).decode())


_PAST: dict[RepairAction, str] = {"retry": "retried", "drop": "dropped"}


def params_of(chosen: DeadLetterFilter) -> dict[str, str]:
    """The filter as a query."""
    return {key: str(value) for key, value in msgspec.structs.asdict(chosen).items() if value is not None}


def dead_letter_path(ref: str) -> str:
    """The path of one dead letter."""
    from gatewayd.cli.ctl.connection.client import segment

    return f"{DEAD_LETTERS}/{segment(ref)}"


def repair_each(
    client: "Client", progress: Progress, refs: Sequence[str], *, note: str | None, yes: bool, report: Report
) -> None:
    """Retry or drop these. One that is no dead letter any more is skipped. A retry of unknown replies needs a confirmation.

    :raises CtlError: gatewayd cannot be reached, or rejects the token.
    """
    unsure = [] if yes or progress.action == "drop" else _perhaps_delivered(client, progress, refs)
    if unsure:
        _confirm(f"Retry {count(len(refs), 'dead letter')}?", warning=f"{SEEN_TWICE}: {', '.join(unsure)}.")
    progress.total = len(refs)
    for ref in refs:
        if ref in progress.skipped:
            continue
        try:
            act = RepairOne(progress.action, note)
            dead_letter = client.post(dead_letter_path(ref), act, OneDeadLetter, scope="admin").dead_letter
        except ItemError as error:
            progress.skipped[ref] = str(error)
            continue
        progress.done += 1
        report(f"{clean(dead_letter.ref)} {_PAST[progress.action]}: {clean(dead_letter.state)}")


def repair_all(
    client: "Client",
    progress: Progress,
    chosen: DeadLetterFilter,
    *,
    older_than: float | None,
    note: str | None,
    yes: bool,
    report: Report,
) -> None:
    """Retry or drop every dead letter that matches now and is at least ``older_than`` seconds old. A later one is not touched.

    :raises CtlError: as :func:`repair_each`; or there is no confirmation.
    """
    counts, total, newest = _count_matching(client, chosen, older_than)
    if not total:
        progress.total = 0
        return
    at_least = "" if total < int(_PAGE) * _PAGES_COUNTED else "at least "
    report(f"{at_least}{count(total, 'dead letter')}: {summary(counts)}")
    warning = f"{SEEN_TWICE}." if progress.action == "retry" and counts.out_unknown else ""
    if not yes:
        _confirm(f"{progress.action.capitalize()} {at_least}{count(total, 'dead letter')}?", warning=warning)
    progress.total = total
    wanted = msgspec.structs.replace(chosen, ended_before=math.nextafter(newest, math.inf))
    for answer in _requests(client, RepairMany(progress.action, note, filter=wanted)):
        progress.done += answer.done
        progress.skipped |= {skipped.ref: skipped.why for skipped in answer.skipped}
        progress.total = max(total, progress.done)
        if answer.more:
            report(f"  {progress.counted()} …")


def _requests(client: "Client", order: RepairMany) -> Iterator[RepairedMany]:
    """Each request does a bounded part of the order. Its response has the cursor of the next one."""
    while True:
        answer = client.post(DEAD_LETTERS, order, RepairedMany, scope="admin")
        yield answer
        if not answer.more or answer.next in (None, order.after):
            return
        order = msgspec.structs.replace(order, after=answer.next)


def _perhaps_delivered(client: "Client", progress: Progress, refs: Sequence[str]) -> list[str]:
    """The refs of unknown replies: these were perhaps delivered. One that is no dead letter is skipped."""
    found = []
    for ref in refs:
        try:
            dead_letter = client.get(dead_letter_path(ref), OneDeadLetter, scope="read").dead_letter
        except ItemError as error:
            progress.skipped[ref] = str(error)
            continue
        if dead_letter.state == "unknown":
            found.append(clean(dead_letter.ref))
    return found


def _count_matching(client: "Client", chosen: DeadLetterFilter, older_than: float | None) -> tuple[DeadLetterCounts, int, float]:
    """The counts of matching dead letters by kind and in all, and when the newest of them ended."""
    counts, total, newest = DeadLetterCounts(), 0, -math.inf
    params = params_of(chosen) | {"limit": _PAGE}
    for _ in range(_PAGES_COUNTED):
        page = client.get(DEAD_LETTERS, DeadLetterList, params=params, scope="read")
        before = math.inf if older_than is None else client.now() - older_than  # by the clock of this answer
        fitting = [dead_letter for dead_letter in page.dead_letters if ended(dead_letter) < before]
        counts = add_kinds(counts, fitting)
        total += len(fitting)
        newest = max([newest, *(ended(dead_letter) for dead_letter in fitting)])
        if page.next is None:
            break
        params["before"] = page.next
    return counts, total, newest


def _confirm(question: str, *, warning: str) -> None:
    """:raises CtlError: stdin is not a terminal, or the answer is no."""
    if not sys.stdin.isatty():
        raise UsageError(f"{question} {warning + ' ' if warning else ''}There is no terminal for the answer: confirm with --yes.")
    if not confirm(f"{warning}\n{question}" if warning else question):
        raise CtlError("Nothing was done.")
