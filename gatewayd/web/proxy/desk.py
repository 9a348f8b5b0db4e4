"""What a client of an agent's server may do at the hub: the implementation of ``ports.proxy.ProxyDesk``."""

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from gatewayd.hub.approvals.desk import cannot_be_shown, hash_of
from gatewayd.hub.gateway import Gateway
from gatewayd.model.errors import Conflict, NotFound
from gatewayd.model.records.approval import Approval, ToolRequest
from gatewayd.ports.agent import AgentCore
from gatewayd.ports.proxy import ProxyError
from gatewayd.web.access.auth import Identity

if TYPE_CHECKING:
    import httpx2

_MOST_ANSWERS: Final = 20
"""The limit on answers to one request. The server takes the first one that reaches it."""
_LISTED_MAX: Final = 1000


class Desk:
    """The desk of one request of a client."""

    def __init__(self, gateway: Gateway, identity: Identity, agent: str, core: AgentCore) -> None:
        self.agent = agent
        self.core = core
        self.is_admin = identity.may("admin")
        self._label = identity.label
        self._gateway = gateway

    @property
    def http(self) -> "httpx2.AsyncClient":
        return self._gateway.agents.http

    def busy(self) -> Mapping[str, AgentCore]:
        agents = self._gateway.agents
        cores = {status.agent: agents.open_core(status.agent) for status in agents.snapshot() if status.running}
        return {agent: core for agent, core in cores.items() if core is not None}

    def find_permission(self, ref: str) -> str | None:
        row = self._gateway.approvals.find_pending(agent=self.agent, ref=ref)
        return None if row is None else row.id

    async def find_same_permission(self, request: ToolRequest) -> str | None:
        wanted = hash_of(request)
        pending = await self._gateway.approvals.list("pending", limit=_LISTED_MAX)
        return next((row.id for row in pending if row.agent == self.agent and row.input_hash == wanted), None)

    async def decide(self, approval_id: str, *, allow: bool, note: str | None) -> bool:
        try:
            await self._gateway.approvals.decide(approval_id, allow=allow, by=self._label, note=note)
        except (Conflict, NotFound):
            return False
        return True

    async def record(
        self, request: ToolRequest, *, allow: bool, session: str, note: str | None = None, name: str | None = None
    ) -> bool:
        """Allowed before is no obstacle: the server takes one answer, and that may not have reached it."""
        if (why_not := cannot_be_shown(request)) is not None:
            raise ProxyError("bad_gateway", f"{why_not}, so it is not answered here")
        if allow:
            self._check_policy(request)
        turn_id = f"proxy:{self.agent}:{name or secrets.token_hex(8)}"
        for ordinal in range(_MOST_ANSWERS):
            row = self._row(request, turn_id, ordinal, allow=allow, note=note, session=session)
            kept = await self._gateway.approvals.record(row)
            if kept.id == row.id:
                return True
            if allow and kept.state == "denied":
                return False
        raise ProxyError("conflict", f"this request was answered {_MOST_ANSWERS} times already, which is the limit")

    def find_question(self, ref: str) -> str | None:
        row = self._gateway.questions.find_pending(agent=self.agent, ref=ref)
        return None if row is None else row.id

    async def answer(self, question_id: str, answers: tuple[str, ...] | None) -> bool:
        action = "question.dismiss" if answers is None else "question.answer"
        try:
            async with self._gateway.audit.doing(self._label, action, question_id, agent=self.agent):
                if not await self._gateway.questions.decide(question_id, answers, by=self._label):
                    raise Conflict("it is not open any more")
        except Conflict:
            return False
        return True

    async def note_write(self, method: str, path: str, *, size: int | None = None) -> None:
        detail = {} if size is None else {"bytes": size}
        await self._gateway.audit.record(self._label, f"proxy.{method.lower()}", self.agent + path, **detail)

    def _check_policy(self, request: ToolRequest) -> None:
        approvals = self._gateway.approvals
        if approvals.policy_of(self.agent).quorum > 1 or approvals.judge(self.agent, request)[0] == "deny":
            raise ProxyError("forbidden", f"the policy of agent {self.agent} does not let one person allow this")

    def _row(self, request: ToolRequest, turn_id: str, ordinal: int, *, allow: bool, note: str | None, session: str) -> Approval:
        """An approval that is decided and used up."""
        now = self._gateway.now()
        return Approval(
            id="ap_" + secrets.token_hex(5),
            agent=self.agent,
            session_key=f"proxy:{self.agent}",
            turn_id=turn_id,
            ordinal=ordinal,
            tool=request.tool,
            input=request.input,
            input_hash=hash_of(request),
            state="allowed" if allow else "denied",
            created_at=now,
            expires_at=now,
            origin="proxy",
            decided_at=now,
            decided_by=self._label,
            note=note,
            consumed_at=now if allow else None,
            session_id=session,
            asked_by=self._label,
            ref=request.ref,
        )
