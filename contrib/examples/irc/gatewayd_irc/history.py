"""What was said while we were away, from servers that keep it (IRCv3 draft/chathistory). Pure.

The cursor is the time of the newest message that was journaled. What a server plays by itself (InspIRCd's chanhistory, a bouncer)
is taken by the same rule: what is older than the cursor was seen in another connection, or was said before there was one.
"""

from typing import Final

from msgspec import Struct

from .inbound import time_of, written
from .login import Login
from .wire import Message, render

CURSOR: Final = "seen"
"""The key in the account's state: a time, as server-time writes it."""
CLOCKS_DIFFER: Final = 10.0
"""In seconds, of the servers of a network. What comes twice has the same event key."""
PAGE: Final = 100
PATIENCE_SECONDS: Final = 60.0
"""How long the server may take for all of its history."""

_HISTORIES: Final = ("chathistory", "znc.in/playback")
_TARGETS: Final = "draft/chathistory-targets"


class Batch(Struct):
    """Messages that belong together (IRCv3 batch): an answer to the line with this label, or a history."""

    kind: str
    target: str
    label: str | None
    is_history: bool
    count: int = 0
    last: str = ""


class History:
    """Of one connection. ``since`` is the cursor at its beginning, in Unix seconds."""

    def __init__(self, login: Login, since: float) -> None:
        self.since = since - CLOCKS_DIFFER
        self._login = login
        self._newest = since
        self._asked: set[str] = set()
        self._owed: set[str] = set()  # whose history has been asked for; "" is the question who wrote
        self._batches: dict[str, Batch] = {}

    def batch_of(self, message: Message) -> Batch | None:
        return self._batches.get(message.tags.get("batch", ""))

    def is_missed(self, message: Message, batch: Batch | None) -> bool | None:
        """Whether it was said while we were away. None: it is old, and was seen."""
        if batch is None or not batch.is_history:
            return False
        said_at = time_of(message)
        batch.count += 1
        batch.last = _reference(message, self._login)
        return True if said_at is not None and said_at > self.since else None

    @property
    def is_owed(self) -> bool:
        """Whether older messages are to come: those of now have to wait for them."""
        return bool(self._owed)

    def state_with(self, said_at: float | None) -> dict[str, str]:
        """What to store with a message: the cursor."""
        self._newest = max(self._newest, said_at or 0.0)
        return {CURSOR: written(self._newest)}

    def ask(self, target: str) -> list[bytes]:
        """For what was said in a channel, or by somebody, since the cursor: once in a connection."""
        name = self._login.support.fold(target)
        if "draft/chathistory" not in self._login.caps or name in self._asked:
            return []
        self._asked.add(name)
        self._owed.add(name)
        return [self._after(target, f"timestamp={written(self.since)}")]

    def ask_for_people(self, until: float) -> list[bytes]:
        """Who wrote to us since the cursor."""
        if "draft/chathistory" not in self._login.caps:
            return []
        self._owed.add("")
        times = f"timestamp={written(self.since)}", f"timestamp={written(until + CLOCKS_DIFFER)}"
        return [render("CHATHISTORY", "TARGETS", *times, str(self._page))]

    def begin(self, message: Message) -> None:
        """BATCH +REFERENCE TYPE PARAMETERS. One inside another has its label."""
        _, kind, target, *_ = (*message.params, "", "")
        outer = self.batch_of(message)
        label = message.tags.get("label") or (None if outer is None else outer.label)
        is_history = kind in _HISTORIES or (outer is not None and outer.is_history)
        self._batches[message.target[1:]] = Batch(kind, target, label, is_history)

    def end(self, message: Message) -> tuple[Batch | None, list[bytes]]:
        """BATCH -REFERENCE: the batch, and the request for the next page."""
        batch = self._batches.pop(message.target[1:], None)
        if batch is None:
            return None, []
        if batch.kind == _TARGETS:
            self._owed.discard("")
        owed = self._login.support.fold(batch.target)
        if batch.kind != "chathistory" or owed not in self._owed:
            return batch, []
        if batch.count >= self._page and batch.last:
            return batch, [self._after(batch.target, batch.last)]
        self._owed.discard(owed)
        return batch, []

    def give_up(self) -> None:
        """There is no history to wait for."""
        self._owed.clear()

    def _after(self, target: str, reference: str) -> bytes:
        return render("CHATHISTORY", "AFTER", target, reference, str(self._page))

    @property
    def _page(self) -> int:
        return min(PAGE, self._login.support.number("CHATHISTORY", PAGE) or PAGE)


def _reference(message: Message, login: Login) -> str:
    """How CHATHISTORY names a message."""
    if (message_id := message.tags.get("msgid")) and "msgid" in login.support.get("MSGREFTYPES", "timestamp,msgid").split(","):
        return f"msgid={message_id}"
    return f"timestamp={message.tags['time']}" if "time" in message.tags else ""
