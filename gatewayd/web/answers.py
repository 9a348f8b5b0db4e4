"""Answers of attached clients to permissions and questions: each counts once, here or at the agent's server.

What a turn of ours waits for is answered at our desk; the turn hands it to the server. What the client's own sessions wait for
is answered there, and what is allowed is recorded first.
"""

import secrets

import msgspec
from msgspec import Struct
from quart import Response

from gatewayd.hub.approvals import hash_of
from gatewayd.hub.gateway import Gateway
from gatewayd.hub.policy import judge
from gatewayd.model.approval import Approval, ApprovalState, ToolRequest
from gatewayd.model.errors import Conflict, NotFound
from gatewayd.ports.agent import HasSurface, Surface
from gatewayd.web import surface as rules
from gatewayd.web.auth import Identity
from gatewayd.web.exchange import answer
from gatewayd.web.refusal import Refusal
from gatewayd.web.surface import Operation
from gatewayd.web.upstream import DEEPEST, Listed, Upstream


class Asked(Struct, frozen=True):
    """One request of a client, before it is decided what becomes of it."""

    operation: Operation
    identity: Identity
    agent: str
    core: HasSurface
    surface: Surface
    query: bytes
    headers: dict[str, str]
    body: bytes

    @property
    def target(self) -> bytes:
        """What the request line is to say."""
        path = self.operation.path.encode("ascii")
        return path + b"?" + self.query if self.query else path


class Answers:
    """Decides what becomes of an answer: either it is answered here, or there is a body to pass on."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def permission(self, asked: Asked) -> Response | bytes:
        """:raises Refusal: bad_request; forbidden by the agent's policy; conflict with a turn of ours."""
        request_id = asked.operation.request
        assert request_id is not None
        reply = rules.read_reply(asked.body)
        ours, listed = self._gateway.approvals.find_pending(ref=request_id), None
        if ours is None:
            listed = await self.upstream(asked).find_request("/permission", request_id)
            if listed is None:
                return _gone("Permission", request_id)
            ours = await self._same(asked, listed) if listed.session is None else None
        if ours is not None:
            try:
                await self._gateway.approvals.decide(ours.id, allow=reply.allows, by=asked.identity.label, note=reply.message)
            except (Conflict, NotFound):
                return _gone("Permission", request_id)
            return answer(True)
        assert listed is not None
        await self.refuse_during_turn(asked, listed.session)
        if not await self.record(asked, request_id, listed.asked, allows=reply.allows, note=reply.message):
            return _gone("Permission", request_id)
        return rules.encode_reply(reply)

    async def question(self, asked: Asked) -> Response | bytes:
        """:raises Refusal: bad_request; conflict with a turn of ours."""
        desk, request_id = self._gateway.questions, asked.operation.request
        assert request_id is not None
        rejects = asked.operation.name == "reject"
        answers = () if rejects else rules.read_answers(asked.body)
        for number in range(rules.MOST_QUESTIONS):
            ours = desk.find_pending(ref=f"{request_id}:{number}")
            if ours is None:
                continue
            if len(answers) > 1 or number > 0:
                raise Refusal("conflict", "these questions are asked one after the other in a chat: answer them there")
            said = answers[0] if answers else ()
            return (
                answer(True)
                if await desk.decide(ours.id, said or None, by=asked.identity.label)
                else _gone("Question", request_id)
            )
        listed = await self.upstream(asked).find_request("/question", request_id)
        if listed is None:
            return _gone("Question", request_id)
        await self.refuse_during_turn(asked, listed.session)
        await self._gateway.audit.record(asked.identity.label, "proxy.post", asked.agent + asked.operation.path)
        return b"" if rejects else rules.check_body(asked.body)

    async def refuse_during_turn(self, asked: Asked, session: str | None) -> None:
        """:raises Refusal: a turn of ours runs in that session, or above it; or somewhere, if the session is not known."""
        if self._gateway.agents.status(asked.agent).running == 0:
            return
        upstream = self.upstream(asked)
        for _ in range(DEEPEST):
            if session is None or asked.core.turn_of(session) is not None:
                raise turn_runs()
            parent = await upstream.parent(session)
            if parent is None:
                return
            session = parent
        raise turn_runs()

    async def record(self, asked: Asked, key: str, tool: ToolRequest, *, allows: bool, note: str | None) -> bool:
        """Keep what this operator decides as a row that is used up. False: it was denied before. Allowed before is no
        obstacle: the server takes one answer, and that may not have reached it.

        :raises Refusal: forbidden: the agent's policy denies it, or wants more people than one.
        """
        policy = self._gateway.approvals.policy_of(asked.agent)
        if allows and (policy.quorum > 1 or judge(policy.rules, tool)[0] == "deny"):
            raise Refusal("forbidden", f"the policy of agent {asked.agent} does not let one person allow this")
        now = self._gateway.now()
        state: ApprovalState = "allowed" if allows else "denied"
        row = Approval(
            id="ap_" + secrets.token_hex(5),
            agent=asked.agent,
            session_key=f"proxy:{asked.agent}",
            turn_id=f"proxy:{asked.agent}:{key}",
            ordinal=0,
            tool=tool.tool,
            input=tool.input,
            input_hash=hash_of(tool),
            state=state,
            created_at=now,
            expires_at=now,
            origin="proxy",
            decided_at=now,
            decided_by=asked.identity.label,
            note=note,
            consumed_at=now if allows else None,
            session_id=asked.operation.session or "",
            asked_by=asked.identity.label,
            ref=tool.ref,
        )
        kept = await self._gateway.approvals.record(row)
        return kept.state == "allowed" or not allows

    def upstream(self, asked: Asked) -> Upstream:
        return Upstream(self._gateway.agents.http, asked.surface, asked.query, asked.headers)

    async def _same(self, asked: Asked, listed: Listed) -> Approval | None:
        """OpenAgentic says of a request neither whose it is nor anything unique. If a turn of ours waits for exactly the same
        tool and input, that is what is answered: whoever's it is, the one who answers has seen the same."""
        pending = await self._gateway.approvals.list("pending", limit=1000)
        same = [row for row in pending if row.agent == asked.agent and row.input_hash == hash_of(listed.asked)]
        return same[0] if same else None


def turn_runs() -> Refusal:
    return Refusal(
        "conflict", "a turn of gatewayd runs in this session: wait for its end, or answer it with gatewayctl approvals"
    )


def _gone(kind: str, request_id: str) -> Response:
    """What OpenCode says of a request that does not wait (any more); OpenAgentic's clients look at the status."""
    message = f"{kind} request not found: {request_id}"
    body = {"_tag": f"{kind}NotFoundError", "requestID": request_id, "message": message}
    return Response(msgspec.json.encode(body), status=404, content_type="application/json")
