"""The acp core's own keys."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from gatewayd.model.config import GatewaySection
from gatewayd.model.secret import Secret

Timeout = Annotated[float, Meta(gt=0, le=86_400)]
Variable = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}\Z", description="a name of letters, digits and _ that begins with no digit"),
]

_OURS = "GATEWAYD_"


class AcpSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """core = "acp": an agent that speaks the Agent Client Protocol over its standard input and output."""

    command: Annotated[tuple[str, ...], Meta(min_length=1, max_length=1000)]
    """The program and its arguments, e.g. ["opencode", "acp"]. No shell reads it."""
    directory: str | None = None
    """Where the agent works, an absolute path. Default: a directory of its own in the state directory."""
    environment: dict[Variable, str] = {}
    """Environment variables for the agent. From gatewayd's own it gets PATH, HOME, LANG, XDG_* and the like, nothing else."""
    secrets: dict[Variable, Secret] = {}
    """Environment variables whose values are secrets: OPENAI_API_KEY = { file = "…" }, { env = "…" } or { credential = "…" }."""
    start_timeout_seconds: Timeout = 60.0
    """How long the agent may take to start, to make a session, and to load one."""
    prompt_timeout_seconds: Timeout = 600.0
    """A turn in which the agent says nothing for so long is stopped. Waiting for a permission does not count."""
    cancel_timeout_seconds: Timeout = 4.0
    """An agent that goes on for so long after it was told to stop is ended and started again."""

    late_text: Literal["send", "log"] = "send"
    """What the agent says between its turns, of a job in the background for example: sent as a message of its own where the
    conversation's last turn was answered, or only logged with its first words."""

    def problems(self, gateway: GatewaySection) -> Iterator[str]:
        """What types cannot tell. See ``model.config.ChecksItself``."""
        if not self.command[0] or any("\0" in word for word in self.command):
            yield "command has an empty program, or a NUL character"
        if self.directory is not None and ("\0" in self.directory or not os.path.isabs(self.directory)):
            yield "directory has to be an absolute path"
        for name in (*self.environment, *self.secrets):
            if name.startswith(_OURS):
                yield f"{name}: the variables {_OURS}* are gatewayd's own"
        for name in sorted(self.environment.keys() & self.secrets.keys()):
            yield f"{name} stands in environment and in secrets"
        for name, value in self.environment.items():
            if "\0" in value:
                yield f"environment.{name} has a NUL character"

    def warnings(self) -> Iterator[str]:
        """Whether the program and the directory are there. See ``model.config.ChecksMachine``."""
        program, path = self.command[0], self.environment.get("PATH", os.environ.get("PATH"))
        if "/" not in program and shutil.which(program, path=path) is None:
            yield f"there is no command {program!r} in PATH"
        elif os.path.isabs(program) and not os.access(program, os.X_OK):
            yield f"the command {program} is not there, or may not be run"
        if self.directory is not None and not Path(self.directory).is_dir():
            yield f"the directory {self.directory} does not exist"

    def variables(self) -> dict[str, str]:
        """What the process gets beside our harmless variables."""
        return {**self.environment, **{name: secret.reveal() for name, secret in self.secrets.items()}}
