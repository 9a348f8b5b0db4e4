"""The keys of an account in the configuration."""

from msgspec import Struct


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """[channels.linechat.accounts.NAME]"""

    path: str
    """Where the socket is made. Who may open the file may talk to the agent."""
    # Yours: a server, a name. A token is a gatewayd.model.secret.Secret, which no log and no repr shows.
