"""OpenAgentic's permission requests, as it lists them: read in one way for whoever is asked. Pure."""

from msgspec import Raw, Struct

from gatewayd.agents.opencode.server.wire import Id, canonical, decode


class PermissionEntry(Struct):
    """``input`` is the tool's whole input."""

    id: Id
    tool: str
    input: Raw

    @property
    def given(self) -> str:
        """The input as canonical JSON. :raises Malformed:"""
        return canonical(self.input)


def read_permission(body: Raw) -> PermissionEntry:
    """:raises Malformed: it is no permission."""
    return decode(body, PermissionEntry, what="permission")
