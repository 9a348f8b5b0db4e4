"""The operator's command, `gatewayctl`. Its subcommands are in ``gatewayd.cli.ctl.commands``."""

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated

import typer
from typer.main import get_command

from gatewayd import __version__
from gatewayd.cli.ctl.commands.agents import agents
from gatewayd.cli.ctl.commands.approvals import approvals
from gatewayd.cli.ctl.commands.audit import audit
from gatewayd.cli.ctl.commands.channels import channels
from gatewayd.cli.ctl.commands.console import console
from gatewayd.cli.ctl.commands.dead_letters import dead_letters
from gatewayd.cli.ctl.commands.events import events
from gatewayd.cli.ctl.commands.new_channel import new_channel
from gatewayd.cli.ctl.commands.pairing import pairing
from gatewayd.cli.ctl.commands.reload import reload
from gatewayd.cli.ctl.commands.route import route
from gatewayd.cli.ctl.commands.status import status
from gatewayd.cli.ctl.commands.trace import trace
from gatewayd.cli.ctl.commands.webchat import webchat
from gatewayd.cli.ctl.connection.options import Options
from gatewayd.cli.ctl.exit_codes import INTERRUPTED, OK, USAGE, CtlError, OutputClosed
from gatewayd.cli.streams import discard_output, print_error, run_with_streams

_GLOBAL = ("--url", "--token-file", "--state-dir", "--timeout", "--version")
_RENAMED = {"letters": "dead-letters"}

app = typer.Typer(
    name="gatewayctl",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gatewayctl {__version__}")
        raise typer.Exit


@app.callback()
def gatewayctl(
    ctx: typer.Context,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="The daemon's URL. [default: $GATEWAYD_URL, else the local daemon]")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The file with the token. [default: $GATEWAYD_TOKEN, else the local daemon's]"),
    ] = None,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="The state directory of the local daemon. [default: $GATEWAYD_STATE_DIR, else searched]"
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="The longest silence of the daemon before the command fails.")
    ] = 10.0,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """See and control a running gatewayd. Write these options before the command: gatewayctl --url URL status."""
    ctx.obj = Options(url=url, token_file=token_file, state_dir=state_dir, timeout=timeout)


app.command()(status)
app.add_typer(channels, name="channels")
app.add_typer(agents, name="agents")
app.add_typer(approvals, name="approvals")
app.add_typer(dead_letters, name="dead-letters")
app.command()(trace)
app.add_typer(pairing, name="pairing")
app.command()(events)
app.command()(route)
app.command()(reload)
app.add_typer(webchat, name="webchat")
app.command()(console)
app.command()(new_channel)
app.add_typer(audit, name="audit")
_commands = cache(get_command)
"""Built once in a process: typer inspects every signature."""


def main(args: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (docs/reference/gatewayctl.md). Errors are sentences on stderr."""
    return run_with_streams("gatewayctl", lambda: _run(args), needs_stdout=True)


def _run(args: Sequence[str] | None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal that cannot show a character gets an escape instead of a traceback.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _commands(app)(args=args, prog_name="gatewayctl", standalone_mode=False)
    except CtlError as error:
        return _fail(f"{error} {error.hint}".rstrip(), error.code)
    except typer.TyperException as error:
        return _usage_error(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (OutputClosed, BrokenPipeError):
        return _output_closed()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer exits so when a page of help cannot be written
            return _output_closed()
        raise
    return code if isinstance(code, int) else OK


def _output_closed() -> int:
    discard_output(sys.stdout)
    return OK


def _usage_error(error: typer.TyperException) -> int:
    message = error.format_message().replace("Value error, ", "", 1)
    if message.startswith("Usage:"):
        # A group without a subcommand: the message is its help page.
        print_error(message)
        return USAGE
    for old, new in _RENAMED.items():
        if message.startswith(f"No such command '{old}'"):
            return _fail(f"the command {old} is {new} now: gatewayctl {new}.", USAGE)
    if getattr(error, "option_name", None) in _GLOBAL:
        return _fail(f"{message}. Write it before the command: gatewayctl {getattr(error, 'option_name', '')} … COMMAND.", USAGE)
    command = getattr(getattr(error, "ctx", None), "command_path", "gatewayctl")
    return _fail(f"{message if message.endswith('?') else message.rstrip('.') + '.'} See: {command} --help", USAGE)


def _fail(message: str, code: int) -> int:
    sys.stdout.flush()
    print_error(f"gatewayctl: {message}")
    return code
