"""The entries of the audit log, and their chain of hashes: a later hash shows whether an earlier entry was changed.

The rule, so that it can be checked with any tool: ``hash`` is the SHA-256, in lower-case hex, of the UTF-8 bytes of
``previous`` followed by the JSON object of the keys action, actor, at, detail, seq and subject in the form of RFC 8785 (keys
sorted, no white space). ``at`` is the whole number of microseconds in it, ``detail`` the text as it stands. The first entry has
the seq 1 and 64 zeros as its ``previous``; each later one has the next seq, and the hash before it.
"""

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

import msgspec
from msgspec import Struct

from gatewayd.model.errors import GatewayError

DetailValue = str | int | float | bool | None


class AuditDraft(Struct, frozen=True):
    """An action. ``at`` is Unix seconds. ``actor`` is who did it (ROLE:NAME of a token, CHANNEL:ID of a person), ``action`` its
    name with dots, ``subject`` what it was done to, and ``detail`` the text of a JSON object without secrets."""

    at: float
    actor: str
    action: str
    subject: str
    detail: str = "{}"


class AuditRow(Struct, frozen=True):
    """An entry of the log. It is never changed nor deleted."""

    seq: int
    at: float
    actor: str
    action: str
    subject: str
    detail: str
    previous: str
    hash: str


class AuditHead(Struct, frozen=True):
    """The end of a log. A copy elsewhere shows later whether the entries up to ``seq`` are still the same."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


def detail_of(**values: DetailValue) -> str:
    """The ``detail`` of an entry: a JSON object of those values that are not None, its keys sorted."""
    said = {key: value for key, value in values.items() if value is not None}
    return msgspec.json.encode(said, order="sorted").decode()


BEGINNING: Final = AuditHead(0, "0" * 64)
"""The head of an empty log."""


class ChainBroken(GatewayError):
    """An entry does not follow the ones before it: one of them was changed, added or removed."""

    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(f"entry {seq}: {reason}")
        self.seq = seq


def chained(draft: AuditDraft, head: AuditHead) -> AuditRow:
    """The entry that follows ``head``."""
    seq = head.seq + 1
    digest = _digest(head.hash, seq, draft.at, draft.actor, draft.action, draft.subject, draft.detail)
    return AuditRow(
        seq=seq,
        at=draft.at,
        actor=draft.actor,
        action=draft.action,
        subject=draft.subject,
        detail=draft.detail,
        previous=head.hash,
        hash=digest,
    )


def hash_of(previous: str, entry: AuditRow) -> str:
    """The right hash of an entry that follows the hash ``previous``."""
    return _digest(previous, entry.seq, entry.at, entry.actor, entry.action, entry.subject, entry.detail)


def verify(entries: Iterable[AuditRow], head: AuditHead = BEGINNING) -> AuditHead:
    """Check that ``entries`` follow ``head`` and each other. Returns the new head, with which the next entries can be checked.

    :raises ChainBroken: at the first entry that does not follow.
    """
    for entry in entries:
        if entry.seq != head.seq + 1:
            raise ChainBroken(head.seq + 1, f"it is missing; the next one is {entry.seq}")
        if entry.previous != head.hash:
            raise ChainBroken(entry.seq, "it does not name the hash of the entry before it")
        if entry.hash != hash_of(head.hash, entry):
            raise ChainBroken(entry.seq, "its hash is not that of what it says")
        head = AuditHead(entry.seq, entry.hash)
    return head


def _digest(previous: str, seq: int, at: float, actor: str, action: str, subject: str, detail: str) -> str:
    fields = {
        "action": action,
        "actor": actor,
        "at": round(at * 1_000_000),
        "detail": detail,
        "seq": seq,
        "subject": subject,
    }
    # For whole numbers and texts, json writes the form of RFC 8785 (section 3.2.2).
    text = previous + json.dumps(fields, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
