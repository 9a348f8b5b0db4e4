"""The views of dead letters: the list, and one in full with the commands for it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from rich.text import Text

from gatewayd.cli.ctl.output.screen import Column, field, table, wrapped
from gatewayd.cli.ctl.wording import clean, clock_time, count, duration, one_line
from gatewayd.model.operator_api import DeadLetterList, DeadLetterView
from gatewayd.model.records.dead_letter import EXCERPT, DeadLetter, DeadLetterCounts

STYLES: Mapping[str, str] = {"dead": "bold red", "unknown": "yellow", "parked": "cyan"}
SEEN_TWICE = "An unknown reply was perhaps delivered: sent again, it may be seen twice. Look into the chat first"


def summary(counts: DeadLetterCounts) -> str:
    """The counts as one phrase: messages, and replies by state."""
    parts = [f"{count(counts.in_dead, 'message')} given up"] if counts.in_dead else []
    replies = (("dead", counts.out_dead), ("unknown", counts.out_unknown), ("parked", counts.out_parked))
    parts += [count(number, f"{state} reply", f"{state} replies") for state, number in replies if number]
    return ", ".join(parts) or "nothing"


def dead_letters_table(dead_letters: Sequence[DeadLetter], *, now: float, width: int) -> list[Text]:
    """One row per dead letter in the order of the daemon. ``now`` is the daemon's Unix time."""
    return table(
        [
            Column("REF", [Text(clean(one.ref)) for one in dead_letters]),
            Column("STATE", [Text(clean(one.state), style=STYLES.get(one.state, "")) for one in dead_letters]),
            Column("AGE", [Text(duration(now - ended(one))) for one in dead_letters]),
            Column("ACCOUNT", [Text(_account(one)) for one in dead_letters], drop=2, least=16),
            Column("PEER", [Text(one_line(one.peer)) for one in dead_letters], drop=4, least=8),
            Column("TRIES", [Text(str(one.attempts)) for one in dead_letters], drop=5),
            Column("REASON", [Text(clean(one.reason or "-")) for one in dead_letters], drop=1, least=12),
            Column("TEXT", [Text(one_line(one.excerpt, at_most=EXCERPT)) for one in dead_letters], drop=3, least=16),
        ],
        width,
    )


def page_lines(page: DeadLetterList, now: float, width: int) -> Iterator[Text | str]:
    """A page of the list, the counts of all dead letters, and the next commands."""
    if not page.dead_letters:
        yield "no dead letters"
        return
    yield from dead_letters_table(page.dead_letters, now=now, width=width)
    yield f"\nwaiting in all: {summary(page.counts)}"
    if page.next is not None:
        yield f"more: the same with --before {clean(page.next)}"
    yield "see one: gatewayctl dead-letters show REF   then: gatewayctl dead-letters retry|drop REF…, or --all"


def dead_letter_lines(view: DeadLetterView, now: float, width: int) -> list[Text]:
    """One dead letter in full. Nothing of its text is left out, nothing in it is invisible."""
    dead_letter, text = view.dead_letter, view.text
    why_not = None if view.can_retry else view.why_not or "gatewayd gives no reason"
    lines: list[Text] = []
    for label, value in _facts(dead_letter, now):
        lines += wrapped(Text(one_line(value, at_most=2000)), width, indent=10, first=Text(label, style="bold"))
    if why_not is not None:
        lines += wrapped(Text(clean(why_not, at_most=2000)), width, indent=10, first=Text("no retry", style="bold"))
    lines += [Text(), *map(Text, field("", text, width=width, indent=2)), Text()]
    if dead_letter.state == "unknown":
        lines += wrapped(Text(f"{SEEN_TWICE}.", style="yellow"), width, indent=0)
    verbs = ["drop"] if why_not is not None else ["retry", "drop"]
    return lines + [Text(f"gatewayctl dead-letters {verb} {clean(dead_letter.ref)}") for verb in verbs]


def add_kinds(counts: DeadLetterCounts, dead_letters: Sequence[DeadLetter]) -> DeadLetterCounts:
    """``counts``, with these added."""
    kinds = Counter(f"{one.direction}_{one.state}" for one in dead_letters)
    names = ("in_dead", "out_dead", "out_unknown", "out_parked")
    return msgspec.structs.replace(counts, **{name: getattr(counts, name) + kinds[name] for name in names})


def ended(dead_letter: DeadLetter) -> float:
    """When it became a dead letter, in Unix seconds."""
    return dead_letter.at if dead_letter.ended_at is None else dead_letter.ended_at


def _facts(dead_letter: DeadLetter, now: float) -> list[tuple[str, str]]:
    what = "a message that was given up" if dead_letter.direction == "in" else "a reply"
    tries = count(dead_letter.attempts, "try", "tries")
    again = f", retried {count(dead_letter.retries, 'time')} by an operator" if dead_letter.retries else ""
    detail = f" ({dead_letter.detail})" if dead_letter.detail else ""
    facts: list[tuple[str, str | None]] = [
        ("ref", f"{dead_letter.ref}, {what}"),
        ("state", f"{dead_letter.state}: {dead_letter.reason or 'no reason was noted'}{detail}"),
        ("since", f"{clock_time(ended(dead_letter))} ({duration(now - ended(dead_letter))} ago)"),
        ("in doubt", None if dead_letter.doubt_since is None else f"since the send of {clock_time(dead_letter.doubt_since)}"),
        ("written", clock_time(dead_letter.at)),
        ("account", f"{dead_letter.channel}/{dead_letter.account}"),
        ("peer", dead_letter.peer),
        ("sender", dead_letter.sender),
        ("tries", tries + again),
        ("turn", dead_letter.turn_id),
        ("session", dead_letter.session_key),
        ("trace", f"gatewayctl trace {dead_letter.ref}"),
    ]
    return [(label, value) for label, value in facts if value]


def _account(dead_letter: DeadLetter) -> str:
    return clean(f"{dead_letter.channel}/{dead_letter.account}", at_most=130)
