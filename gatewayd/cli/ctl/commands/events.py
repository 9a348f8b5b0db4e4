"""``gatewayctl events``: the event log, stored and live."""

import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
import typer

from gatewayd.cli.ctl.connection.options import Options, options_of
from gatewayd.cli.ctl.exit_codes import IncompatibleResponse, TemporaryError, Unreachable
from gatewayd.cli.ctl.wording import clean, clock_time, safe_json
from gatewayd.kit.json import Malformed, decode
from gatewayd.model.operator_api import EventGap
from gatewayd.model.records.event import Event

if TYPE_CHECKING:
    from gatewayd.cli.ctl.connection.client import Client
    from gatewayd.cli.ctl.connection.sync_http import httpx2

_PATIENCE_SECONDS = 5.0
_GAP = "gateway.gap"
T = TypeVar("T")
Value = str | int | float | bool | None


_PAST_ALL = str(2**63 - 1)


def events(
    ctx: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new events until Ctrl-C, also after restarts.")] = False,
    after: Annotated[int | None, typer.Option(metavar="N", min=0, help="Only events with a greater number than N.")] = None,
    kinds: Annotated[list[str] | None, typer.Option("--kind", help="Only this kind, e.g. 'inbound.*'. May be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Print the stored events, or with --follow the new ones (with --after N: those after N)."""
    params = {"kinds": ",".join(kinds)} if kinds else {}
    write = _write_json if as_json else _write_line
    try:
        if follow:
            follow_events(options_of(ctx), params, write, after=after)
        else:
            _print_stored(options_of(ctx), params, write, after=after or 0)
    except KeyboardInterrupt:
        return


def follow_events(
    options: Options,
    params: Mapping[str, str],
    write: Callable[[Event], None],
    *,
    after: int | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Write events for ever. After a broken connection or a restart the stream resumes after the last one, so none is missed.

    :raises CtlError: the first connection fails, the daemon rejects the token, or an event cannot be decoded.
    """
    from gatewayd.cli.ctl.output.screen import print_note

    seen = after
    failures = 0
    while True:
        try:
            with options.connect() as client:
                # Known before the first event, so that no event of a restart is missed.
                seen = _newest(client) if seen is None else seen
                with client.events(params, last_id=str(seen)) as stream:
                    for sent in stream:
                        failures = 0
                        _write_sent(sent, write)
                        seen = _number(sent, seen)
            why = "gatewayd ended the stream."
        except (Unreachable, TemporaryError) as error:
            if seen is None or isinstance(error, IncompatibleResponse):
                raise
            why = str(error)
        if failures == 0:
            print_note(f"{why} Connecting again.")
        failures += 1
        pause(random.uniform(0.1, min(_PATIENCE_SECONDS, 0.25 * 2 ** min(failures, 10))))


def _print_stored(options: Options, params: Mapping[str, str], write: Callable[[Event], None], *, after: int) -> None:
    """The stream does not end by itself, so the number of the newest event comes first."""
    with options.connect() as client:
        newest = _newest(client)
        seen = after
        if seen >= newest:
            return
        with client.events(params, last_id=str(after)) as stream:
            for sent in stream:
                seen = _number(sent, seen)
                if seen <= newest or sent.event == _GAP:
                    _write_sent(sent, write)
                if seen >= newest:
                    return
    raise Unreachable(
        f"gatewayd ended the stream after number {seen} of {newest}. For the rest: gatewayctl events --after {seen}."
    )


def _newest(client: "Client") -> int:
    """The number of the newest event: a reader that claims a later one gets the end of the log at once."""
    with client.events({"kinds": _GAP}, last_id=_PAST_ALL) as stream:
        for sent in stream:
            if sent.event == _GAP:
                return _decode(sent.data, EventGap).next - 1
    raise Unreachable("gatewayd ended the stream of events at once: it is stopping. Try again when it has started.")


def _number(sent: "httpx2.ServerSentEvent", before: int) -> int:
    """The position of the reader after ``sent``."""
    if sent.id and not (sent.id.isascii() and sent.id.isdecimal()):
        raise Unreachable("What sends these events is not gatewayd: they are not numbered. Check the URL.")
    return int(sent.id) if sent.id else before


def _write_sent(sent: "httpx2.ServerSentEvent", write: Callable[[Event], None]) -> None:
    """``sent`` without data only moves the position of the reader, past events of other kinds."""
    from gatewayd.cli.ctl.output.screen import print_note

    if not sent.data:
        return
    if sent.event != _GAP:
        write(_decode(sent.data, Event))
        return
    gap = _decode(sent.data, EventGap)
    if gap.next > gap.after + 1:
        print_note(f"numbers {gap.after + 1} to {gap.next - 1} are not stored any more")
    else:
        print_note(f"gatewayd has another store than before: numbers go on at {gap.next}")


def _decode(data: str, kind: type[T]) -> T:
    try:
        return decode(data, kind)
    except Malformed as error:
        raise IncompatibleResponse(
            f"An event of gatewayd cannot be decoded ({clean(str(error))}): gatewayd is of another release. "
            "Use the gatewayctl of its release."
        ) from None


def _write_line(event: Event) -> None:
    """One line: number, local time, kind, and the data as key=value."""
    from gatewayd.cli.ctl.output.screen import print_text

    try:
        data = decode(bytes(event.data), dict[str, Value])
        said = " ".join(f"{clean(key)}={_value(value)}" for key, value in data.items())
    except Malformed:
        said = clean(bytes(event.data).decode("utf-8", "replace"), at_most=2000)
    print_text(f"{event.seq:>6}  {clock_time(event.at)}  {clean(event.kind):<22}  {said}".rstrip())


def _write_json(event: Event) -> None:
    from gatewayd.cli.ctl.output.screen import print_text

    print_text(safe_json(msgspec.json.encode(event).decode()))


def _value(value: Value) -> str:
    match value:
        case str():
            text = clean(value)
            return f'"{text}"' if " " in text or not text else text
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
    return str(value)
