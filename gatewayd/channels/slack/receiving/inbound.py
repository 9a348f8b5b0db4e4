"""What Slack tells us, as envelopes. Pure, but for what is remembered of threads and people.

One event, one key. A mention comes twice, as ``app_mention`` and as ``message``, with two ids of the event and one channel and
``ts`` ("app_mention event", "message event"), and a message of a history has no such id at all. So the key of a message is
``{team}:{channel}:{ts}``, with our workspace as the team, and that of an edit has the ``ts`` of the edit besides. Both events
give the same envelope.

Written by a person is what has a ``user`` and no ``bot_id``. Whatever an app wrote is ignored, also in the name of a person: two
bots that answer each other would never end.

A person of another workspace (Slack Connect) keeps the id that they have in Slack, which is unique over all workspaces. The
envelope's ``team`` is their own workspace, and their name says that they are not of ours.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from msgspec import Raw, Struct
from msgspec.structs import replace

from gatewayd.channels.slack.receiving.interactions import Asked, of_command, of_interaction
from gatewayd.channels.slack.receiving.people import People
from gatewayd.channels.slack.receiving.text import (
    Words,
    attachments_of,
    one_line,
    quotation,
    words_of,
    words_of_app,
    words_of_shared,
)
from gatewayd.channels.slack.receiving.threads import SlackState
from gatewayd.channels.slack.sending.places import MessageId
from gatewayd.channels.slack.settings import SlackSettings
from gatewayd.channels.slack.wire.events import Callback, Event, Message, Reaction, Shared, decode_message, is_direct
from gatewayd.kit.json import Malformed, decode
from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.envelope import InboundEnvelope, InboundKind, Origin, Peer, Sender
from gatewayd.ports.channel import AccountConfig

SAID: Final = frozenset({None, "", "file_share", "me_message", "thread_broadcast"})
"""The subtypes of what people say ("message event", "Message subtypes"). All others are news of Slack's own (somebody joined, a
topic changed), or an app's."""

MEET_SECONDS: Final = 0.7
"""Slack wants its acknowledgement within three seconds."""

AHEAD_SECONDS: Final = 86_400.0
"""Slack's clock may be so far ahead of ours. A later time must not count as received: nothing would be read back until then."""

_SLACKBOT: Final = "USLACKBOT"
_CHANGES: Final = frozenset({"message_changed", "message_replied"})


class Bot(Struct, frozen=True):
    """Who we are (auth.test; bots.info for the app). ``team`` is the id of the workspace that the token is of."""

    team: str
    user_id: str
    bot_id: str | None = None
    app_id: str | None = None
    name: str | None = None


class Read(Struct, frozen=True):
    """What came of an event. ``state`` is stored with the envelopes. ``ignored``: in words, why there are none."""

    envelopes: tuple[InboundEnvelope, ...] = ()
    state: Mapping[str, str] = {}
    ignored: str | None = None


class Receiver:
    """Of one account. The methods take what Slack has sent, and are quick.

    :raises Malformed: it cannot be read who did what where.
    """

    def __init__(
        self,
        account: AccountConfig,
        bot: Bot,
        settings: SlackSettings,
        state: SlackState,
        people: People,
        now: Callable[[], float],
    ) -> None:
        self.bot = bot
        self._account = account
        self._opens_threads = settings.replies == "thread"
        self._follows_threads = settings.thread_replies == "all"
        self._back_seconds = 60.0 * settings.backfill_minutes
        self._state = state
        self._threads = state.threads
        self._seen = state.seen
        self._people = people
        self._now = now

    async def meet(self, payloads: Iterable[bytes | Raw]) -> None:
        """Look up the people in them who are not known, for a moment at most. Before they are read."""
        await self._people.meet(payloads, us=self.bot.user_id, within_seconds=MEET_SECONDS)

    def event(self, payload: bytes | Raw) -> Read:
        """The body of an Events API callback, which is also the payload of an ``events_api`` frame."""
        callback = decode(payload, Callback, lenient=True)
        if callback.type != "event_callback":
            return Read(ignored=f"no event: {one_line(callback.type)}")
        if not self._is_ours(callback):
            return Read(ignored="an event of another workspace, where the app is installed, too")
        kind = decode(callback.event, Event).type
        match kind:
            case "message" | "app_mention":
                return self.message(callback.event, is_mention=kind == "app_mention")
            case "reaction_added" | "reaction_removed":
                return self._reaction(decode(callback.event, Reaction, lenient=True), is_added=kind == "reaction_added")
        return Read(ignored=f"an event that is not used: {one_line(kind)}")

    def message(self, raw: bytes | Raw, *, channel: str | None = None, is_mention: bool = False, is_edit: bool = False) -> Read:
        """A message, or what became of one. ``channel`` is given for those of a history, which do not say it; ``is_edit``: there,
        that it was edited is news."""
        message = decode_message(raw)
        if channel is not None:
            message = replace(message, channel=channel)
        if message.subtype == "message_deleted":
            return self._deleted(message, message.deleted_ts)
        if message.subtype in _CHANGES or (not message.subtype and bytes(message.message)):
            return self._changed(message)
        where = _named(message.channel, message.ts)
        if float(where.ts) <= self._now() + AHEAD_SECONDS:
            self._state.note(*where)
        if (why := self._why_not(message)) is not None:
            return Read(ignored=why)
        if is_mention and message.edited_at:
            return Read(ignored="an edited mention: the edit comes as message_changed, which says what was there before")
        edited_at = message.edited_at if is_edit else ""
        return self._written(message, edited_at=edited_at, is_mention=is_mention, is_live=channel is None)

    def interaction(self, payload: bytes | Raw) -> Read:
        """A press of a button, or a shortcut."""
        return self._asked(of_interaction(payload, self._quoted, opens_threads=self._opens_threads))

    def command(self, payload: bytes | Raw | Mapping[str, str]) -> Read:
        """A slash command: the JSON of a ``slash_commands`` frame, or the fields of the form."""
        return self._asked(of_command(payload, lambda text: self._words(Message(text=text)).text))

    def earlier(self, message: Message) -> Earlier:
        """A message of a thread, for somebody who reads what was said there before."""
        is_ours, is_app = self.is_ours(message), bool(message.bot_id)
        sender = self._sender(message)
        if is_app:
            name = one_line(message.username or "") or sender.name
            sender = Sender(message.user or message.bot_id or "unknown", name, is_bot=True)
        words = words_of_app(message, own_id=self.bot.user_id, own_name=self.bot.name, name_of=self._people.name_of)
        shared = [it for it in message.attachments if it.is_share]
        files = (f"[file: {file.name or file.ref}]" for file in attachments_of(message.files))
        text = "\n".join(filter(None, (self._with_shared(words, shared), *files)))
        return Earlier(sender, text, _seconds(message.ts), is_ours)

    def note_gap(self) -> None:
        """From now on something may be missing, until it is fetched (``Backfill``)."""
        self._seen.open()

    def _sender(self, message: Message) -> Sender:
        """The person who wrote a message."""
        user, profile = message.user or "", message.user_profile
        if profile is not None:
            self._people.note(user, profile)
        return self._person(user, self._team_of(message))

    def is_ours(self, message: Message) -> bool:
        """Whether we wrote it."""
        named = (message.user, self.bot.user_id), (message.bot_id, self.bot.bot_id), (message.app_id, self.bot.app_id)
        return any(given and given == own for given, own in named)

    def _is_ours(self, callback: Callback) -> bool:
        """Whether the event is for the installation of our token. An app can be installed in several workspaces, and all of
        them share its connections and its address."""
        if callback.is_ext_shared_channel or any(it.is_enterprise_install for it in callback.authorizations):
            return True
        named = (callback.team_id, callback.context_team_id, *(it.team_id for it in callback.authorizations))
        teams = [team for team in named if team is not None]
        return not teams or self.bot.team in teams

    def _why_not(self, message: Message) -> str | None:
        """Why nothing comes of a message. None: a person said it."""
        if self.is_ours(message):
            return "our own message"
        if message.bot_id or message.subtype == "bot_message":
            return "a message of an app: apps are not answered"
        if message.user == _SLACKBOT:
            return "a message of Slackbot"
        if message.subtype not in SAID:
            return f"no message of a person: {one_line(message.subtype or '')}"
        return None if message.user else "a message of nobody"

    def _changed(self, change: Message) -> Read:
        """``message_changed`` tells of much that is no edit: the preview of a link, a reply, the language, a pin. Only an
        edit has a new ``edited``. (``message_replied`` comes without its subtype: "message_replied event", "Bug alert".)"""
        if change.subtype != "message_changed":
            return Read(ignored="a thread has got a reply, which comes as a message of its own")
        message = replace(decode_message(change.message), channel=change.channel)
        before = decode_message(change.previous_message) if bytes(change.previous_message) else None
        if message.subtype == "tombstone":
            return self._deleted(change, message.ts)
        if (why := self._why_not(message)) is not None:
            return Read(ignored=why)
        if not message.edited_at or (before is not None and before.edited_at == message.edited_at):
            return Read(ignored="a message that no person has edited: Slack has added something to it")
        is_new = self._words(message).mentions_us and before is not None and not self._was_for_us(before, change.channel)
        return self._written(message, edited_at=message.edited_at, is_new=is_new)

    def _was_for_us(self, before: Message, channel: str) -> bool:
        before = replace(before, channel=channel)
        return self._place(before, is_edit=False, mentions_us=self._words(before).mentions_us)[1]

    def _deleted(self, change: Message, ts: str) -> Read:
        """The message that began a thread leaves a ``tombstone`` in its place."""
        gone = decode_message(change.previous_message) if bytes(change.previous_message) else Message()
        if gone.user and (why := self._why_not(gone)) is not None:
            return Read(ignored=f"a deletion of {why}")
        message = MessageId.parse(f"{change.channel}:{ts}")
        if message is None or (is_direct(change.channel) and not gone.user):
            return Read(ignored="a deletion of nobody knows what")
        peer = self._peer(message.channel, gone.user or "", gone.root)
        return self._read(
            self._envelope("deleted", f"{self._key(message)}:deleted", peer, self._sender(gone), message_id=str(message))
        )

    def _reaction(self, reaction: Reaction, *, is_added: bool) -> Read:
        if reaction.item.type != "message" or reaction.user == self.bot.user_id:
            return Read(ignored="a reaction of ours, or to what is no message")
        message = _named(reaction.item.channel, reaction.item.ts)
        name = one_line(reaction.reaction)
        return self._read(
            self._envelope(
                "reaction",
                ":".join((self._key(message), reaction.user, name, reaction.event_ts, "added" if is_added else "removed")),
                self._peer(message.channel, reaction.user, None),
                self._person(reaction.user, self.bot.team),
                message_id=str(message),
                text=f":{name}:" if is_added else "",
                sent_at=_seconds(reaction.event_ts),
            )
        )

    def _written(
        self, message: Message, *, edited_at: str = "", is_new: bool = False, is_mention: bool = False, is_live: bool = False
    ) -> Read:
        """What a person wrote. ``edited_at``: it is a new text of a message. ``is_new``: that speaks to us for the first time, so
        it is a message. ``is_live``: it comes now, and may answer what was missed."""
        where = _named(message.channel, message.ts)
        words = self._words(message)
        shared = [it for it in message.attachments if it.is_share]
        forwards = len(shared) == 1 and not words.text
        peer, addressed = self._place(message, is_edit=bool(edited_at), mentions_us=is_mention or words.mentions_us)
        if is_live and not addressed and message.root and self._may_have_missed(message.channel, message.root):
            return Read(ignored="a reply, perhaps to a mention that was missed: both are read back")
        if addressed and peer.thread is not None:
            self._threads.join(message.channel, peer.thread, message.ts)
        elif message.root is not None:
            self._threads.touch(message.channel, message.root, message.ts)
        files = (*message.files, *(file for it in shared for file in it.files))
        return self._read(
            replace(
                self._envelope(
                    "edit" if edited_at and not is_new else "message",
                    f"{self._key(where)}:{edited_at}" if edited_at else self._key(where),
                    peer,
                    self._sender(message),
                    message_id=str(where),
                    text=self._forwarded(shared[0]) if forwards else self._with_shared(words.text, shared),
                    addressed=addressed,
                    sent_at=_seconds(edited_at or message.ts),
                ),
                team=self._team_of(message),
                attachments=tuple(attachments_of(files)),
                caption=bool(files and words.text),
                forwarded=self._origin(shared[0]) if forwards else None,
            )
        )

    def _may_have_missed(self, channel: str, ts: str) -> bool:
        """Whether a message is perhaps one that will be read back."""
        return float(ts) > self._now() - self._back_seconds and self._seen.may_have_missed(channel, ts)

    def _place(self, message: Message, *, is_edit: bool, mentions_us: bool) -> tuple[Peer, bool]:
        """Where a message is, and whether it is for us."""
        channel, root, threads = message.channel, message.root, self._threads
        if is_direct(channel):
            return self._peer(channel, message.user or "", root), True
        if root is not None:
            is_in = message.parent_user_id == self.bot.user_id or threads.has(channel, root)
            return self._peer(channel, "", root), mentions_us or (is_in and self._follows_threads)
        addressed = mentions_us or (is_edit and threads.has(channel, message.ts))
        return self._peer(channel, "", message.ts if addressed and self._opens_threads else None), addressed

    def _peer(self, channel: str, user: str, root: str | None) -> Peer:
        """A direct message is named by the other person, because that is how people are configured."""
        return Peer("dm", user, root) if is_direct(channel) else Peer("group", channel, root)

    def _words(self, message: Message) -> Words:
        return words_of(message, own_id=self.bot.user_id, own_name=self.bot.name, name_of=self._people.name_of)

    def _forwarded(self, shared: Shared) -> str:
        return words_of_shared(shared, own_id=self.bot.user_id, own_name=self.bot.name, name_of=self._people.name_of)

    def _with_shared(self, text: str, shared: Sequence[Shared]) -> str:
        quoted = (quotation(one_line(it.author_name or it.author_id or ""), self._forwarded(it)) for it in shared)
        return "\n\n".join(filter(None, (text, *quoted)))

    def _quoted(self, message: Message) -> str:
        sender = self._sender(message)
        return quotation(sender.name or sender.id, self._words(message).text)

    def _origin(self, shared: Shared) -> Origin:
        name = one_line(shared.author_name or "") or (self._people.name_of(shared.author_id) if shared.author_id else None)
        return Origin(name or None, shared.author_id, None if shared.ts is None else _seconds(str(shared.ts)))

    def _asked(self, asked: Asked | str) -> Read:
        """An interaction as an envelope; in words, why there is none."""
        if isinstance(asked, str):
            return Read(ignored=asked)
        team = asked.team or self.bot.team
        thread, answer_with = asked.thread, asked.answer_with
        if asked.kind == "command" and asked.channel is not None and is_direct(asked.channel):
            # People use commands in direct messages with each other, too, where nobody else is to read what the bot tells one of
            # them: the answer goes to the bot's own direct message, and no thread of another one is there.
            answer_with = None
            thread = thread if self._threads.last_in(asked.channel) else None
        peer = Peer("dm", asked.user) if asked.channel is None else self._peer(asked.channel, asked.user, thread)
        envelope = self._envelope(
            asked.kind,
            f"{self.bot.team}:{asked.key}",
            peer,
            self._person(asked.user, team, asked.name),
            message_id=asked.message_id,
            text=asked.text,
            addressed=True,
            sent_at=_seconds(asked.at),
        )
        return self._read(replace(envelope, team=team, press=asked.press, answer_with=answer_with))

    def _person(self, user: str, team: str, name: str | None = None) -> Sender:
        shown = self._people.name_of(user) or name
        if team != self.bot.team:
            return Sender(user or "unknown", f"{one_line(shown or user)} (of the workspace {team})")
        return Sender(user or "unknown", one_line(shown) if shown else None)

    def _team_of(self, message: Message) -> str:
        """The workspace of who wrote it. A message of our own workspace need not say it."""
        return message.user_team or message.team or message.source_team or self.bot.team

    def _key(self, message: MessageId) -> str:
        return f"{self.bot.team}:{message}"

    def _envelope(
        self,
        kind: InboundKind,
        key: str,
        peer: Peer,
        sender: Sender,
        *,
        message_id: str | None,
        text: str = "",
        addressed: bool = False,
        sent_at: float | None = None,
    ) -> InboundEnvelope:
        return InboundEnvelope(
            channel=self._account.channel,
            account=self._account.account,
            event_key=key,
            kind=kind,
            peer=peer,
            sender=sender,
            text=text,
            message_id=message_id,
            addressed=addressed,
            team=self.bot.team,
            sent_at=sent_at,
            received_at=self._now(),
        )

    def _read(self, envelope: InboundEnvelope) -> Read:
        return Read((envelope,), state=self._state.unsaved())


def _named(channel: str, ts: str) -> MessageId:
    """:raises Malformed: it is not said where the message is."""
    if (message := MessageId.parse(f"{channel}:{ts}")) is None:
        raise Malformed("it has no channel and no ts by which it could be known")
    return message


def _seconds(ts: str) -> float | None:
    """A ``ts`` is Unix seconds with six digits behind the point."""
    try:
        seconds = float(ts)
    except ValueError:
        return None
    return seconds if 0 <= seconds < 1e11 else None
