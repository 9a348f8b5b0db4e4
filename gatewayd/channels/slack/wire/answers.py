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
    a person's token has none. ``is_enterprise_install``: it is of a whole organisation, and ``team_id`` may be, too."""

    team_id: str
    user_id: str
    bot_id: str | None = None
    team: str = ""
    user: str = ""
    url: str = ""
    is_enterprise_install: bool = False


class ConnectionOpened(Struct, frozen=True):
    """apps.connections.open. ``url`` holds a ticket, so it is a secret."""

    url: str


class Posted(Struct, frozen=True):
    """chat.postMessage, chat.update: where the message is."""

    channel: str = ""
    ts: str = ""


class Share(Struct, frozen=True):
    """A message that shows a file."""

    ts: str


class File(Struct, frozen=True):
    """A file ("File object"). ``mode`` is hosted, snippet, post, external, tombstone (deleted), hidden_by_limit and others.
    ``is_external``: it is kept somewhere else, and ``url_private`` leads there. ``shares`` are the messages that show it, by
    public or private, and by channel: they may come later than the answer (slackapi/bolt-js, issue 2115)."""

    id: str
    mode: str | None = None
    is_external: bool = False
    url_private: str | None = None
    mimetype: str | None = None
    size: int | None = None
    shares: dict[str, dict[str, tuple[Share, ...]]] = {}

    def ts_in(self, channel: str) -> str | None:
        """The message of ``channel`` that shows it; the newest, when there are several."""
        return max((share.ts for of_kind in self.shares.values() for share in of_kind.get(channel, ())), default=None)


class FileInfo(Struct, frozen=True):
    """files.info."""

    file: File


class UploadUrl(Struct, frozen=True):
    """files.getUploadURLExternal."""

    upload_url: str
    file_id: str


class Completed(Struct, frozen=True):
    """files.completeUploadExternal."""

    files: tuple[File, ...] = ()


class BotInfo(Struct, frozen=True):
    """Of bots.info, which app the bot is of."""

    app_id: str | None = None


class BotAnswer(Struct, frozen=True):
    """bots.info."""

    bot: BotInfo
