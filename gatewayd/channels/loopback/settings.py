"""The keys of ``[channels.loopback.accounts.NAME]`` beside the common ones."""

from typing import Annotated

from msgspec import Meta, Struct


class LoopbackSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The loopback's own settings."""

    identity: str = "loopback"
    """The name under which the account says it is connected."""
    beat_seconds: Annotated[float, Meta(gt=0)] | None = None
    """How often the platform says that it is there while there is nothing else to say. Without it, silence is normal."""
