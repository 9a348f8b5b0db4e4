"""Answers of attached clients to permissions and questions: each counts once, here or at the agent's server.

A request of a turn is answered in gatewayd, and the turn delivers the answer. A request of the client's own session is answered
at the server, and what is allowed is recorded first.
"""

import hashlib

import msgspec

from gatewayd.agents.opencode.proxy import allowlist
from gatewayd.agents.opencode.proxy.client_request import ClientRequest
from gatewayd.agents.opencode.proxy.upstream import ListedPermission
from gatewayd.ports.proxy import ProxyError, ProxyReply

_TRUE = ProxyReply(b"true")


async def answer_permission(request: ClientRequest) -> ProxyReply | bytes:
    """The reply, or the body to forward.

    :raises ProxyError: bad_request; forbidden by the agent's policy; conflict with a running turn.
    """
    desk, request_id = request.desk, request.operation.request
    assert request_id is not None
    reply = allowlist.read_reply(request.body)
    ours = desk.find_permission(request_id)
    if ours is None:
        listed = await request.upstream.find_permission(request_id)
        if listed is None:
            return _gone("Permission", request_id)
        # OpenAgentic names neither the session of a request nor a unique id. If a turn waits for exactly the same tool and input,
        # the answer is for that turn: the person has seen the same.
        ours = await desk.find_same_permission(listed.request) if listed.session_id is None else None
        if ours is None:
            return await _answer_there(request, listed, reply)
    done = await desk.decide(ours, allow=reply.allows, note=reply.note)
    return _TRUE if done else _gone("Permission", request_id)


async def _answer_there(request: ClientRequest, listed: ListedPermission, reply: allowlist.PermissionReply) -> ProxyReply | bytes:
    await request.check_no_turn(listed.session_id)
    session = listed.session_id or request.operation.session or ""
    recorded = await request.desk.record(
        listed.request, allow=reply.allows, session=session, note=reply.note, name=_name_of(listed)
    )
    if not recorded:
        assert request.operation.request is not None
        return _gone("Permission", request.operation.request)
    return allowlist.encode_reply(reply)


def _name_of(listed: ListedPermission) -> str | None:
    """A name of exactly this request, for ever. None: the server uses an id twice (OpenAgentic's ``call_0``)."""
    if listed.session_id is None:
        return None
    facts = [listed.session_id, listed.request.ref, listed.request.tool, listed.request.input]
    return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()[:32]


async def answer_question(request: ClientRequest) -> ProxyReply | bytes:
    """As ``answer_permission``. :raises ProxyError: bad_request; conflict with a running turn."""
    desk, request_id = request.desk, request.operation.request
    assert request_id is not None
    rejects = request.operation.name == "reject"
    answers = () if rejects else allowlist.read_answers(request.body)
    for number in range(allowlist.MOST_QUESTIONS):
        ours = desk.find_question(f"{request_id}:{number}")
        if ours is None:
            continue
        if len(answers) > 1 or number > 0:
            raise ProxyError("conflict", "these questions are asked one after the other in a chat: answer them there")
        done = await desk.answer(ours, (answers[0] or None) if answers else None)
        return _TRUE if done else _gone("Question", request_id)
    listed = await request.upstream.find_question(request_id)
    if listed is None:
        return _gone("Question", request_id)
    await request.check_no_turn(listed.session_id)
    await desk.note_write("POST", request.operation.path)
    return b"" if rejects else allowlist.check_body(request.body, admin=desk.is_admin)


def _gone(kind: str, request_id: str) -> ProxyReply:
    """OpenCode's answer for a request that is not pending; OpenAgentic's clients look at the status only."""
    message = f"{kind} request not found: {request_id}"
    body = {"_tag": f"{kind}NotFoundError", "requestID": request_id, "message": message}
    return ProxyReply(msgspec.json.encode(body), status=404)
