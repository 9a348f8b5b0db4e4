"""``gatewayctl new-channel``: write a package to start a channel from. It asks no daemon."""

from pathlib import Path
from typing import Annotated

import typer

from gatewayd.cli.ctl.exit_codes import CtlError, UsageError


def new_channel(
    name: Annotated[str, typer.Argument(help="The id of the channel, and the name of its package.")],
    into: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the folder NAME is made.")] = Path(),
) -> None:
    """Write the package of a new channel: a small one that works, to change into yours. Needs no daemon."""
    # Here, because no other command needs the registry of plug-ins.
    from gatewayd.cli.scaffold.channel import NotWritten, UnusableName, check_name, write_channel
    from gatewayd.plugins import Registry

    try:
        check_name(name, Registry.installed().channel_ids)
        folder = write_channel(name, into)
    except UnusableName as error:
        raise UsageError(f"{error}.") from error
    except NotWritten as error:
        raise CtlError(f"{error}.") from error
    typer.echo(f"{folder} is a channel that works. Install it, and run its tests:")
    typer.echo(f"  cd {folder}\n  pip install -e '.[test]'\n  pytest -q\nIts README.md says what is next.")
