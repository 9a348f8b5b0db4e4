"""Letters and ended rows to look at, made by the store's own ways."""

from functools import partial

from gatewayd.hub.dead_letters import Takers, drop, put_back
from gatewayd.model.envelope import InboundEnvelope
from gatewayd.model.lifecycle import EndState, InboundReason, OutboundState
from gatewayd.model.payload import EditText, Receipt, RichText
from gatewayd.ports.store import DropRule, OutboundDraft, RetryRule
from gatewayd.stores.sqlite import SqliteStore
from tests.stores.sqlite.samples import ALICE, draft, envelope, fresh_key

ACCOUNTS: Takers = {("telegram", "main"): None}


def retrying(*, now: float = 3.0, note: str | None = None, accounts: Takers = ACCOUNTS) -> RetryRule:
    """As an operator retries."""
    return partial(put_back, accounts=accounts, by="operator:ann", note=note, now=now)


def dropping(*, now: float = 3.0, note: str | None = None) -> DropRule:
    return partial(drop, by="operator:ann", note=note, now=now)


async def ended(
    store: SqliteStore,
    state: EndState = "dead",
    *,
    at: float = 100.0,
    reason: InboundReason = "agent_failed",
    account: str = "main",
    turn_id: str | None = None,
    message: InboundEnvelope | None = None,
) -> int:
    """An inbound row that has ended, received at the time 10."""
    [row] = await store.add_inbound([message or envelope(fresh_key(), account=account)])
    await store.start_turn([row.id], turn_id=turn_id or f"turn-{row.id}", session_key="assistant:42")
    await store.end_inbound([row.id], state=state, reason=reason, now=at)
    return row.id


async def settled(
    store: SqliteStore,
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
