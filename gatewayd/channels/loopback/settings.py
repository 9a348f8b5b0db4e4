"""The keys of ``[channels.loopback.accounts.NAME]`` beside the common ones."""

from msgspec import Struct


class LoopbackSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The loopback's own settings."""

    identity: str = "loopback"
    """The name under which the account says it is connected."""
