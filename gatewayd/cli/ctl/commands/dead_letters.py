"""``gatewayctl dead-letters``: messages and replies that are not settled by themselves any more, and what to do about them."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from gatewayd.cli.ctl.commands.answer import print_answer
from gatewayd.cli.ctl.connection.options import Json, options_of
from gatewayd.cli.ctl.exit_codes import FAILED, OK, CtlError, UsageError
from gatewayd.cli.ctl.wording import clean
from gatewayd.model.lifecycle import DeadLetterState
from gatewayd.model.operator_api import DeadLetterList, DeadLetterView
from gatewayd.model.records.dead_letter import DeadLetterFilter, Direction, NotADeadLetter, RepairAction, parse_ref

if TYPE_CHECKING:
    from gatewayd.cli.ctl.commands.bulk_repair import Progress

dead_letters = typer.Typer(
    help="See, retry and drop messages and replies that were given up.", no_args_is_help=True, rich_markup_mode=None
)

_AGE_UNITS = {"s": 1, "min": 60, "m": 60, "h": 3_600, "d": 86_400}

Ref = Annotated[str, typer.Argument(metavar="REF", help="The dead letter, as `dead-letters list` shows it: in-12 or out-7.")]
Refs = Annotated[list[str] | None, typer.Argument(metavar="REF", help="Dead letters, as `dead-letters list` shows them.")]
OfDirection = Annotated[Direction | None, typer.Option("--direction", help="Only messages (in), or only replies (out).")]
InState = Annotated[DeadLetterState | None, typer.Option("--state", help="Only dead letters in this state.")]
Channel = Annotated[str | None, typer.Option("--channel", help="Only this channel, e.g. telegram.")]
Account = Annotated[str | None, typer.Option("--account", help="Only accounts of this name.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Only this reason, as `dead-letters list` shows it.")]
All = Annotated[bool, typer.Option("--all", help="Every dead letter that fits the filters, instead of REFs.")]
OlderThan = Annotated[
    str | None,
    typer.Option("--older-than", metavar="AGE", help="With --all: only what was given up so long ago: 90s, 30min, 2h, 3d."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Note = Annotated[str | None, typer.Option("--note", help="Why, for the audit log.", callback=lambda text: _note(text))]
_NOTE_MAX = 2000
"""What gatewayd takes."""


@dead_letters.command("list")
def list_dead_letters(
    ctx: typer.Context,
    direction: OfDirection = None,
    state: InState = None,
    channel: Channel = None,
    account: Account = None,
    reason: Reason = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=500, help="At most so many dead letters.")] = 50,
    before: Annotated[str | None, typer.Option(metavar="CURSOR", help="The dead letters after those of an earlier list.")] = None,
    as_json: Json = False,
) -> None:
    """List what was given up, the newest first."""
    from gatewayd.cli.ctl.commands.bulk_repair import DEAD_LETTERS, params_of
    from gatewayd.cli.ctl.output.dead_letters_view import page_lines

    params = params_of(DeadLetterFilter(direction, state, channel, account, reason)) | {"limit": str(limit)}
    if before:
        params["before"] = before
    print_answer(options_of(ctx), DEAD_LETTERS, DeadLetterList, page_lines, params=params, scope="read", as_json=as_json)


@dead_letters.command("show")
def show_dead_letter(ctx: typer.Context, ref: Ref, as_json: Json = False) -> None:
    """Show one dead letter in full, with its text and what can be done about it."""
    from gatewayd.cli.ctl.commands.bulk_repair import dead_letter_path
    from gatewayd.cli.ctl.output.dead_letters_view import dead_letter_lines

    _check_ref(ref)
    path = dead_letter_path(ref)
    print_answer(options_of(ctx), path, DeadLetterView, dead_letter_lines, scope="read", as_json=as_json)


def _order(action: RepairAction) -> Callable[..., None]:
    """The command that does this to dead letters."""

    def run(
        ctx: typer.Context,
        refs: Refs = None,
        every: All = False,
        direction: OfDirection = None,
        state: InState = None,
        channel: Channel = None,
        account: Account = None,
        reason: Reason = None,
        older_than: OlderThan = None,
        note: Note = None,
        yes: Yes = False,
        as_json: Json = False,
    ) -> None:
        from gatewayd.cli.ctl.commands.bulk_repair import Progress, repair_all, repair_each

        chosen = DeadLetterFilter(direction, state, channel, account, reason)
        _check(action, refs or [], every=every, filtered=chosen != DeadLetterFilter() or older_than is not None)
        age = None if older_than is None else _seconds(older_than)
        progress = Progress(action)
        with _reporting(progress, as_json=as_json) as report, options_of(ctx).connect() as client:
            if every:
                repair_all(client, progress, chosen, older_than=age, note=note, yes=yes, report=report)
            else:
                repair_each(client, progress, list(dict.fromkeys(refs or [])), note=note, yes=yes, report=report)
        raise typer.Exit(FAILED if progress.skipped else OK)

    return run


dead_letters.command("retry", help="Run messages again, each as a new turn, and send replies again.")(_order("retry"))
dead_letters.command("drop", help="Take dead letters off the list: they are neither run nor sent any more. Their trace stays.")(
    _order("drop")
)


def _check(action: RepairAction, refs: Sequence[str], *, every: bool, filtered: bool) -> None:
    """:raises UsageError: it is not clear which dead letters are meant."""
    if every and refs:
        raise UsageError(f"Name dead letters or say --all, not both: gatewayctl dead-letters {action} REF….")
    if not every and filtered:
        raise UsageError(f"Filters go with --all: gatewayctl dead-letters {action} --all --state dead.")
    if not every and not refs:
        raise UsageError(f"Which dead letters? gatewayctl dead-letters {action} REF…, or --all for all that fit the filters.")
    for ref in refs:
        _check_ref(ref, so=", so nothing was done")


def _check_ref(ref: str, *, so: str = "") -> None:
    try:
        parse_ref(ref)
    except NotADeadLetter as error:
        raise UsageError(f"{clean(str(error))}{so}.") from None


def _note(text: str | None) -> str | None:
    if text is not None and len(text) > _NOTE_MAX:
        raise UsageError(f"--note is too long: {len(text)} characters, and {_NOTE_MAX} are allowed.")
    return text


@contextmanager
def _reporting(progress: "Progress", *, as_json: bool) -> Iterator[Callable[[str], None]]:
    """Yields the function that prints the steps. At the end, also after an error, it prints the progress."""
    from gatewayd.cli.ctl.output.screen import print_note, print_text

    try:
        yield (lambda line: None) if as_json else print_text
    except KeyboardInterrupt:
        print_note(progress.so_far())
        raise
    except CtlError:
        if progress.total is not None:
            print_note(progress.so_far())
        raise
    if as_json:
        print_text(progress.as_json())
        return
    print_text(progress.counted() if progress.total else "no dead letters fit")
    for line in progress.reasons():
        print_note(line)


def _seconds(age: str) -> float:
    """ "2h" as seconds."""
    found = re.fullmatch(r"(\d{1,9})\s?(s|min|m|h|d)", age.strip(), re.ASCII)
    if found is None:
        raise UsageError(f"{age!r} is no age. It looks like 90s, 30min, 2h or 3d.")
    return int(found[1]) * _AGE_UNITS[found[2]]
