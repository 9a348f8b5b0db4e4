"""``gatewayctl events``: what happened, and what happens."""

import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from msgspec import Struct

from gatewayd.cli.ctl.options import Options, options_of
from gatewayd.cli.ctl.outcome import Unreachable
from gatewayd.cli.ctl.wording import clean, clock_time, safe_json
from gatewayd.model.event import Event

if TYPE_CHECKING:
    import httpx2

_PATIENCE_SECONDS = 5.0
Value = str | int | float | bool | None


class Resume(Struct):
    """Where a stream is: the number of the last event that was printed, None before the first."""

    last_id: str | None = None


def events(
    ctx: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing until Ctrl-C, across restarts.")] = False,
    after: Annotated[int | None, typer.Option(metavar="N", min=0, help="Only events with a greater number than N.")] = None,
    kinds: Annotated[list[str] | None, typer.Option("--kind", help="Only this kind, e.g. 'inbound.*'. May be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Print what is stored of the event log, or with --follow what happens from now on (after N: from there on)."""
    params = {"kinds": ",".join(kinds)} if kinds else {}
    if after is not None:
        params["after"] = str(after)
    write = _write_json if as_json else _write_line
    try:
        if follow:
            follow_events(options_of(ctx), params, write)
            return
        with options_of(ctx).connect() as client, client.events(params | {"follow": "0"}) as stream:
            for event in _decoded(stream):
                write(event)
    except KeyboardInterrupt:
        return


def follow_events(
    options: Options,
    params: Mapping[str, str],
    write: Callable[[Event], None],
    *,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Write events for ever. After a cut or a restart the stream is resumed after the last one written, so none is missed.

    :raises CtlError: the first connection fails, or the daemon refuses the token.
    """
    from gatewayd.cli.ctl.screen import remark

    at = Resume()
    failures = 0
    connected = False
    while True:
        try:
            with options.connect() as client, client.events(params, last_id=at.last_id) as stream:
                connected = True
                for event in _decoded(stream):
                    failures = 0
                    write(event)
                    at.last_id = str(event.seq)
            why = "gatewayd ended the stream."
        except Unreachable as error:
            if not connected:
                raise
            why = str(error)
        if failures == 0:
            remark(f"{why} Connecting again.")
        failures += 1
        pause(random.uniform(0.1, min(_PATIENCE_SECONDS, 0.25 * 2 ** min(failures, 10))))


def _decoded(stream: "Iterator[httpx2.ServerSentEvent]") -> Iterator[Event]:
    for sent in stream:
        try:
            yield msgspec.json.decode(sent.data, type=Event)
        except msgspec.MsgspecError as error:
            raise Unreachable(f"An event is not understood here ({clean(str(error))}): gatewayd is of another release.") from None


def _write_line(event: Event) -> None:
    """One line: number, local time, kind, and the data as key=value."""
    try:
        data = msgspec.json.decode(event.data, type=dict[str, Value])
        said = " ".join(f"{clean(key)}={_value(value)}" for key, value in data.items())
    except msgspec.MsgspecError:
        said = clean(bytes(event.data).decode("utf-8", "replace"), at_most=2000)
    _write(f"{event.seq:>6}  {clock_time(event.at)}  {clean(event.kind):<22}  {said}".rstrip())


def _write_json(event: Event) -> None:
    _write(safe_json(msgspec.json.encode(event).decode()))


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


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
