"""``gatewayctl status``: once, or repeatedly."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from gatewayd.cli.ctl.commands.answer import print_answer
from gatewayd.cli.ctl.connection.options import Json, Options, options_of
from gatewayd.cli.ctl.exit_codes import FAILED, OK, CtlError, IncompatibleResponse, Unreachable, UsageError
from gatewayd.model.status import Snapshot

if TYPE_CHECKING:
    from rich.text import Text

_EVERY_SECONDS = 2.0
_PATH = "/v1/gateway/status"


def status(
    ctx: typer.Context,
    seconds: Annotated[
        float | None, typer.Argument(metavar="SECONDS", help="With --watch: the pause between two looks.", min=0.1)
    ] = None,
    as_json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Draw again every 2 (or SECONDS) seconds, until Ctrl-C.")] = False,
) -> None:
    """Show whether gatewayd is healthy, and the state of each account.

    The exit code is 0 for healthy, 1 for degraded, and 2 for a daemon that cannot be reached.
    """
    options = options_of(ctx)
    if seconds is not None and not watch:
        raise UsageError("SECONDS goes with --watch: gatewayctl status --watch 5.")
    if watch and as_json:
        raise UsageError("--watch is for people. For JSON: gatewayctl status --json again, or gatewayctl events --follow --json.")
    if watch:
        follow_status(options, seconds or _EVERY_SECONDS)
        return
    raise typer.Exit(_print(options, as_json=as_json))


def _print(options: Options, *, as_json: bool) -> int:
    from gatewayd.cli.ctl.output.screen import print_note
    from gatewayd.cli.ctl.output.status_view import is_healthy

    try:
        snapshot = print_answer(options, _PATH, Snapshot, _lines, scope="read", as_json=as_json)
    except Unreachable as error:
        if as_json:
            raise
        print_note(f"unreachable: {error}")
        return error.code
    return OK if is_healthy(snapshot) else FAILED


def _lines(snapshot: Snapshot, now: float, width: int) -> "list[Text]":
    from gatewayd.cli.ctl.output.status_view import status_lines

    return status_lines(snapshot, width)


def follow_status(options: Options, seconds: float, *, pause: Callable[[float], None] = time.sleep) -> None:
    """Draw until Ctrl-C. Each time the daemon and its token are found again, so a restart is only a pause.

    :raises IncompatibleResponse: the daemon is of another release.
    """
    from rich.live import Live
    from rich.text import Text

    from gatewayd.cli.ctl.output.screen import console, print_lines, wrapped
    from gatewayd.cli.ctl.output.status_view import status_lines

    target = console()

    def frame() -> list[Text]:
        try:
            with options.connect() as client:
                return status_lines(client.get(_PATH, Snapshot, scope="read"), target.width)
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
