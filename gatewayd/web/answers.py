"""Answers of attached clients to permissions and questions: each counts once, here or at the agent's server.

What a turn of ours waits for is answered at our desk; the turn hands it to the server. What the client's own sessions wait for
is answered there, and what is allowed is recorded first.
"""

import secrets
from collections.abc import Sequence
from typing import Final, TypeGuard

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace
from quart import Response

from gatewayd.actor.border import third_party
from gatewayd.hub.approvals import hash_of
from gatewayd.hub.gateway import Gateway
from gatewayd.hub.policy import judge
from gatewayd.model.approval import Approval, ToolRequest
from gatewayd.model.config import ApprovalRule
from gatewayd.model.errors import Conflict, NotFound
from gatewayd.ports.agent import HasSurface, Surface
from gatewayd.web import surface as rules
from gatewayd.web.auth import Identity
from gatewayd.web.exchange import answer
from gatewayd.web.refusal import Refusal
from gatewayd.web.surface import Operation
from gatewayd.web.upstream import DEEPEST, Listed, Upstream

_MOST_ANSWERS: Final = 20
"""To one request: the first one that reaches the server counts, the others are tries."""


def has_surface(core: object) -> TypeGuard[HasSurface]:
    """Whether there is a server behind the core."""
    with third_party():
        return isinstance(core, HasSurface)


def surface_of(core: HasSurface) -> Surface:
    """:raises Exception: the core fails to say."""
    with third_party():
        return core.surface()


def turn_in(core: HasSurface, session_id: str) -> str | None:
    """The turn of ours that runs in a session of the core now. :raises Exception: the core fails to say."""
    with third_party():
        return core.turn_of(session_id)


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
        ours, listed = self._gateway.approvals.find_pending(agent=asked.agent, ref=request_id), None
        if ours is None:
            listed = await self.upstream(asked).find_request("/permission", request_id)
            if listed is None:
                return _gone("Permission", request_id)
            ours = await self._same(asked, listed) if listed.session is None else None
        if ours is not None:
            try:
                await self._gateway.approvals.decide(ours.id, allow=reply.allows, by=asked.identity.label, note=reply.note)
            except (Conflict, NotFound):
                return _gone("Permission", request_id)
            return answer(True)
        assert listed is not None
        await self.refuse_during_turn(asked, listed.session)
        if not await self._record_listed(asked, listed, reply):
            return _gone("Permission", request_id)
        return rules.encode_reply(reply)

    async def _record_listed(self, asked: Asked, listed: Listed, reply: rules.Reply) -> bool:
        return await self.record(
            asked,
            listed.asked,
            allows=reply.allows,
            note=reply.note,
            whole=listed.whole,
            session=listed.session,
            lasting=listed.name,
        )

    async def question(self, asked: Asked) -> Response | bytes:
        """:raises Refusal: bad_request; conflict with a turn of ours."""
        desk, request_id = self._gateway.questions, asked.operation.request
        assert request_id is not None
        rejects = asked.operation.name == "reject"
        answers = () if rejects else rules.read_answers(asked.body)
        for number in range(rules.MOST_QUESTIONS):
            ours = desk.find_pending(agent=asked.agent, ref=f"{request_id}:{number}")
            if ours is None:
                continue
            if len(answers) > 1 or number > 0:
                raise Refusal("conflict", "these questions are asked one after the other in a chat: answer them there")
            return await self._answer_ours(asked, ours.id, answers[0] if answers else ())
        listed = await self.upstream(asked).find_request("/question", request_id)
        if listed is None:
            return _gone("Question", request_id)
        await self.refuse_during_turn(asked, listed.session)
        await self._gateway.audit.record(asked.identity.label, "proxy.post", asked.agent + asked.operation.path)
        return b"" if rejects else rules.check_body(asked.body, admin=asked.identity.may("admin"))

    async def _answer_ours(self, asked: Asked, question_id: str, said: tuple[str, ...]) -> Response:
        label, action = asked.identity.label, f"question.{'answer' if said else 'dismiss'}"
        try:
            async with self._gateway.audit.doing(label, action, question_id, agent=asked.agent):
                if not await self._gateway.questions.decide(question_id, said or None, by=label):
                    raise Conflict("it is not open any more")
        except Conflict:
            assert asked.operation.request is not None
            return _gone("Question", asked.operation.request)
        return answer(True)

    async def refuse_during_turn(self, asked: Asked, session: str | None) -> None:
        """:raises Refusal: a turn of ours runs in that session, or above it; or somewhere, if the session is not known."""
        if self._gateway.agents.status(asked.agent).running == 0:
            return
        upstream = self.upstream(asked)
        for _ in range(DEEPEST):
            if session is None or turn_in(asked.core, session) is not None:
                raise turn_runs()
            parent = await upstream.parent(session)
            if parent is None:
                return
            session = parent
        raise turn_runs()

    def refuse_second_run(self, asked: Asked) -> None:
        """:raises Refusal: a turn of ours runs on a server that would take the requests of another run for its own."""
        if not asked.surface.one_run_at_a_time:
            return
        agents = self._gateway.agents
        for status in agents.snapshot():
            core: object = agents.open_core(status.agent)
            if status.running and has_surface(core) and surface_of(core).url == asked.surface.url:
                raise Refusal(
                    "conflict",
                    f"a turn of agent {status.agent} runs on this server, which cannot tell the requests of two runs apart:"
                    " wait for its end",
                )

    async def record(
        self,
        asked: Asked,
        tool: ToolRequest,
        *,
        allows: bool,
        note: str | None = None,
        whole: bool = True,
        session: str | None = None,
        lasting: str | None = None,
    ) -> bool:
        """Keep what this operator decides as a row of its own, which is used up. False: the very same was denied before.

        ``whole``: the tool gets nothing that ``tool`` does not show. ``lasting`` is a name of the request that no other one
        ever has: only by it an earlier answer is known. Allowed before is no obstacle: the server takes one answer, and that
        may not have reached it.

        :raises Refusal: forbidden: the agent's policy denies it, or wants more people than one.
        """
        if allows:
            self._refuse_against_policy(asked.agent, tool, whole=whole)
        turn_id = f"proxy:{asked.agent}:{lasting or secrets.token_hex(8)}"
        for ordinal in range(_MOST_ANSWERS):
            row = self._row(asked, tool, turn_id, ordinal, allows=allows, note=note, session=session)
            kept = await self._gateway.approvals.record(row)
            if kept.id == row.id:
                return True
            if allows and kept.state == "denied":
                return False
        raise Refusal("conflict", f"this request was answered {_MOST_ANSWERS} times already")

    def _refuse_against_policy(self, agent: str, tool: ToolRequest, *, whole: bool) -> None:
        policy = self._gateway.approvals.policy_of(agent)
        applied = policy.rules if whole else _for_a_part(policy.rules, tool)
        if policy.quorum > 1 or judge(applied, tool)[0] == "deny":
            raise Refusal("forbidden", f"the policy of agent {agent} does not let one person allow this")

    def _row(
        self,
        asked: Asked,
        tool: ToolRequest,
        turn_id: str,
        ordinal: int,
        *,
        allows: bool,
        note: str | None,
        session: str | None,
    ) -> Approval:
        now = self._gateway.now()
        return Approval(
            id="ap_" + secrets.token_hex(5),
            agent=asked.agent,
            session_key=f"proxy:{asked.agent}",
            turn_id=turn_id,
            ordinal=ordinal,
            tool=tool.tool,
            input=tool.input,
            input_hash=hash_of(tool),
            state="allowed" if allows else "denied",
            created_at=now,
            expires_at=now,
            origin="proxy",
            decided_at=now,
            decided_by=asked.identity.label,
            note=note,
            consumed_at=now if allows else None,
            session_id=session or asked.operation.session or "",
            asked_by=asked.identity.label,
            ref=tool.ref,
        )

    def upstream(self, asked: Asked) -> Upstream:
        return Upstream(self._gateway.agents.http, asked.surface, asked.query, asked.headers)

    async def _same(self, asked: Asked, listed: Listed) -> Approval | None:
        """OpenAgentic says of a request neither whose it is nor anything unique. If a turn of ours waits for exactly the same
        tool and input, that is what is answered: whoever's it is, the one who answers has seen the same."""
        pending = await self._gateway.approvals.list("pending", limit=1000)
        same = [row for row in pending if row.agent == asked.agent and row.input_hash == hash_of(listed.asked)]
        return same[0] if same else None


def _for_a_part(applied: Sequence[ApprovalRule], tool: ToolRequest) -> list[ApprovalRule]:
    """The rules for a request that shows only a part of the tool's input: a denial also fits if what it looks at is missing."""
    try:
        shown = msgspec.json.decode(tool.input, type=dict[str, Raw])
    except msgspec.DecodeError:
        shown = {}
    return [
        replace(rule, input={key: pattern for key, pattern in rule.input.items() if key in shown})
        if rule.action == "deny"
        else rule
        for rule in applied
    ]


def turn_runs() -> Refusal:
    return Refusal(
        "conflict", "a turn of gatewayd runs in this session: wait for its end, or answer it with gatewayctl approvals"
    )


def _gone(kind: str, request_id: str) -> Response:
    """What OpenCode says of a request that does not wait (any more); OpenAgentic's clients look at the status."""
    message = f"{kind} request not found: {request_id}"
    body = {"_tag": f"{kind}NotFoundError", "requestID": request_id, "message": message}
    return Response(msgspec.json.encode(body), status=404, content_type="application/json")
