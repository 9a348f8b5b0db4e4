"""The options of every command, and the connection that they describe."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import Struct

from gatewayd.cli.ctl.connection.locate import locate

if TYPE_CHECKING:
    from gatewayd.cli.ctl.connection.client import Client

Json = Annotated[bool, typer.Option("--json", help="Print the answer of gatewayd as JSON.")]


class Options(Struct, frozen=True):
    """The global options. ``timeout`` is the longest silence of the daemon, in seconds."""

    url: str | None = None
    token_file: Path | None = None
    state_dir: Path | None = None
    timeout: float = 10.0

    def connect(self) -> "Client":
        """Find the daemon and its token again (a restart changes them). The caller closes the client: ``with``.

        :raises CtlError: no daemon was found.
        """
        from gatewayd.cli.ctl.connection.client import Client
        from gatewayd.config.paths import state_dirs

        target = locate(state_dirs(self.state_dir, os.environ), url=self.url, token_file=self.token_file)
        return Client(target, timeout=self.timeout)


def options_of(ctx: typer.Context) -> Options:
    """The global options of this run."""
    options = ctx.find_object(Options)
    assert options is not None
    return options
