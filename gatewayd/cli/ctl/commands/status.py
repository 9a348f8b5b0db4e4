"""``gatewayctl status``: once, or drawn again and again."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from gatewayd.cli.ctl.connection.options import Json, Options, options_of
from gatewayd.cli.ctl.exit_codes import FAILED, OK, CtlError, IncompatibleResponse, Unreachable, UsageError

if TYPE_CHECKING:
    from rich.text import Text

_EVERY_SECONDS = 2.0


def status(
    ctx: typer.Context,
    seconds: Annotated[
        float | None, typer.Argument(metavar="SECONDS", help="With --watch: the pause between two looks.", min=0.1)
    ] = None,
    as_json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Draw again every 2 (or SECONDS) seconds, until Ctrl-C.")] = False,
) -> None:
    """Say whether gatewayd is healthy, and how each account is.

    The exit code is 0 when it is healthy, 1 when it is degraded and 2 when it cannot be reached.
    """
    options = options_of(ctx)
    if seconds is not None and not watch:
        raise UsageError("SECONDS goes with --watch: gatewayctl status --watch 5.")
    if watch and as_json:
        raise UsageError("--watch draws for a person; for JSON, call status --json again, or use events --follow --json.")
    if watch:
        follow_status(options, seconds or _EVERY_SECONDS)
        return
    raise typer.Exit(_print_json(options) if as_json else _print_once(options))


def _print_once(options: Options) -> int:
    from gatewayd.cli.ctl.output.screen import console, print_lines, print_note

    target = console()
    try:
        lines, code = _look(options, target.width)
    except Unreachable as error:
        print_note(f"unreachable: {error}")
        return error.code
    print_lines(lines, on=target)
    return code


def _print_json(options: Options) -> int:
    from gatewayd.cli.ctl.output.screen import print_text
    from gatewayd.cli.ctl.output.status_view import is_healthy
    from gatewayd.cli.ctl.wording import pretty_json
    from gatewayd.model.status import Snapshot

    with options.connect() as client:
        body = client.fetch("GET", "/v1/gateway/status", scope="read")
        snapshot = client.decode(body, Snapshot)
    print_text(pretty_json(body))
    return OK if is_healthy(snapshot) else FAILED


def _look(options: Options, width: int) -> tuple[list["Text"], int]:
    from gatewayd.cli.ctl.output.status_view import is_healthy, status_lines
    from gatewayd.model.status import Snapshot

    with options.connect() as client:
        snapshot = client.get("/v1/gateway/status", Snapshot, scope="read")
    return status_lines(snapshot, width), OK if is_healthy(snapshot) else FAILED


def follow_status(options: Options, seconds: float, *, pause: Callable[[float], None] = time.sleep) -> None:
    """Draw until Ctrl-C. The daemon and its token are found anew each time, so its restart is only an interval.

    :raises IncompatibleResponse: the daemon is of another release.
    """
    from rich.live import Live
    from rich.text import Text

    from gatewayd.cli.ctl.output.screen import console, print_lines, wrapped

    target = console()

    def frame() -> list[Text]:
        try:
            return _look(options, target.width)[0]
        except IncompatibleResponse:
            raise
        except CtlError as error:
            verdict = f"unreachable: {error}" if isinstance(error, Unreachable) else str(error)
            return wrapped(Text(verdict, style="bold red"), target.width, indent=0)

    try:
        if not target.is_terminal:
            while True:
                print_lines([*frame(), Text()], on=target)
                pause(seconds)
        with Live(console=target, auto_refresh=False, vertical_overflow="ellipsis") as live:
            while True:
                live.update(Text("\n").join(frame()), refresh=True)
                pause(seconds)
    except KeyboardInterrupt:
        return
