"""Names of accounts, peers and conversations: value types with one spelling each. ``parse`` reads the text that ``str`` gives.

Separators stand between the parts. A separator in a part is escaped as in URLs (RFC 3986, section 2.1), so that different values
have different spellings. Rows of stores hold these spellings, so a change needs a migration.
"""

from typing import Final, Literal, cast, get_args

from msgspec import Struct

PeerKind = Literal["dm", "group", "channel"]

_KINDS: Final = frozenset(get_args(PeerKind))
_ESCAPED: Final = {"/": "%2F", ":": "%3A"}
"""The escape of each separator. The percent sign is %25."""


class AccountId(Struct, frozen=True, order=True):
    """An account of a channel: ``CHANNEL/NAME``."""

    channel: str
    name: str

    def __str__(self) -> str:
        return f"{_escape(self.channel, '/')}/{_escape(self.name, '/')}"

    @classmethod
    def parse(cls, text: str) -> "AccountId":
        """:raises ValueError: ``text`` is not what ``str`` writes."""
        channel, name = _parts(text, "/", 2, 2)
        return cls(channel, name)


class Peer(Struct, frozen=True, omit_defaults=True):
    """The other side of a chat: ``KIND:ID``, or ``KIND:ID:THREAD``. ``id`` and ``thread`` are ids of the platform, as text and
    unchanged."""

    kind: PeerKind
    id: str
    thread: str | None = None

    def __str__(self) -> str:
        own = f"{self.kind}:{_escape(self.id, ':')}"
        return own if self.thread is None else f"{own}:{_escape(self.thread, ':')}"

    @classmethod
    def parse(cls, text: str) -> "Peer":
        """:raises ValueError: ``text`` is not what ``str`` writes."""
        return _peer(text, *_parts(text, ":", 2, 3))

    @property
    def whole(self) -> "Peer":
        """The chat without its thread."""
        return self if self.thread is None else Peer(self.kind, self.id)


class ConversationId(Struct, frozen=True):
    """A chat, or one thread of it, of one account: ``CHANNEL:ACCOUNT:KIND:ID``, and ``:THREAD``. Replies to it keep their
    order."""

    account: AccountId
    peer: Peer

    def __str__(self) -> str:
        account = self.account
        return f"{_escape(account.channel, ':')}:{_escape(account.name, ':')}:{self.peer!s}"

    @classmethod
    def parse(cls, text: str) -> "ConversationId":
        """:raises ValueError: ``text`` is not what ``str`` writes."""
        channel, name, *peer = _parts(text, ":", 4, 5)
        return cls(AccountId(channel, name), _peer(text, *peer))


def _escape(part: str, separator: str) -> str:
    if "%" in part or separator in part:  # it is rare, and this is done for each message
        return part.replace("%", "%25").replace(separator, _ESCAPED[separator])
    return part


def _parts(text: str, separator: str, least: int, most: int) -> list[str]:
    parts = text.split(separator)
    plain = [part.replace(_ESCAPED[separator], separator).replace("%25", "%") for part in parts]
    if not least <= len(parts) <= most or [_escape(part, separator) for part in plain] != parts:
        raise ValueError(f"{text!r} names no account, peer or conversation")
    return plain


def _peer(text: str, kind: str, peer_id: str, thread: str | None = None) -> Peer:
    if kind not in _KINDS:
        raise ValueError(f"{text!r} names no kind of peer")
    return Peer(cast(PeerKind, kind), peer_id, thread)
