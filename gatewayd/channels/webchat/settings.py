"""The keys of ``[channels.webchat.accounts.NAME]`` beside the common ones."""

from typing import Annotated

from msgspec import Meta, Struct


class WebchatSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The web chat's own settings."""

    session_days: Annotated[int, Meta(ge=1, le=365)] = 30
    """A login that is not used for this many days ends."""
    max_pages: Annotated[int, Meta(ge=1, le=10_000)] = 200
    """How many open pages, of all people, are served at once; one more is told to come back later."""
