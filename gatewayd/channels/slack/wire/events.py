"""Events, interactions and messages of Slack, as far as they are read. Pure.

Unknown fields are skipped, and of the known ones almost all may be missing or empty: the same message has fewer fields as an
``app_mention`` than as a ``message``, in a history and in an edit. Sources are pages of docs.slack.dev, and the types of
slackapi/node-slack-sdk (packages/types/src) for what the pages leave out.
"""

from typing import Annotated, Final

from msgspec import Meta, Raw, Struct

from gatewayd.channels.slack.wire.answers import Metadata
from gatewayd.kit.json import decode

_NOTHING: Final = Raw()
"""A field that is not there. (msgspec takes no object for ``Raw | None``.)"""


Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{0,200}\Z")]
"""Of a user, an app, a workspace, a file … Slack documents no more than that they are texts."""
Ts = Annotated[str, Meta(pattern=r"^[0-9]{1,12}\.[0-9]{1,9}\Z")]
"""Unix seconds, which are the id of a message in its channel ("Retrieving messages", "Individual messages")."""


def is_direct(channel: str) -> bool:
    """Whether this is the id of a direct message: those begin with a D ("Conversation object")."""
    return channel.startswith("D")


class Authorization(Struct, frozen=True):
    """One installation that may see an event. Slack names one of them, which need not be ours ("Events API",
    "Authorizations")."""

    team_id: Id | None = None
    is_enterprise_install: bool = False


class Callback(Struct, frozen=True):
    """What is around every event ("Events API", "Callback field overview"): the body of a request, or the payload of a frame.
    ``is_ext_shared_channel``: it is of a channel that several workspaces share (Slack Connect)."""

    type: str
    team_id: Id | None = None
    context_team_id: Id | None = None
    authorizations: tuple[Authorization, ...] = ()
    is_ext_shared_channel: bool = False
    event: Raw = _NOTHING


class Event(Struct, frozen=True):
    """Of every event, which one it is."""

    type: str


class Edited(Struct, frozen=True):
    """By whom and when a person changed the text. What Slack itself adds to a message (a preview of a link, the language, a
    reply) leaves it as it is. It can be empty, for threads of the assistant (slackapi/bolt-python, test_events_assistant.py)."""

    ts: Ts = ""


class Profile(Struct, frozen=True):
    """``user_profile`` of a message from another workspace (types, AppMentionEvent), and ``profile`` of users.info. A name that
    nobody has set is empty."""

    display_name: str = ""
    real_name: str = ""
    team: str = ""


class File(Struct, frozen=True):
    """ "File object". ``mode`` is hosted, snippet, post, external, tombstone (deleted) or hidden_by_limit; ``subtype`` is
    slack_audio for a voice clip. In a Slack Connect channel ``file_access`` may be check_file_info: then files.info has the
    rest."""

    id: Id = ""
    name: str | None = None
    title: str | None = None
    mimetype: str | None = None
    size: int | None = None
    mode: str | None = None
    subtype: str | None = None


class Shared(Struct, frozen=True):
    """An attachment. ``is_share``: it is another message, which the sender has forwarded; then ``ts`` and the author are that
    message's. An attachment with ``is_msg_unfurl`` alone is the preview of a link to one, which Slack adds later."""

    is_share: bool = False
    text: str | None = None
    fallback: str | None = None
    title: str | None = None
    pretext: str | None = None
    author_id: Id | None = None
    author_name: str | None = None
    ts: Ts | None = None
    message_blocks: Raw = _NOTHING
    files: tuple[File, ...] = ()


class Whose(Struct, frozen=True):
    """Of a message, what says whose it is. ``bot_id`` is there when an app wrote it, also in the name of a user."""

    user: Id | None = None
    bot_id: Id | None = None
    app_id: Id | None = None
    subtype: str | None = None
    parent_user_id: Id | None = None


class Message(Whose, frozen=True):
    """A message, as an event, in a history, or inside another event ("message event" and the pages of its subtypes;
    conversations.history).

    ``thread_ts`` is the ``ts`` of the message that began the thread; that message itself has it, too, once somebody has replied.
    ``parent_user_id`` is who wrote that message. ``message`` and ``previous_message`` are those of a change, ``deleted_ts`` is of
    a deletion. ``latest_reply`` is in histories, in messages that began a thread.
    """

    ts: Ts = ""
    channel: Id = ""
    text: str | None = None
    thread_ts: Ts | None = None
    username: str | None = None
    team: Id | None = None
    user_team: Id | None = None
    source_team: Id | None = None
    user_profile: Profile | None = None
    edited: Edited | None = None
    blocks: Raw = _NOTHING
    attachments: tuple[Shared, ...] = ()
    files: tuple[File, ...] = ()
    message: Raw = _NOTHING
    previous_message: Raw = _NOTHING
    deleted_ts: Ts = ""
    latest_reply: Ts | None = None

    @property
    def edited_at(self) -> str:
        """When a person changed it last; empty: nobody did."""
        return "" if self.edited is None else self.edited.ts

    @property
    def root(self) -> str | None:
        """The message that began the thread in which this one is a reply; None: it is no reply."""
        return None if self.thread_ts in (None, "", self.ts) else self.thread_ts


def decode_message(raw: bytes | Raw) -> Message:
    """A field of another type than Slack says costs no message, unless it says whose the message is.

    :raises Malformed: it is no message.
    """
    decode(raw, Whose)
    return decode(raw, Message, lenient=True)


class Item(Struct, frozen=True):
    """What a reaction is about: ``type`` is message, and was file."""

    type: str
    channel: Id = ""
    ts: Ts = ""


class Reaction(Struct, frozen=True):
    """ "reaction_added event", "reaction_removed event": ``reaction`` is the emoji's name."""

    user: Id
    item: Item
    reaction: str = ""
    event_ts: Ts = ""


class Person(Struct, frozen=True):
    """Who has pressed or asked. ``name`` and ``username`` are the same."""

    id: Id
    name: str | None = None
    username: str | None = None
    team_id: Id | None = None


class Place(Struct, frozen=True):
    """A channel of an interaction."""

    id: Id = ""


class Container(Struct, frozen=True):
    """Where the pressed element is: ``type`` is message, message_attachment or view."""

    type: str = ""
    message_ts: Ts | None = None
    channel_id: Id | None = None
    thread_ts: Ts | None = None


class Pressed(Struct, frozen=True):
    """One action. A link has no ``value``."""

    type: str = ""
    action_ts: Ts = ""
    value: str | None = None


class Interaction(Struct, frozen=True):
    """ "Interaction payloads": block_actions, message_action (a shortcut on ``message``), shortcut (a global one), and those of
    modals."""

    type: str
    user: Person
    channel: Place | None = None
    container: Container = Container()
    actions: tuple[Pressed, ...] = ()
    message: Raw = _NOTHING
    message_ts: Ts | None = None
    callback_id: str = ""
    action_ts: Ts = ""
    response_url: str | None = None


class Command(Struct, frozen=True):
    """ "Slash commands", "Preparing your app to receive commands": ``command`` begins with a slash, ``text`` is the rest.
    ``trigger_id`` is another one for each call."""

    command: str
    user_id: Id
    channel_id: Id
    trigger_id: Id
    text: str = ""
    team_id: Id | None = None
    user_name: str | None = None
    response_url: str | None = None


class HistoryPage(Struct, frozen=True):
    """conversations.history (the newest message first) and conversations.replies (the oldest first, the message that began the
    thread before all)."""

    messages: tuple[Raw, ...] = ()
    response_metadata: Metadata = Metadata()


class Conversation(Struct, frozen=True):
    """ "Conversation object". ``user`` is the other person in a direct message; ``updated`` is in milliseconds."""

    id: Id = ""
    name: str | None = None
    user: Id | None = None
    is_archived: bool = False
    updated: float = 0.0


class Conversations(Struct, frozen=True):
    """users.conversations."""

    channels: tuple[Conversation, ...] = ()
    response_metadata: Metadata = Metadata()


class User(Struct, frozen=True):
    """ "User object"."""

    id: Id
    name: str = ""
    team_id: str = ""
    profile: Profile = Profile()


class UserInfo(Struct, frozen=True):
    """users.info."""

    user: User
