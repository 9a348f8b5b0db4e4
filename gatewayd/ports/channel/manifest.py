"""The manifest of a channel: what the hub knows of it without an import of its driver."""

import re
from typing import Final, Literal

from msgspec import Struct

from gatewayd.model.config import Scope

API: Final = 1
"""The version of this port. A plug-in with another one is refused when it is found, not in the middle of a message."""

WEBHOOK_ANSWER_SECONDS: Final = 10.0

TextUnit = Literal["utf16", "bytes", "chars"]
WebhookMethod = Literal["GET", "POST"]
TextFormat = Literal["markdown", "rich", "plain"]


class TextLimit(Struct, frozen=True):
    """The longest text of one message, in UTF-16 code units, UTF-8 bytes or code points. ``lines``: how many lines it may have,
    None for any number; with 1 each line is a message."""

    size: int
    unit: TextUnit
    lines: int | None = None


class HttpRoute(Struct, frozen=True):
    """One route of a plug-in: ``path`` below the path of the plug-in, without a slash at either end. A part in angle brackets
    matches any one segment (``files/<name>``). A GET answers a HEAD, too.

    ``scope``: a token of gatewayd with this scope is needed, which is checked before the plug-in is asked. None: anybody may ask,
    and the plug-in decides whom it answers.
    ``at_most_bytes``: the limit of the body, which is then refused without a Content-Length. For routes that need no login. None:
    ``gateway.max_body_bytes``, which is the limit of every body.
    ``accepts``: the media type of the body. A page of another site can make a browser send a form or a text, but no JSON. None:
    any, and the plug-in itself tells who has sent it.
    ``streams``: the body is given piece by piece, as it arrives. Otherwise it is read as a whole first.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str = ""
    scope: Scope | None = None
    at_most_bytes: int | None = None
    accepts: str | None = "application/json"
    streams: bool = False


class ChannelPlugin(Struct, frozen=True):
    """The manifest. Loading it imports no driver: ``settings``, ``open`` and ``wire_size`` are named as ``module:attribute``.

    The driver takes our own name out of a command that is addressed by name (``/stop@us``). A command with another name is for
    another bot.

    ``settings`` names a frozen msgspec Struct (``forbid_unknown_fields``) for the account's own keys; ``open`` names a
    ``ChannelOpener``. ``api`` is the version of the port that the driver is written for.

    Texts: ``text_format`` says what ``RichText.text`` of a SendText is. ``text_limit`` None means no limit. ``wire_size`` names a
    pure function ``(RichText) -> int``, the size of a text as the platform counts it, in the unit of the limit, where formats
    and escapes count, too. None: the plain text is counted. An open channel that implements LimitsText may lower the limit.

    Sends: ``resend_safe_seconds`` is how long after its first attempt a send may be repeated, because the platform drops a
    second one with the same ``key``: None for never, infinity for always. A repeated edit is always safe. ``acknowledges`` False:
    the network confirms nothing (IRC, MQTT QoS 0). A send that returns was written to the connection, and a message that
    came while nobody listened, or could not be stored, is lost. ``reconciles``: the channel implements Reconciles.
    ``edits``: EditText is carried out; without it the hub sends a new text. ``grows``: the channel implements ShowsGrowth.
    ``files``: SendFile is carried out, up to ``file_bytes`` (None: any size), with a caption of at most ``caption_limit``
    (None: as ``text_limit``). Without it, and for a larger file, the hub sends the caption and the file's name as a text.
    ``ephemeral``: ``SendText.only_for`` is carried out; without it the hub does not use it.
    ``recalls``: the channel implements RecallsThreads.

    ``buttons``: SendText.choices are shown, and a press arrives as an envelope of the kind button (``text`` the choice's data,
    ``message_id`` the message it was under, ``press`` the platform's id of the press); without it a text says what to write
    instead. ``repeats_presses`` False: a press that came while nobody listened is lost. The hub shows what waits for a press anew
    whenever the account is connected again, after a start, too.

    ``webhook``: the channel may implement ReceivesWebhooks, for the ``webhook_methods``. A platform that verifies
    a webhook asks by GET. An answer comes within ``webhook_answer_seconds``, which is below what the platform waits.

    ``http`` names a ``ServesHttp``, which answers the ``routes`` at ``/v1/{id}/{account}/``, or, with ``one_account``, at
    ``/v1/{id}/``. ``front_page``: the route ``GET ""`` is what ``/`` shows, too, when the channel is configured; of several such
    channels that of the first id.

    ``authenticates_peers``: the channel itself admits people (as the login of the web chat does), so ``dm_policy`` defaults to
    open. ``id_pattern`` is a regular expression that every id of a person matches as a whole, ``place_pattern`` the same of a
    group (None: as ``id_pattern``). ``id_form`` and ``place_form`` say the same in words. Any other value in ``allow_from`` and
    ``groups`` is an error of the configuration, because it would match nobody.
    """

    id: str
    label: str
    settings: str
    open: str
    api: int = API
    text_format: TextFormat = "markdown"
    text_limit: TextLimit | None = None
    wire_size: str | None = None
    webhook: bool = False
    webhook_methods: tuple[WebhookMethod, ...] = ("POST",)
    webhook_answer_seconds: float = WEBHOOK_ANSWER_SECONDS
    http: str | None = None
    routes: tuple[HttpRoute, ...] = ()
    front_page: bool = False
    authenticates_peers: bool = False
    resend_safe_seconds: float | None = None
    acknowledges: bool = True
    reconciles: bool = False
    one_account: bool = False
    buttons: bool = False
    repeats_presses: bool = True
    edits: bool = False
    grows: bool = False
    files: bool = False
    file_bytes: int | None = None
    caption_limit: TextLimit | None = None
    ephemeral: bool = False
    recalls: bool = False
    id_pattern: str | None = None
    id_form: str = "an id of the channel"
    place_pattern: str | None = None
    place_form: str | None = None

    def is_id(self, text: str, *, place: bool) -> bool:
        """Whether this can be the id of a group (``place``), or of a person."""
        pattern = self.place_pattern if place and self.place_pattern is not None else self.id_pattern
        return pattern is None or re.fullmatch(pattern, text) is not None

    def form_of(self, *, place: bool) -> str:
        """What such an id looks like, in words."""
        return self.place_form if place and self.place_form is not None else self.id_form
