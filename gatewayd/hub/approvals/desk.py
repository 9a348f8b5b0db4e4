"""The approval desk decides whether an agent may use a dangerous tool. Nothing else decides that.

A request is a durable row. The row is bound to the input that people see. When a turn runs again after a crash, it finds the
rows of its first run, so a button press before, during or after the restart counts once. Decisions of the policy are rows, too:
a gated tool runs only with a row that allowed it, and each such row is used once.
"""

import hashlib
import secrets
from collections.abc import Collection
from functools import partial

import anyio
import msgspec
import structlog
from msgspec.structs import replace

from gatewayd.hub.approvals.escalation import Prompts, Stages
from gatewayd.hub.approvals.policy import Action, judge
from gatewayd.hub.codes import new_code
from gatewayd.hub.configured import Configured
from gatewayd.hub.context import Context
from gatewayd.hub.outbox.outcomes import ReplyOutcomes
from gatewayd.hub.voters import Voters, inputs_covered
from gatewayd.kit.text import sanitise
from gatewayd.model.config import AgentApprovals, ApprovalsSection
from gatewayd.model.errors import Conflict, NotFound, StoreRefused
from gatewayd.model.lifecycle import ApprovalState, Outcome
from gatewayd.model.records.approval import Approval, Scope, ToolRequest, Vote
from gatewayd.model.records.audit import AuditDraft, detail_of
from gatewayd.ports.agent import TurnRequest
from gatewayd.ports.store import Account, Approvals

_log = structlog.get_logger("gatewayd.approvals")
_LIST_MAX = 1000
_EVERYTHING = 10_000_000
_SHOWN_MAX = 200
_INPUT_MAX = 100_000
_TOOL_MAX = 200
_RECENT = 100
_GATEWAYD = "gatewayd"
_CODE_LENGTH = 6


class ApprovalDesk:
    """Keeps the pending requests and wakes the turns that wait for them. ``prompts`` shows requests to people, and ``outcomes``
    says whether those prompts were sent."""

    def __init__(self, context: Context, configured: Configured, prompts: Prompts, outcomes: ReplyOutcomes) -> None:
        self._store: Approvals = context.store
        self._events = context.events
        self._now = context.now
        self._configured = configured
        self._prompts = prompts
        self._outcomes = outcomes
        self._pending: dict[str, Approval] = {}
        self._changed: dict[str, anyio.Event] = {}
        self._overdue: dict[str, float] = {}

    @property
    def _config(self) -> ApprovalsSection:
        """The settings for new requests. A pending request keeps the groups, the quorum and the time-out of its start. Members of
        a group are looked up when somebody answers."""
        return self._configured.config.approvals

    @property
    def voters(self) -> Voters:
        """The links between the identities of one person."""
        return self._configured.voters

    async def load(self, live_turns: Collection[str | None], accounts: Collection[Account]) -> None:
        """At the start, for the requests of these accounts: a request whose turn will run again stays pending, an overdue one
        expires, and the others are withdrawn."""
        now = self._now()
        for row in await self._store.list_approvals("pending", limit=_EVERYTHING, accounts=accounts):
            self._pending[row.id] = row
            if row.expires_at <= now:
                await self.settle(row.id, "expired")
            elif row.turn_id not in live_turns:
                await self.settle(row.id, "withdrawn", note="the turn that asked is gone")
        # A decision right before a crash may not be in the chats yet.
        for row in await self._store.list_approvals(None, limit=_RECENT, accounts=accounts):
            if row.state != "pending" and row.decided_at is not None:
                await self._rewrite_prompts(row)

    async def show_anew(self, account: Account, *, before: float) -> None:
        """Show the pending requests once more in the chats of this account, see ``Prompts.show_anew``."""
        for row in list(self._pending.values()):
            await self._prompts.show_anew(row, account, before=before)

    def policy_of(self, agent: str) -> AgentApprovals:
        found = self._configured.agents.get(agent)
        return AgentApprovals() if found is None else found.frame.approvals

    def judge(self, agent: str, request: ToolRequest) -> tuple[Action, str]:
        """The answer of the agent's rules, and the rule that gave it."""
        return judge(self.policy_of(agent).rules, request)

    async def withdraw(self, turn_id: str, *, why: str) -> None:
        """The turn ended before its answer came, because it was stopped or timed out."""
        for row in [row for row in self._pending.values() if row.turn_id == turn_id]:
            await self.settle(row.id, "withdrawn", note=why)

    async def list(self, state: ApprovalState | None = "pending", *, limit: int = 100) -> list[Approval]:
        """Rows in one state; None: all. Pending rows come oldest first, others newest first."""
        return await self._store.list_approvals(state, limit=min(limit, _LIST_MAX))

    async def get(self, approval_id: str) -> Approval:
        """By id or code. :raises NotFound:"""
        row = await self._store.get_approval(approval_id)
        if row is None:
            raise NotFound(f"there is no approval {approval_id!r}")
        return row

    def note_refused(self, turn: TurnRequest, request: ToolRequest, why: str) -> None:
        """Report a request that became no row, because it cannot be shown to anybody."""
        tool = sanitise(request.tool)[:_SHOWN_MAX]
        _log.warning("approval_undeliverable", agent=turn.agent_id, tool=tool, size=len(request.input), reason=why)
        self._events.emit("approval.undeliverable", turn_id=turn.turn_id, agent=turn.agent_id, tool=tool, reason=why)

    def find_pending(self, *, agent: str, ref: str) -> Approval | None:
        """The pending request to which the agent's core gave this id."""
        return next((row for row in self._pending.values() if (row.agent, row.ref) == (agent, ref)), None)

    async def decide(
        self,
        approval_id: str,
        *,
        allow: bool,
        by: str,
        note: str | None = None,
        scope: Scope = "once",
        inbound_id: int | None = None,
    ) -> Approval:
        """Answer a pending request, by id or code. The returned row is still pending if the quorum wants more votes.

        ``inbound_id`` is the journaled button press or message that answers.

        :raises NotFound: no such request.
        :raises Conflict: it is not pending, or this person has answered already; the message says which.
        """
        known = await self.get(approval_id)
        if known.state == "pending" and self._is_overdue(known):
            await self.settle(known.id, "expired")
        if scope == "session" and known.session_grant == "off":
            raise Conflict(f'agent {known.agent} had session_grant = "off" when it asked: allow it once, or deny it')
        vote = Vote(by, allow, self._now(), scope if allow else "once", note, inbound_id)
        # Shielded: the caller may go away meanwhile, and the waiting turn must be notified all the same.
        with anyio.CancelScope(shield=True):
            audit = self._audit(known, by, f"approval.{'allow' if allow else 'deny'}", scope=vote.scope, note=note)
            row = await self._store.vote_approval(known.id, partial(self.voters.cast, vote=vote), audit=audit)
            if row is not None:
                await self._note_vote(row, vote.by)
        if row is None:
            raise Conflict(self._why_not(await self.get(known.id), by))
        return row

    async def record(self, approval: Approval) -> Approval:
        """Store a request that has its decision already, from a rule or from an operator at the core itself."""
        audit = self._audit(approval, approval.decided_by or _GATEWAYD, f"approval.{approval.state}", note=approval.note)
        return await self._store.add_approval(approval, audit=audit)

    async def wait_decided(self, approval_id: str) -> Approval:
        """Return when the request is decided. :raises NotFound:"""
        found = await self.get(approval_id)
        while found.id in self._pending:
            await self.changed(found.id).wait()
        return await self.get(found.id)

    def pending_count(self) -> int:
        return len(self._pending)

    def full(self, agent: str) -> bool:
        """Whether this agent has reached the limit of pending requests: ``max_pending``, or half of that beside other agents."""
        room = self._config.max_pending
        own = sum(row.agent == agent for row in self._pending.values())
        return len(self._pending) >= room or (len(self._configured.agents) > 1 and own >= max(1, room // 2))

    def changed(self, approval_id: str) -> anyio.Event:
        """An event that is set when the request is decided, or when one of its prompts is lost."""
        return self._changed.setdefault(approval_id, anyio.Event())

    def notify(self, approval_id: str) -> None:
        """Wake the tasks that wait for a change of this request."""
        event = self._changed.pop(approval_id, None)
        if event is not None:
            event.set()

    def now(self) -> float:
        return self._now()

    def is_pending(self, approval_id: str) -> bool:
        return approval_id in self._pending

    async def enter(self, fresh: Approval, decided: tuple[Outcome, str] | None) -> Approval:
        """Commit a new request, pending or with its decision. If another row has this ordinal in the turn, return that row."""
        if decided is not None:
            state, by = decided
            return await self.record(replace(fresh, state=state, decided_by=by, decided_at=fresh.created_at))
        # Shielded: a committed row must be in memory, so that a turn that is stopped meanwhile withdraws it.
        with anyio.CancelScope(shield=True):
            row = await self._store.add_approval(fresh)
            if row.id != fresh.id:
                return row
            self._pending[row.id] = row
        self._events.emit(
            "approval.pending",
            id=row.id,
            agent=row.agent,
            session_key=row.session_key,
            turn_id=row.turn_id,
            tool=row.tool[:_SHOWN_MAX],
            expires_at=row.expires_at,
        )
        return row

    async def wait(self, approval: Approval, turn: TurnRequest) -> Approval:
        """Show a pending request to one group after the other, until it is decided or expires."""
        row = await self.get(approval.id)
        if row.state == "pending":
            with self._outcomes.subscribe(row.id, sent=lambda message_id: None, lost=lambda: self.notify(row.id)):
                await self._wait_pending(row, turn)
            row = await self.get(approval.id)
        # The decision may have come while the row was read, or while a prompt was written.
        self._forget(row.id)
        await self._rewrite_prompts(row)
        return row

    async def _wait_pending(self, approval: Approval, turn: TurnRequest) -> None:
        seconds = self.policy_of(approval.agent).escalate_after_seconds
        stages = Stages(self._prompts, approval, turn, every_seconds=seconds, now=self._now())
        # If the clock is set back, a request must still not wait for longer than the limit.
        longest = self.policy_of(approval.agent).timeout_seconds or self._config.timeout_seconds
        overdue = anyio.current_time() + max(0.0, min(approval.expires_at - self._now(), longest))
        self._overdue[approval.id] = overdue
        while self.is_pending(approval.id):
            changed = self.changed(approval.id)
            why_not = await stages.show()
            if why_not is not None:
                await self.settle(approval.id, "undeliverable", note=why_not)
            elif anyio.current_time() >= overdue:
                await self.settle(approval.id, "expired")
            if not self.is_pending(approval.id):
                break
            with anyio.move_on_at(min(overdue, anyio.current_time() + stages.seconds_to_next())):
                await changed.wait()

    async def settle(self, approval_id: str, state: Outcome, *, note: str | None = None) -> Approval | None:
        """Move a pending request to ``state``, in the name of the gateway. None if it was not pending."""
        known = self._pending.get(approval_id)
        # Shielded: the waiting turn must be notified.
        with anyio.CancelScope(shield=True):
            audit = None if known is None else self._audit(known, _GATEWAYD, f"approval.{state}", note=note)
            row = await self._store.decide_approval(approval_id, state, by=_GATEWAYD, note=note, now=self._now(), audit=audit)
            self._forget(approval_id)
            if row is not None:
                await self._notify(row, _GATEWAYD)
        return row

    def fresh(self, turn: TurnRequest, request: ToolRequest, ordinal: int) -> Approval:
        """A pending row for a request."""
        now = self._now()
        policy = self.policy_of(turn.agent_id)
        return Approval(
            id="ap_" + secrets.token_hex(5),
            agent=turn.agent_id,
            session_key=turn.session_key,
            turn_id=turn.turn_id,
            ordinal=ordinal,
            tool=request.tool,
            input=request.input,
            input_hash=hash_of(request),
            state="pending",
            created_at=now,
            expires_at=now + (policy.timeout_seconds or self._config.timeout_seconds),
            origin=str(turn.conversation),
            code=new_code(_CODE_LENGTH),
            session_id=turn.session_id,
            asked_by=f"{turn.channel}:{turn.sender.id}",
            ref=request.ref,
            groups=policy.ask,
            quorum=policy.quorum,
            session_grant=policy.session_grant,
        )

    async def decided_by_policy(self, turn: TurnRequest, request: ToolRequest) -> tuple[Outcome, str] | None:
        """The decision of a rule or of an earlier "for this session", and its name. None: a person must decide."""
        action, rule = self.judge(turn.agent_id, request)
        if action != "ask":
            return ("allowed" if action == "allow" else "denied"), f"policy:{rule}"
        grant = self.policy_of(turn.agent_id).session_grant
        if grant == "off":
            return None
        inputs = inputs_covered(grant, hash_of(request))
        granted = await self._store.find_grant(turn.session_key, turn.session_id, request.tool, inputs)
        return None if granted is None else ("allowed", f"session:{granted}")

    async def _note_vote(self, row: Approval, by: str) -> None:
        if row.state == "pending":
            # It may have expired or been withdrawn since the commit.
            if row.id in self._pending:
                self._pending[row.id] = row
            self._events.emit("approval.vote", id=row.id, by=by, votes=self.voters.count(row), quorum=row.quorum)
            await self._rewrite_prompts(row)
            return
        self._forget(row.id)
        await self._notify(row, by)

    async def _notify(self, row: Approval, by: str) -> None:
        self._events.emit(f"approval.{row.state}", id=row.id, tool=row.tool[:_SHOWN_MAX], turn_id=row.turn_id, by=by)
        await self._rewrite_prompts(row)

    async def _rewrite_prompts(self, row: Approval) -> None:
        """Show the state of a request in its prompts. If the store refuses, the next start or the next press does it."""
        try:
            await self._prompts.update(row)
        except StoreRefused as error:
            _log.warning("approval_prompts_not_updated", approval=row.id, reason=error.reason)

    def _why_not(self, row: Approval, by: str) -> str:
        if row.state != "pending":
            return f"approval {row.id} is not pending: it was {row.state} by {row.decided_by}"
        person = self.voters.person_of(by)
        who = by if person == by else f"{by} ({person})"
        return f"{who} has answered approval {row.id} already; it waits for {row.quorum - self.voters.count(row)} more"

    def _is_overdue(self, approval: Approval) -> bool:
        """By the timer of the waiting turn, if there is one, so that a wall clock that is set forward expires nothing early."""
        overdue = self._overdue.get(approval.id)
        return approval.expires_at <= self._now() if overdue is None else anyio.current_time() >= overdue

    def _forget(self, approval_id: str) -> None:
        self._pending.pop(approval_id, None)
        self._overdue.pop(approval_id, None)
        self.notify(approval_id)

    def _audit(self, row: Approval, actor: str, action: str, **detail: str | None) -> AuditDraft:
        tool = row.tool[:_SHOWN_MAX]
        text = detail_of(**detail, agent=row.agent, tool=tool, input_hash=row.input_hash, turn_id=row.turn_id)
        return AuditDraft(at=self._now(), actor=actor, action=action, subject=row.id, detail=text)


def hash_of(request: ToolRequest) -> str:
    """SHA-256, as hex, of the tool's name and its exact input. A decision holds for this input only."""
    return hashlib.sha256(msgspec.json.encode([request.tool, request.input])).hexdigest()


def cannot_be_shown(request: ToolRequest) -> str | None:
    """Why a request cannot be shown to people, and is refused without asking; None: it can be shown."""
    if len(request.tool) > _TOOL_MAX or len(request.input) > _INPUT_MAX or len(request.ref or "") > _INPUT_MAX:
        return "the request is too long to be shown to an operator"
    try:
        "".join((request.tool, request.input, request.ref or "")).encode()
    except UnicodeEncodeError:
        return "the request is not valid text"
    return None
