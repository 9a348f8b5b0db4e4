"""Retrying and dropping dead letters, one by one or every one that fits a filter, with an account of how far it got."""

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

Tell = Callable[[str], None]

DEAD_LETTERS = "/v1/dead-letters"
_PAGE = "500"
_PAGES_COUNTED = 40
"""Before a bulk is asked about: its dead letters are counted up to 20,000."""
_REFS_NAMED = 5


class _Report(Struct, frozen=True):
    done: int
    skipped: list[Skipped]


class Progress:
    """How far an order got: ``done`` of ``total`` dead letters (None: it has not begun). ``skipped`` maps refs to reasons."""

    def __init__(self, action: RepairAction) -> None:
        self.action: RepairAction = action
        self.total: int | None = None
        self.done = 0
        self.skipped: dict[str, str] = {}

    def so_far(self) -> str:
        """For when it is cut: the call under way may have been done, too."""
        if self.total is None:
            return "stopped before anything was done"
        return f"stopped: {self.counted()} so far. What was under way may have been done: gatewayctl dead-letters list"

    def counted(self) -> str:
        """How many of how many."""
        said = f"{self.done} of {count(self.total or 0, 'dead letter')} {_PAST[self.action]}"
        return said + (f", {len(self.skipped)} skipped" if self.skipped else "")

    def reasons(self) -> list[str]:
        """A line for each reason of skipping, with the first dead letters that it is about."""
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
        report = _Report(self.done, [Skipped(ref, why) for ref, why in self.skipped.items()])
        return safe_json(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())


_PAST: dict[RepairAction, str] = {"retry": "retried", "drop": "dropped"}


def params_of(chosen: DeadLetterFilter) -> dict[str, str]:
    """As a query."""
    return {key: str(value) for key, value in msgspec.structs.asdict(chosen).items() if value is not None}


def dead_letter_path(ref: str) -> str:
    """The path of one dead letter."""
    from gatewayd.cli.ctl.connection.client import segment

    return f"{DEAD_LETTERS}/{segment(ref)}"


def repair_each(client: "Client", progress: Progress, refs: Sequence[str], *, note: str | None, yes: bool, tell: Tell) -> None:
    """Retry or drop these. What is no dead letter any more is skipped; what may be seen twice is asked about first.

    :raises CtlError: gatewayd cannot be asked, or refuses the token.
    """
    unsure = [] if yes or progress.action == "drop" else _unsure(client, progress, refs)
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
        tell(f"{clean(dead_letter.ref)} {_PAST[progress.action]}: {clean(dead_letter.state)}")


def repair_all(
    client: "Client",
    progress: Progress,
    chosen: DeadLetterFilter,
    *,
    older_than: float | None,
    note: str | None,
    yes: bool,
    tell: Tell,
) -> None:
    """Retry or drop every dead letter that fits, is there now and was given up ``older_than`` seconds ago. One that is given up
    anew meanwhile is left for another time.

    :raises CtlError: as :func:`repair_each`; nobody can be asked, or says no.
    """
    counts, total, newest = _look(client, chosen, older_than)
    if not total:
        progress.total = 0
        return
    at_least = "" if total < int(_PAGE) * _PAGES_COUNTED else "at least "
    tell(f"{at_least}{count(total, 'dead letter')}: {summary(counts)}")
    warning = f"{SEEN_TWICE}." if progress.action == "retry" and counts.out_unknown else ""
    if not yes:
        _confirm(f"{progress.action.capitalize()} {at_least}{count(total, 'dead letter')}?", warning=warning)
    progress.total = total
    wanted = msgspec.structs.replace(chosen, ended_before=math.nextafter(newest, math.inf))
    for answer in _calls(client, RepairMany(progress.action, note, filter=wanted)):
        progress.done += answer.done
        progress.skipped |= {skipped.ref: skipped.why for skipped in answer.skipped}
        progress.total = max(total, progress.done)
        if answer.more:
            tell(f"  {progress.counted()} …")


def _calls(client: "Client", order: RepairMany) -> Iterator[RepairedMany]:
    """The daemon does a bounded part of it with each call, and says where the next one goes on."""
    while True:
        answer = client.post(DEAD_LETTERS, order, RepairedMany, scope="admin")
        yield answer
        if not answer.more or answer.next in (None, order.after):
            return
        order = msgspec.structs.replace(order, after=answer.next)


def _unsure(client: "Client", progress: Progress, refs: Sequence[str]) -> list[str]:
    """Those that were perhaps delivered. What is no dead letter is noted as skipped."""
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


def _look(client: "Client", chosen: DeadLetterFilter, older_than: float | None) -> tuple[DeadLetterCounts, int, float]:
    """How many dead letters fit, by kind and in all, and when the newest of them ended."""
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
    """:raises CtlError: there is nobody to ask, or the answer is no."""
    if not sys.stdin.isatty():
        raise UsageError(f"{question} {warning + ' ' if warning else ''}Without a terminal to ask on, --yes has to say so.")
    if not confirm(f"{warning}\n{question}" if warning else question):
        raise CtlError("Nothing was done.")
