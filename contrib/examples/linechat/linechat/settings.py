"""The keys of an account in the configuration."""

from msgspec import Struct


class LineSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[channels.linechat.accounts.NAME]"""

    path: str
    """Where the socket is made. Who may open the file may talk to the agent."""
