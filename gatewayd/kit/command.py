"""The keys of an agent that runs a program: what is wrong with ``command``, ``directory``, ``environment`` and ``secrets``."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import anyio

from gatewayd.model.secret import Secret

_OWN_VARIABLES = "GATEWAYD_"


def problems_of_command(
    command: Sequence[str], directory: str | None, environment: Mapping[str, str], secrets: Mapping[str, Secret]
) -> Iterator[str]:
    """See ``model.config.ChecksItself``."""
    if command and (not command[0] or any("\0" in part for part in command)):
        yield "command must begin with a program, and no part of it may hold a NUL character"
    if directory is not None and ("\0" in directory or not os.path.isabs(directory)):
        yield f"directory must be an absolute path, found {directory!r}"
    for name in (*environment, *secrets):
        if name.startswith(_OWN_VARIABLES):
            yield f"{name}: the variables {_OWN_VARIABLES}* are gatewayd's own"
    for name in sorted(environment.keys() & secrets.keys()):
        yield f"{name} stands in environment and in secrets"
    for name, value in environment.items():
        if "\0" in value:
            yield f"environment.{name} holds a NUL character"


def warnings_of_command(command: Sequence[str], directory: str | None, environment: Mapping[str, str]) -> Iterator[str]:
    """Whether the program and the directory are there. See ``model.config.ChecksMachine``."""
    program, path = command[0], environment.get("PATH", os.environ.get("PATH"))
    if "/" not in program and shutil.which(program, path=path) is None:
        yield f"command: there is no program {program!r} on PATH; install it, or give its whole path"
    elif os.path.isabs(program) and not os.access(program, os.X_OK):
        yield f"command: {program} is not there, or may not be run"
    if directory is not None and not Path(directory).is_dir():
        yield f"directory: {directory} is not there; make it, or leave it out"


async def work_directory(directory: str | None, own: Path) -> Path:
    """The configured directory, else ``work`` in the agent's own one, which is made (mode 0700)."""
    if directory is not None:
        return Path(directory)
    for part in (own, own / "work"):
        await anyio.Path(part).mkdir(mode=0o700, parents=True, exist_ok=True)
    return own / "work"
