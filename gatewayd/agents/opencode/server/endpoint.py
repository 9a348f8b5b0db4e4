"""The HTTP server behind a core, as the proxy sees it."""

from collections.abc import Mapping
from typing import Protocol, TypeGuard, runtime_checkable

from msgspec import Struct

from gatewayd.actor.border import third_party


class ServerEndpoint(Struct, frozen=True):
    """``headers`` hold the credentials. ``directory`` is the agent's working directory, None for the server's own.
    ``one_run_at_a_time``: the server cannot tell apart the requests of two runs."""

    url: str
    headers: Mapping[str, str]
    directory: str | None = None
    one_run_at_a_time: bool = False


@runtime_checkable
class HasEndpoint(Protocol):
    """A core whose server speaks the OpenCode protocol. It may be one of another plug-in that names our proxy in its manifest."""

    def endpoint(self) -> ServerEndpoint: ...

    def turn_of(self, session_id: str) -> str | None:
        """The turn of ours that runs in a session of the core now."""


def has_endpoint(core: object) -> TypeGuard[HasEndpoint]:
    """Whether there is a server behind the core."""
    with third_party():
        return isinstance(core, HasEndpoint)


def endpoint_of(core: HasEndpoint) -> ServerEndpoint:
    """:raises Exception: the core fails to say."""
    with third_party():
        return core.endpoint()


def turn_in(core: HasEndpoint, session_id: str) -> str | None:
    """The turn of ours that runs in a session of the core now. :raises Exception: the core fails to say."""
    with third_party():
        return core.turn_of(session_id)
