"""From messages of IRC to envelopes: who wrote, where, and whether it is for us.

The id of a sender is ``account:NAME`` where services vouch for the account (IRCv3 account-tag, else extended-join and
account-notify), and else ``nick:NICK@HOST``: a nick is anybody's who takes it, so the host belongs to the id.
"""

import re
import secrets
from datetime import UTC, datetime
from hashlib import sha256

from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.ports.channel import AccountConfig

from .login import Login
from .text import ctcp_of, plain, spoken_to
from .wire import Message

LONGEST_ID = 512
"""In bytes. A longer id of a message is kept as its digest."""


def time_of(message: Message) -> float | None:
    """When the server says that it happened (IRCv3 server-time), in Unix seconds."""
    return from_written(message.tags.get("time", ""))


def from_written(text: str) -> float | None:
    """The time in Unix seconds that server-time writes so."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):  # none, or a leap second, which Python's times do not have
        return None


def written(seconds: float) -> str:
    """A time as server-time writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Accounts:
    """Who is logged in as what, on a server without account-tag: as far as the channels that we are in say it."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def note(self, nick: str, account: str) -> None:
        """``*`` and nothing stand for no account."""
        if account in ("", "*"):
            self.forget(nick)
        else:
            self._known[nick] = account

    def renamed(self, old: str, new: str) -> None:
        if (account := self._known.pop(old, None)) is not None:
            self._known[new] = account

    def forget(self, nick: str | None = None) -> None:
        """``nick`` is out of sight; None: everybody may be."""
        if nick is None:
            self._known.clear()
        else:
            self._known.pop(nick, None)

    def of(self, nick: str) -> str | None:
        return self._known.get(nick)


class Inbound:
    """What is heard in one connection."""

    def __init__(self, account: AccountConfig, login: Login) -> None:
        self.accounts = Accounts()
        self._account = account
        self._login = login
        self._connection = secrets.token_hex(8)
        self._count = 0

    def message(self, message: Message, *, received_at: float, missed: bool, is_reply_to_us: bool) -> InboundEnvelope | None:
        """The envelope of a PRIVMSG; None for what is not written to us or to a channel, and for what only programs read."""
        support = self._login.support
        fold, target = support.fold, message.target
        is_direct = fold(target) == fold(self._login.nick)
        if len(message.params) < 2 or not (is_direct or support.is_channel(target)) or "@" not in message.source:
            return None
        text = message.text
        if (ctcp := ctcp_of(text)) is not None:
            if ctcp[0] != "ACTION":
                return None
            text = f"* {message.nick} {ctcp[1]}"
        is_spoken_to, text = spoken_to(plain(text), self._login.nick, fold)
        return InboundEnvelope(
            channel=self._account.channel,
            account=self._account.account,
            event_key=self._event_key(message),
            kind="message",
            peer=Peer("dm", fold(message.nick)) if is_direct else Peer("group", fold(target)),
            sender=self._sender(message),
            text=text,
            message_id=message.tags.get("msgid"),
            reply_to=message.tags.get("+reply") or message.tags.get("+draft/reply"),
            addressed=is_direct or is_spoken_to or is_reply_to_us,
            sent_at=time_of(message),
            received_at=received_at,
            missed=missed,
        )

    def membership(self, message: Message, channel: str, text: str, *, received_at: float) -> InboundEnvelope:
        """We have joined a channel, or left it."""
        return InboundEnvelope(
            channel=self._account.channel,
            account=self._account.account,
            event_key=self._event_key(message),
            kind="membership",
            peer=Peer("group", self._login.support.fold(channel)),
            sender=self._sender(message),
            text=text,
            sent_at=time_of(message),
            received_at=received_at,
        )

    def _sender(self, message: Message) -> Sender:
        fold = self._login.support.fold
        account = message.tags.get("account")
        if "account-tag" not in self._login.caps:
            account = self.accounts.of(fold(message.nick))
        known = re.sub(r"\s", "_", fold(account)) if account else None
        sender_id = f"account:{known}" if known else f"nick:{fold(message.nick)}@{message.host.lower()}"
        return Sender(sender_id, name=message.nick, username=account or None, is_bot="bot" in message.tags)

    def _event_key(self, message: Message) -> str:
        """The message's id, which is unique in the network (IRCv3 message-ids). Else its time and a digest of the rest, which are
        the same when a history repeats it. Else a number in this connection: nothing repeats it."""
        if (message_id := message.tags.get("msgid")) is not None:
            return f"id:{message_id}" if len(message_id.encode()) <= LONGEST_ID else f"digest:{_digest(message_id)}"
        if (time := message.tags.get("time")) is not None:
            return f"at:{time[:40]}:{_digest(message.nick, message.command, *message.params)}"
        self._count += 1
        return f"{self._connection}:{self._count}"


def _digest(*parts: str) -> str:
    return sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
