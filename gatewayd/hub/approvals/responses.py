"""Responses to requests, from chats: a button press under a prompt, or ``/approve CODE``, ``/deny CODE``, ``/show CODE``. The
last also shows a reply again that may not have arrived (hub/outbox/unknown.py).

Responses are journaled like every message, and come here instead of a lane. Only this module decides who may answer: pairing and
allow lists let a person talk to an agent, but not decide for its operator.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal, Protocol

import anyio

from gatewayd.actor.wakeup import Wakeup
from gatewayd.hub.approvals.desk import ApprovalDesk
from gatewayd.hub.approvals.prompts import ApprovalPrompts, whole_text
from gatewayd.hub.approvals.shown import prompts_of
from gatewayd.hub.configured import Configured
from gatewayd.hub.context import Context
from gatewayd.hub.inbox.backlog import Backlog
from gatewayd.hub.outbox.outbox import Outbox, until_stored
from gatewayd.model.errors import Conflict, NotFound
from gatewayd.model.ids import ConversationId
from gatewayd.model.lifecycle import DoneReason
from gatewayd.model.message.commands import CommandResult
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.model.message.intents import ApprovalResponse, Intent
from gatewayd.model.message.payload import PressAnswer, Signal
from gatewayd.model.records.approval import Approval
from gatewayd.model.records.audit import AuditDraft
from gatewayd.ports.store import InboundRow, OutboundDraft, OutboundRow

RejectionReason = Literal["again", "elsewhere", "forged", "late", "not_an_approver", "not_offered", "unknown"]
_REFUSED: Final[Mapping[RejectionReason, DoneReason]] = {
    "again": "approval_refused_again",
    "elsewhere": "approval_refused_elsewhere",
    "forged": "approval_refused_forged",
    "late": "approval_refused_late",
    "not_an_approver": "approval_refused_not_an_approver",
    "not_offered": "approval_refused_not_offered",
    "unknown": "approval_refused_unknown",
}
_REFUSALS_PER_MINUTE = 10
_SIGNALS_MAX = 64
_TOLD_MAX = 200


ShowsReplies = Callable[[InboundEnvelope, str], Awaitable[list[OutboundDraft] | None]]
"""Shows a reply again, by its code, in the chat of the envelope. None: that chat has no such reply."""


class SignalSink(Protocol):
    async def __call__(self, channel: str, account: str, signal: Signal, /) -> None: ...


class ApprovalResponses:
    """Takes responses from the inbox. ``run`` handles them, one after the other."""

    def __init__(
        self,
        context: Context,
        configured: Configured,
        desk: ApprovalDesk,
        prompts: ApprovalPrompts,
        outbox: Outbox,
        backlog: Backlog,
        *,
        signal: SignalSink,
        show_reply: ShowsReplies,
    ) -> None:
        self._store = context.store
        self._events = context.events
        self._now = context.now
        self._configured = configured
        self._desk = desk
        self._prompts = prompts
        self._outbox = outbox
        self._backlog = backlog
        self._signal = signal
        self._show_reply = show_reply
        self._waiting: deque[tuple[InboundRow, ApprovalResponse]] = deque()
        self._wake = Wakeup()
        self._refusals: dict[str, list[float]] = {}
        self._tasks: anyio.abc.TaskGroup | None = None
        self._signals = 0

    def take(self, row: InboundRow, intent: Intent, *, admitted: bool) -> bool:
        """Queue a row if it is a response; return whether it is. ``admitted``: its sender may talk to the agent."""
        if not isinstance(intent, ApprovalResponse):
            return False
        if not (admitted or row.envelope.kind == "button" or self._prompts.is_approver(_identity(row.envelope))):
            return False
        self._waiting.append((row, intent))
        self._wake.notify()
        return True

    def acknowledge(self, envelope: InboundEnvelope, text: str = "") -> None:
        """Acknowledge a button press on its platform, without waiting. A lost acknowledgement does no harm."""
        if envelope.press is None or self._tasks is None or self._signals >= _SIGNALS_MAX:
            return
        self._signals += 1
        self._tasks.start_soon(self._send_signal, envelope, PressAnswer(envelope.peer, envelope.press, text[:_TOLD_MAX]))

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Handle responses until cancelled. Rows that are left are handled after the restart."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            task_status.started()
            try:
                while True:
                    await self._wake.take()
                    while self._waiting:
                        await self._answer(*self._waiting.popleft())
            finally:
                self._tasks = None

    async def _send_signal(self, envelope: InboundEnvelope, answer: PressAnswer) -> None:
        try:
            await self._signal(envelope.channel, envelope.account, answer)
        finally:
            self._signals -= 1

    async def _answer(self, row: InboundRow, response: ApprovalResponse) -> None:
        envelope = row.envelope
        reason, said = await until_stored(lambda: self._carry_out(row, response))
        text, replies = (said, []) if isinstance(said, str) else ("", said)
        shown = "" if envelope.kind == "button" else text
        await self._outbox.end_inbound([row], "done", reason, text=shown, replies=replies)
        self.acknowledge(envelope, text)
        self._backlog.dequeue([row])
        self._backlog.complete([row])

    async def _carry_out(self, row: InboundRow, response: ApprovalResponse) -> tuple[DoneReason, str | list[OutboundDraft]]:
        """The reason for the row, and the text for its sender, or the rows of a reply that is shown again."""
        envelope = row.envelope
        if response.action == "show" and (shown := await self._show_reply(envelope, response.approval)) is not None:
            return "reply_shown_again", shown
        if not response.approval:
            return "command", "Which request? Its code stands behind the command, as in `/approve BCDFGH`."
        try:
            approval = await self._desk.get(response.approval)
        except NotFound:
            return await self._refuse(envelope, response, "unknown", "There is no such request (any more).")
        why_not = await self._why_not(envelope, approval)
        if why_not is not None:
            return await self._refuse(envelope, response, why_not, "You may not answer this request here.")
        if response.action == "show":
            return "command", whole_text(approval)
        return await self._vote(row, response, approval)

    async def _vote(self, row: InboundRow, response: ApprovalResponse, approval: Approval) -> CommandResult:
        by, allow = _identity(row.envelope), response.action == "allow"
        try:
            found = await self._desk.decide(
                approval.id, allow=allow, by=by, note=response.note, scope=response.scope, inbound_id=row.id
            )
        except Conflict as conflict:
            found = await self._desk.get(approval.id)
            # The prompt may still show its buttons.
            await self._prompts.update(found)
            # If the vote was counted right before a crash, this row is among the votes.
            if all(vote.inbound_id != row.id for vote in found.votes):
                return await self._refuse_vote(row.envelope, response, found, by, conflict.reason)
        if found.state == "pending":
            return "approval_vote", f"Noted: {self._configured.voters.count(found)} of {found.quorum}."
        return "approval_vote", f"{found.state.capitalize()}."

    async def _refuse_vote(
        self, envelope: InboundEnvelope, response: ApprovalResponse, found: Approval, by: str, reason: str
    ) -> CommandResult:
        if found.state != "pending":
            return await self._refuse(envelope, response, "late", f"Too late: this was {found.state} already.")
        if self._configured.voters.has_voted(found, by):
            return await self._refuse(envelope, response, "again", "You have answered this already.")
        return await self._refuse(envelope, response, "not_offered", reason)

    async def _why_not(self, envelope: InboundEnvelope, approval: Approval) -> RejectionReason | None:
        """Why this person may not answer this request in this chat; None: they may."""
        here = envelope.conversation
        names = {str(here), str(ConversationId(here.account, here.peer.whole))}
        shown = prompts_of(await self._store.outbound_by("subject", approval.id))
        # A platform may not name the thread of a message that is not visible any more. Its id identifies the prompt then.
        prompts = [row for each in shown.values() for row in each if row.conversation in names or _bears(row, envelope)]
        if not prompts:
            return "elsewhere"
        if envelope.kind == "button":
            prompts = [row for row in prompts if _message_of(row) in (None, envelope.message_id)]
        if not prompts:
            return "forged"
        if _identity(envelope) not in self._prompts.who_may(approval, prompts[0].conversation):
            return "not_an_approver"
        return None

    async def _refuse(
        self, envelope: InboundEnvelope, response: ApprovalResponse, why: RejectionReason, text: str
    ) -> CommandResult:
        """Refuse a response and record that. The number of entries for one person is limited."""
        who = _identity(envelope)
        now = self._now()
        recent = [at for at in self._refusals.get(who, ()) if 0 <= now - at < 60]
        if not recent:
            self._refusals = {key: times for key, times in self._refusals.items() if 0 <= now - times[-1] < 60}
        if len(recent) < _REFUSALS_PER_MINUTE:
            detail = f'{{"why":"{why}","wanted":"{response.action}"}}'
            await self._store.add_audit(AuditDraft(now, who, "approval.refused", response.approval[:64], detail))
            self._refusals[who] = [*recent, now]
        self._events.emit("approval.refused", id=response.approval[:64], by=who[:200], why=why)
        return _REFUSED[why], text


def _bears(prompt: OutboundRow, envelope: InboundEnvelope) -> bool:
    """Whether a button press belongs to this prompt."""
    peer, own = envelope.peer, prompt.payload.peer
    same_chat = (prompt.channel, prompt.account, own.kind, own.id) == (envelope.channel, envelope.account, peer.kind, peer.id)
    known = _message_of(prompt)
    return envelope.kind == "button" and same_chat and known is not None and known == envelope.message_id


def _message_of(prompt: OutboundRow) -> str | None:
    """None: the platform's id of the message is not known."""
    return None if prompt.receipt is None else prompt.receipt.message_id


def _identity(envelope: InboundEnvelope) -> str:
    return f"{envelope.channel}:{envelope.sender.id}"
