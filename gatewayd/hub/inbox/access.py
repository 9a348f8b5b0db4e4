"""Access control: allow lists, group rules and pairing decide who may talk. An empty list admits nobody."""

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from gatewayd.hub.codes import new_code
from gatewayd.hub.events import EventLog
from gatewayd.hub.inbox.group_access import judge_group, who_in_group
from gatewayd.model.config import AccountFrame, DmPolicy
from gatewayd.model.errors import Conflict, NotFound
from gatewayd.model.lifecycle import DroppedReason, PairingDecision
from gatewayd.model.message.commands import is_for_another_bot
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.model.records.pairing import PairingRow
from gatewayd.ports.channel import ChannelPlugin
from gatewayd.ports.store import Pairings

_CODE_LENGTH = 8
CODE_SECONDS = 3600.0
_REPEAT_SECONDS = 600.0
_MAX_PENDING_PER_ACCOUNT = 100
_MAX_PEOPLE = 100_000


class AccessDecision(Struct, frozen=True):
    """``reason`` is machine-readable, and is recorded with a row that is not admitted. ``rule`` is the configuration key that
    decided, or "pairing"."""

    kind: Literal["admit", "pair", "drop"]
    reason: DroppedReason | Literal["admitted"] = "admitted"
    rule: str = ""


def _drop(reason: DroppedReason, rule: str = "") -> AccessDecision:
    return AccessDecision("drop", reason, rule)


def _admit(rule: str) -> AccessDecision:
    return AccessDecision("admit", rule=rule)


class AccessControl:
    """Judges every inbound envelope first. ``judge`` is synchronous: paired people are in memory."""

    def __init__(self, store: Pairings, events: EventLog, *, now: Callable[[], float]) -> None:
        self._store = store
        self._events = events
        self._now = now
        self._paired: set[tuple[str, str, str]] = set()
        self._pending: dict[str, PairingRow] = {}
        self._announced: dict[tuple[str, str, str], float] = {}

    async def load(self) -> None:
        """Read the pairings, approved and pending. Call once, before the first ``judge``."""
        for row in await self._store.list_pairings("approved", limit=_MAX_PEOPLE):
            self._paired.add(_who(row))
        for row in await self._store.list_pairings("pending", limit=_MAX_PEOPLE):
            self._pending[row.code] = row

    def judge(self, envelope: InboundEnvelope, frame: AccountFrame, plugin: ChannelPlugin) -> AccessDecision:
        """Admit, ask for pairing, or drop with a reason."""
        if envelope.kind == "deleted":
            return _admit("")  # whoever deleted it, it is gone
        if envelope.kind in ("membership", "reaction"):
            return _drop(envelope.kind)
        if envelope.kind == "service":
            return _drop("service_message")
        if envelope.sender.is_bot:
            return _drop("from_bot")
        if envelope.peer.kind == "dm":
            return self._judge_dm(envelope, frame, plugin)
        if is_for_another_bot(envelope):
            return _drop("for_another_bot")
        talk = judge_group(envelope, frame)
        return _admit(talk.rule) if talk.reason == "admitted" else _drop(talk.reason, talk.rule)

    def _judge_dm(self, envelope: InboundEnvelope, frame: AccountFrame, plugin: ChannelPlugin) -> AccessDecision:
        policy = _dm_policy(frame, plugin)
        sender = envelope.sender.id
        if policy == "disabled":
            return _drop("dm_disabled", "dm_policy")
        if policy == "open":
            return _admit("dm_policy")
        if sender in frame.allow_from or "*" in frame.allow_from:
            return _admit("allow_from")
        if envelope.via is None and sender in frame.operators:
            return _admit("operators")
        if policy == "allowlist":
            return _drop("not_on_allow_list", "allow_from")
        if (envelope.channel, envelope.account, sender) in self._paired:
            return _admit("pairing")
        return AccessDecision("pair", "pairing_required", "pairing")

    async def request_pairing(self, envelope: InboundEnvelope) -> str | None:
        """Record a pairing request of a stranger. Returns the text to send them; None if they were told a short while ago, or if
        too many requests are pending (a code expires after an hour)."""
        now = self._now()
        self._forget_expired(now)
        who = (envelope.channel, envelope.account, envelope.sender.id)
        if who in self._announced:
            return None
        known = next((row for row in self._pending.values() if _who(row) == who), None)
        if known is None and self._waiting(envelope.channel, envelope.account) >= _MAX_PENDING_PER_ACCOUNT:
            return None
        row = known or await self._ask(envelope, now)
        self._pending[row.code] = row
        self._announced[who] = now
        if known is None:
            self._events.emit("pairing.requested", channel=row.channel, account=row.account, sender_id=row.sender_id)
        return (
            f"This assistant does not know you yet. Your pairing code is `{row.code}`. "
            f"Its operator can let you in with `gatewayctl pairing approve {row.code}` within an hour."
        )

    async def pending(self) -> list[PairingRow]:
        """Pending requests, the oldest first."""
        self._forget_expired(self._now())
        return sorted(self._pending.values(), key=lambda row: row.created_at)

    def pending_count(self) -> int:
        now = self._now()
        return sum(row.expires_at > now for row in self._pending.values())

    async def paired(self) -> list[PairingRow]:
        """People let in by pairing."""
        return await self._store.list_pairings("approved", limit=1000)

    async def approve(self, code: str, *, by: str) -> PairingRow:
        """Admit the sender of this code.

        :raises NotFound: no such pending code, or it has expired.
        """
        row = await self._decide(code, "approved", by=by)
        self._paired.add(_who(row))
        return row

    async def deny(self, code: str, *, by: str) -> PairingRow:
        """Refuse the sender of this code. They may ask again.

        :raises NotFound: no such pending code, or it has expired.
        """
        return await self._decide(code, "denied", by=by)

    async def revoke(self, channel: str, account: str, sender_id: str, *, by: str) -> None:
        """Revoke a pairing.

        :raises NotFound: that sender is not paired with this account.
        """
        if not await self._store.revoke_pairing(channel, account, sender_id):
            raise NotFound(f"{sender_id} is not paired with {channel}/{account}")
        self._paired.discard((channel, account, sender_id))
        self._events.emit("pairing.revoked", channel=channel, account=account, sender_id=sender_id, by=by)

    async def _decide(self, code: str, state: PairingDecision, *, by: str) -> PairingRow:
        row = await self._store.decide_pairing(code, state, by=by, now=self._now())
        if row is None:
            raise NotFound("there is no such pairing code, or it has expired (codes live one hour)")
        self._pending.pop(row.code, None)
        self._announced.pop(_who(row), None)
        self._events.emit(f"pairing.{state}", channel=row.channel, account=row.account, sender_id=row.sender_id, by=by)
        return row

    async def _ask(self, envelope: InboundEnvelope, now: float) -> PairingRow:
        while True:
            try:
                return await self._store.add_pairing(self._new_row(envelope, now))
            except Conflict:
                continue  # another stranger holds the code that was drawn

    def _waiting(self, channel: str, account: str) -> int:
        return sum(row.channel == channel and row.account == account for row in self._pending.values())

    def _forget_expired(self, now: float) -> None:
        for row in [row for row in self._pending.values() if row.expires_at <= now]:
            del self._pending[row.code]
        # A clock that was set back must not silence a stranger for longer.
        for who in [who for who, at in self._announced.items() if not 0 <= now - at < _REPEAT_SECONDS]:
            del self._announced[who]

    def _new_row(self, envelope: InboundEnvelope, now: float) -> PairingRow:
        return PairingRow(
            code=new_code(_CODE_LENGTH),
            channel=envelope.channel,
            account=envelope.account,
            sender_id=envelope.sender.id,
            sender_name=envelope.sender.username or envelope.sender.name,
            peer=envelope.peer,
            state="pending",
            created_at=now,
            expires_at=now + CODE_SECONDS,
        )


def who_may_talk(envelope: InboundEnvelope, frame: AccountFrame, plugin: ChannelPlugin) -> str:
    """Who may talk in the chat of ``envelope``, in words."""
    if envelope.peer.kind != "dm":
        return who_in_group(envelope.peer.id, frame)
    others = " or operators" if frame.operators else ""
    return {
        "disabled": "nobody (dm_policy is disabled)",
        "open": "anybody (dm_policy is open)",
        "allowlist": f"who is on allow_from{others}",
        "pairing": f"who is paired, or on allow_from{others}",
    }[_dm_policy(frame, plugin)]


def _dm_policy(frame: AccountFrame, plugin: ChannelPlugin) -> DmPolicy:
    return frame.dm_policy or ("open" if plugin.authenticates_peers else "pairing")


def _who(row: PairingRow) -> tuple[str, str, str]:
    return (row.channel, row.account, row.sender_id)
