"""The answers of the Web API (docs.slack.dev/reference/methods), as far as they are read. Pure."""

from msgspec import Struct


class Metadata(Struct, frozen=True):
    """``response_metadata``."""

    next_cursor: str = ""
    messages: tuple[str, ...] = ()


class Answer(Struct, frozen=True):
    """What all answers have ("Web API", "Evaluating responses"). ``needed`` and ``provided`` are those of missing_scope."""

    ok: bool
    error: str = ""
    needed: str = ""
    provided: str = ""
    response_metadata: Metadata = Metadata()


class AuthTest(Struct, frozen=True):
    """auth.test: whose token it is. ``team_id`` is the workspace, ``user_id`` the bot's user, ``bot_id`` the bot of the app;
    a person's token has none."""

    team_id: str
    user_id: str
    bot_id: str | None = None
    team: str = ""
    user: str = ""
    url: str = ""


class ConnectionOpened(Struct, frozen=True):
    """apps.connections.open. ``url`` holds a ticket, so it is a secret."""

    url: str


class Posted(Struct, frozen=True):
    """chat.postMessage, chat.update: where the message is."""

    channel: str = ""
    ts: str = ""
