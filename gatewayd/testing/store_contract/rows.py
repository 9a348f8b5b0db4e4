"""Rows to store, and the ways to states of them."""

from functools import partial
from itertools import count

from gatewayd.hub.operations.dead_letters import AccountAvailability, drop, put_back
from gatewayd.hub.voters import Voters
from gatewayd.model.lifecycle import EndState, InboundReason, OutboundState
from gatewayd.model.message.envelope import Attachment, InboundEnvelope, Peer, Sender
from gatewayd.model.message.payload import EditText, Receipt, RichText, SendText, Span
from gatewayd.model.records.approval import Approval, Vote
from gatewayd.model.records.pairing import PairingRow
from gatewayd.ports.store import DropRule, OutboundDraft, OutboundRow, RetryRule, Store, TranscriptRow, VoteRule

EVERY_ACCOUNT = [("telegram", "main"), ("telegram", "other")]
ALICE = Peer(kind="dm", id="42")
_keys = count(1)


def envelope(
    event_key: str, *, account: str = "main", peer: Peer = ALICE, text: str = "hello", at: float = 10.0
) -> InboundEnvelope:
    return InboundEnvelope(
        channel="telegram",
        account=account,
        event_key=event_key,
        kind="message",
        peer=peer,
        sender=Sender(id="42", name="Alice"),
        text=text,
        attachments=(Attachment(kind="photo", ref="file-1", size_bytes=3),),
        received_at=at,
    )


def fresh_key() -> str:
    return f"k{next(_keys)}"


def edit_of(message: InboundEnvelope, text: str) -> InboundEnvelope:
    """An edit of a message that has an id."""
    return InboundEnvelope(
        channel=message.channel,
        account=message.account,
        event_key=fresh_key(),
        kind="edit",
        peer=message.peer,
        sender=message.sender,
        text=text,
        message_id=message.message_id,
        received_at=message.received_at,
    )


def numbered(message_id: str, *, peer: Peer = ALICE) -> InboundEnvelope:
    """A message with the platform's id."""
    made = envelope(fresh_key(), peer=peer)
    return InboundEnvelope(
        channel=made.channel,
        account=made.account,
        event_key=made.event_key,
        kind="message",
        peer=peer,
        sender=made.sender,
        text="first",
        message_id=message_id,
        received_at=10.0,
    )


def draft(text: str, *, account: str = "main", peer: Peer = ALICE, turn_id: str | None = None) -> OutboundDraft:
    body = RichText(text=text, spans=(Span(kind="link", start=0, end=1, arg="https://example.org"),))
    return OutboundDraft(
        channel="telegram",
        account=account,
        conversation=f"{peer.kind}:{peer.id}",
        payload=SendText(peer=peer, body=body, reply_to="7"),
        turn_id=turn_id,
    )


def approval(number: int, *, turn_id: str = "turn-1", ordinal: int | None = None) -> Approval:
    return Approval(
        id=f"approval-{number}",
        agent="assistant",
        session_key="assistant:telegram:main:dm:42",
        turn_id=turn_id,
        ordinal=number if ordinal is None else ordinal,
        tool="shell",
        input='{"command":"ls"}',
        input_hash="abc",
        state="pending",
        created_at=float(number),
        expires_at=float(number) + 900,
        origin="telegram/main dm:42",
    )


def text_of(row: TranscriptRow) -> str:
    return row.content.text if isinstance(row.content, InboundEnvelope) else row.content.body.text


def voting(by: str, *, allow: bool = True, at: float = 5.0) -> VoteRule:
    """The vote of somebody who is nobody else, for the session."""
    return partial(Voters({}).cast, vote=Vote(by, allow, at, "session"))


def pairing(code: str, sender_id: str, *, at: float = 0.0, expires_at: float = 100.0) -> PairingRow:
    return PairingRow(
        code=code,
        channel="telegram",
        account="main",
        sender_id=sender_id,
        sender_name="Alice",
        peer=Peer(kind="dm", id=sender_id),
        state="pending",
        created_at=at,
        expires_at=expires_at,
    )


class Clock:
    """Unix seconds that a test sets."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


ACCOUNTS: AccountAvailability = {("telegram", "main"): None}


def retrying(*, now: float = 3.0, note: str | None = None, accounts: AccountAvailability = ACCOUNTS) -> RetryRule:
    """As an operator retries."""
    return partial(put_back, accounts=accounts, by="operator:ann", note=note, now=now)


def dropping(*, now: float = 3.0, note: str | None = None) -> DropRule:
    return partial(drop, by="operator:ann", note=note, now=now)


async def ended(
    store: Store,
    state: EndState = "dead",
    *,
    at: float = 100.0,
    reason: InboundReason = "agent_failed",
    account: str = "main",
    turn_id: str | None = None,
    message: InboundEnvelope | None = None,
) -> int:
    """An inbound row that has ended, received at the time 10."""
    [row] = (await store.add_inbound([message or envelope(fresh_key(), account=account)])).rows
    await store.start_turn([row.id], turn_id=turn_id or f"turn-{row.id}", session_key="assistant:42")
    await store.end_inbound([row.id], state=state, reason=reason, now=at)
    return row.id


async def settled(
    store: Store,
    state: OutboundState = "unknown",
    *,
    at: float = 100.0,
    written_at: float = 20.0,
    reason: str | None = "cut",
    account: str = "main",
    turn_id: str | None = None,
    subject: str | None = None,
    edits: int | None = None,
) -> int:
    """An outbound row in a state. What was sent has the message id ``m`` and its number."""
    made = draft("hi", account=account, turn_id=turn_id)
    payload = made.payload if edits is None else EditText(ALICE, RichText("edited"), of=edits)
    about = OutboundDraft(made.channel, account, made.conversation, payload, turn_id, subject)
    [row] = await store.add_outbound([about], now=written_at)
    if state not in ("ready", "parked"):
        await store.mark_sending(row.id)
    if state != "ready" and state != "sending":
        receipt = Receipt(f"m{row.id}") if state == "sent" else None
        await store.settle_outbound(row.id, state, now=at, reason=None if state == "sent" else reason, receipt=receipt)
    return row.id


async def ready(store: Store, channel: str = "telegram", account: str = "main") -> list[OutboundRow]:
    """What waits to be sent by an account."""
    return await store.ready_among(await store.ready_numbers(channel, account, after_id=0, limit=1000))
