"""The acp core's keys in the configuration."""

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, Struct

from gatewayd.kit.command import problems_of_command, warnings_of_command
from gatewayd.model.config import GatewaySection
from gatewayd.model.secret import Secret

Timeout = Annotated[float, Meta(gt=0, le=86_400)]
Variable = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}\Z", description="a name of letters, digits and _ that begins with no digit"),
]


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
        return problems_of_command(self.command, self.directory, self.environment, self.secrets)

    def warnings(self) -> Iterator[str]:
        """Whether the program and the directory are there. See ``model.config.ChecksMachine``."""
        return warnings_of_command(self.command, self.directory, self.environment)

    def variables(self) -> dict[str, str]:
        """The variables of the process, beside the harmless ones of gatewayd's environment."""
        return {**self.environment, **{name: secret.reveal() for name, secret in self.secrets.items()}}
