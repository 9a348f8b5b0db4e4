"""The command of the daemon, `gatewayd`: run it, check its configuration, write a first one.

It uses argparse, not typer as gatewayctl does: a daemon should not keep a terminal library in memory.
"""

import gc
import os
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from gatewayd import __version__
from gatewayd.actor.border import describe, third_party
from gatewayd.cli.streams import print_error, run_with_streams
from gatewayd.config import SYSTEM_CONFIG, find_config, load_config, secrets_of, state_dir, user_config
from gatewayd.model.bind import parse_bind
from gatewayd.model.config import ChecksMachine, GatewayConfig
from gatewayd.model.errors import ConfigError
from gatewayd.model.secret import Redactor
from gatewayd.plugins import Registry
from gatewayd.process.pid1 import fork_below_init

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

OK: Final = 0
FAILED: Final = 1
MISCONFIGURED: Final = 78
"""EX_CONFIG of sysexits(3). Another start would fail, too, so the unit tells systemd not to restart."""

DESCRIPTION: Final = "A resident gateway between chat channels and AI agents. Without a command it runs the daemon."
EPILOG: Final = """\
The configuration is the file given with --config, else $GATEWAYD_CONFIG, else /etc/gatewayd/gatewayd.toml, else
$XDG_CONFIG_HOME/gatewayd/gatewayd.toml, else an embedded default: the web chat and an agent that echoes.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    0; 1: check-config found problems, or init could not write; 2: wrong usage; 74: the output could not be written; 78: the
    daemon cannot run with this configuration; otherwise the exit code of the daemon.
    """
    return run_with_streams("gatewayd", lambda: _main(arguments), needs_stdout=False)


def _main(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    with _ended_by_interrupts():
        match options.command:
            case "check-config":
                return _check(options.file or options.config, os.environ)
            case "init":
                return _init(options.file or options.config, os.environ)
            case _:
                return _run(options, os.environ)


@contextmanager
def _ended_by_interrupts() -> Iterator[None]:
    """SIGINT ends the process at once, until the daemon handles signals. So a ``KeyboardInterrupt`` in the code of a plug-in is
    always one that the plug-in raised: an error of it (actor/border.py)."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Parser(ArgumentParser):
    def _print_message(self, message: str, file: "SupportsWrite[str] | None" = None) -> None:
        """Raises when a page of help cannot be written; argparse would not."""
        (file or sys.stderr).write(message)


def _parser() -> ArgumentParser:
    parser = _Parser("gatewayd", description=DESCRIPTION, epilog=EPILOG, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"gatewayd {__version__}")
    parser.add_argument("--config", metavar="FILE", type=Path, help="the configuration file")
    parser.add_argument("--state-dir", metavar="DIR", type=Path, help="the directory of the store and the token")
    parser.add_argument("--bind", metavar="HOST:PORT", type=_bind, help="the address of the HTTP server")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    check = commands.add_parser("check-config", help="list every problem of a configuration file")
    check.add_argument("file", metavar="FILE", nargs="?", type=Path, help="default: the file that gatewayd would use")
    init = commands.add_parser("init", help="write a commented configuration file to start from")
    init.add_argument("file", metavar="FILE", nargs="?", type=Path, help="default: the first path that gatewayd searches")
    return parser


def _bind(text: str) -> str:
    try:
        parse_bind(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} {error}") from None
    return text


def _run(options: Namespace, env: Mapping[str, str]) -> int:
    fork_below_init()
    registry = Registry.installed()
    path = find_config(options.config, env)

    def load() -> GatewayConfig:
        # A file that existed at the start and is gone is an error, not the embedded default.
        file = path or find_config(None, env)
        _add_plugin_folder(file)
        config = load_config(file, registry, env)
        if options.bind is None:
            return config
        return msgspec.structs.replace(config, gateway=msgspec.structs.replace(config.gateway, bind=options.bind))

    try:
        config = load()
    except ConfigError as error:
        print_error(str(error))
        return MISCONFIGURED
    # The objects of the start live as long as the process. The daemon enables the collector when it is ready (daemon.py).
    gc.disable()
    _import_structlog_without_rich()
    from gatewayd import daemon  # here, because it imports the whole gateway, which the other commands do not need

    where = state_dir(options.state_dir or config.gateway.state_dir, env)
    return daemon.run(config, registry=registry, state_dir=where, load=load)


def _add_plugin_folder(file: Path | None) -> None:
    """The modules of a user's agents may be beside the configuration file. Installed modules come first."""
    if file is not None and (folder := str(file.parent.absolute())) not in sys.path:
        sys.path.append(folder)


def _import_structlog_without_rich() -> None:
    """structlog imports rich where it is installed, for tracebacks that the daemon does not use: 50 ms and 3 MiB.

    With None in ``sys.modules`` an import fails as if the package were missing (Python reference, 5.3.1, the module cache).
    """
    if "structlog" not in sys.modules and "rich" not in sys.modules:
        sys.modules["rich"] = None  # type: ignore[assignment]
        import structlog  # noqa: F401

        del sys.modules["rich"]


def _check(file: Path | None, env: Mapping[str, str]) -> int:
    path = find_config(file, env)
    _add_plugin_folder(path)
    try:
        config = load_config(path, Registry.installed(), env)
    except ConfigError as error:
        print_error(str(error))
        return FAILED
    redact = Redactor(secrets_of(config))
    if config.broken:
        for sentence in config.broken:
            print_error(f"{redact(sentence)}; gatewayd would run without it")
        return FAILED
    for warning in (*config.warnings, *_machine_warnings(config)):
        print_error(f"warning: {redact(warning)}")
    sys.stdout.write(f"{path or 'no file, the embedded default'}: ok\n{_summary(config)}")
    return OK


def _machine_warnings(config: GatewayConfig) -> Iterator[str]:
    """The warnings of the plug-ins about this machine. Their code runs here, and perhaps the user's."""
    plugins = [(f"[agents.{agent.agent_id}]", agent.settings) for agent in config.agents]
    plugins += [(f"[channels.{one.channel}.accounts.{one.account}]", one.settings) for one in config.accounts]
    for table, settings in plugins:
        try:
            with third_party():
                found = [str(sentence) for sentence in settings.warnings()] if isinstance(settings, ChecksMachine) else []
        except Exception as error:
            found = [f"the check of the plug-in failed: {describe(error)}"]
        yield from (f"{config.source}: {table}: {sentence}" for sentence in found)


def _summary(config: GatewayConfig) -> str:
    agents = [f"{agent.agent_id} ({agent.frame.core})" for agent in config.agents]
    accounts = [
        f"{account.channel}/{account.account}{'' if account.frame.enabled else ' (disabled)'}" for account in config.accounts
    ]
    return (
        f"  listens on {config.gateway.bind}, or on the sockets that systemd hands over\n"
        f"  agents: {_some(agents)}; {config.default_agent} is the default\n"
        f"  accounts: {_some(accounts)}\n"
        f"  bindings: {len(config.bindings)}\n"
    )


def _some(names: Sequence[str]) -> str:
    more = [f"and {len(names) - 10} more"] if len(names) > 10 else []
    return ", ".join([*names[:10], *more]) or "none"


def _init(file: Path | None, env: Mapping[str, str]) -> int:
    from gatewayd.config.starter import starter_text

    path = file or _new_file(env)
    if path is None:
        print_error("there is neither $XDG_CONFIG_HOME nor $HOME. Name the file: gatewayd init FILE")
        return FAILED
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # "x" never overwrites, not even a file that appears meanwhile.
        with path.open("x", encoding="utf-8") as target:
            target.write(starter_text(Registry.installed()))
    except OSError as error:
        there = isinstance(error, FileExistsError) and os.path.lexists(path)
        kept = "is there already, and was not changed. Write another file: gatewayd init FILE"
        what = kept if there else f"cannot be written: {error.strerror or error}"
        print_error(f"{path}: {what}")
        return FAILED
    found = find_config(None, env)
    how = "gatewayd" if found is not None and found.absolute() == path.absolute() else f"gatewayd --config {path}"
    sys.stdout.write(f"{path}: written\n  change it, then: gatewayd check-config {path}\n  and run: {how}\n")
    return OK


def _new_file(env: Mapping[str, str]) -> Path | None:
    """Where a first file belongs: where it will be found."""
    if named := env.get("GATEWAYD_CONFIG"):
        return Path(named)
    return SYSTEM_CONFIG if os.geteuid() == 0 else user_config(env)
