"""An agent's own keys in the configuration."""

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from gatewayd.kit.command import problems_of_command, warnings_of_command
from gatewayd.model.config import Count, GatewaySection, Seconds
from gatewayd.model.secret import Secret

_HARMLESS = ("read", "list", "glob", "grep", "lsp", "skill", "todoread", "todowrite", "question", "plan_enter", "plan_exit")


class OpencodeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """core = "opencode": an OpenCode or OpenAgentic server, one that runs somewhere (url) or one of its own (command)."""

    url: str | None = None
    """A server that runs already: http://HOST:PORT, without a path. Either this or command."""
    command: tuple[str, ...] = ()
    """The program that gatewayd starts and ends, e.g. ["opencode", "serve"] or ["oa", "serve"]. "{port}" in it stands for the
    port to listen on; without it, --port and the number are added. It must listen on 127.0.0.1, as both do by themselves."""
    directory: str | None = None
    """Where the agent works, an absolute path. Default: with command a directory of its own in the state directory, with url
    the server's own. An OpenAgentic server has one directory, so with url this is for OpenCode only."""
    username: str = "opencode"
    """The name that goes with password."""
    password: Secret | None = None
    """A remote server's OPENCODE_SERVER_PASSWORD: { file = "…" }, { env = "…" } or { credential = "…" }. With command there is
    a new one at each start."""
    token: Secret | None = None
    """A remote OpenAgentic server's OA_SERVER_TOKEN, instead of password."""
    environment: dict[str, str] = {}
    """Environment variables for command. Of gatewayd's own it gets only PATH, HOME, LANG and the like."""
    secrets: dict[str, Secret] = {}
    """Environment variables with secrets, e.g. ANTHROPIC_API_KEY = { file = "…" }."""
    model: str | None = None
    """PROVIDER/MODEL, e.g. "anthropic/claude-sonnet-4-5"; else the server's own choice. OpenCode only."""
    agent: str | None = None
    """The name of one of the server's own agents, e.g. "build". OpenCode only."""
    auto_approve: tuple[str, ...] = _HARMLESS
    """What OpenCode may do without asking, by its names of permissions. It asks for all else, tools of MCP servers included.
    (Its own default asks for almost nothing.) The key is for command: a remote server has this in its own configuration, see
    docs/how-to/opencode.md. OpenAgentic asks for all that is not harmless anyway."""
    start_timeout_seconds: Annotated[float, Meta(gt=0, le=55)] = 45.0
    """How long command may take until its server answers. An agent that is not open after 60 s is begun anew in any case."""
    poll_seconds: Annotated[float, Meta(ge=0.1, le=60)] = 2.0
    """How often the server is asked what its sessions do, while a turn runs: its events alone cannot be trusted."""
    unreachable_seconds: Seconds = 120.0
    """A server of its own that answers nothing for so long is started anew. A remote one is waited for while a turn runs."""
    max_messages: Count = 200
    """How many messages (steps) a model may write for one prompt, before the run is stopped: a guard against endless loops."""

    def problems(self, gateway: GatewaySection) -> Iterator[str]:
        """What is wrong beyond types, one sentence each, without a secret. See ``model.config.ChecksItself``."""
        if (self.url is None) == (not self.command):
            yield "needs either url (a server that runs already) or command (one that gatewayd starts), and not both"
        if self.url is not None:
            yield from self._problems_of_url(self.url)
        yield from problems_of_command(self.command, self.directory, self.environment, self.secrets)
        if self.password is not None and self.token is not None:
            yield "password and token are two ways to log in: give one of them"
        if self.command and (self.password is not None or self.token is not None):
            yield "password and token are for url; with command there is a new password at each start"
        if self.model is not None and not all(self.model.partition("/")):
            yield f"model must be PROVIDER/MODEL, found {self.model!r}"

    def _problems_of_url(self, url: str) -> Iterator[str]:
        if not _is_base(url):
            yield "url must be an http or https URL with a host and without a path, a user or a password"
        if self.environment or self.secrets:
            yield "environment and secrets are for command; the environment of a server that runs already is its own"

    def warnings(self) -> Iterator[str]:
        """Whether ``command`` and ``directory`` are there. See ``model.config.ChecksMachine``."""
        return warnings_of_command(self.command, self.directory, self.environment) if self.command else iter(())


def _is_base(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    bare = not (parts.query or parts.fragment or parts.username or parts.password) and parts.path in ("", "/")
    return parts.scheme in ("http", "https") and bool(parts.hostname) and bare
