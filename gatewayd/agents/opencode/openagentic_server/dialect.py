"""OpenAgentic's dialect (openagentic-sdk 0.1.4, openagentic_sdk/server/http_server.py).

The session's log, GET /session/ID/events, is the truth: an event is written there before it is streamed, and only there it has
a number. The stream carries the pieces of text, and hints at new events.

The server's id of a request is the model's id of the tool call, which a model may use twice. The number of the call in the log
makes it unique. There is one run at a time: calls of two sessions with the same id could be mixed up.
"""

from collections.abc import Sequence

import anyio
from msgspec import Raw, Struct

from gatewayd.agents.opencode.openagentic_server.log import (
    DELTA,
    LogEvent,
    LogProgress,
    PendingPermission,
    fold,
    open_calls,
    read_log,
)
from gatewayd.agents.opencode.server.client import NoSuchSession, NotFoundOnServer
from gatewayd.agents.opencode.server.dialect import (
    LOOKED_AT_MAX,
    Dialect,
    PendingRequest,
    PermissionRequest,
    PollSnapshot,
    QuestionsRequest,
    ServerSession,
)
from gatewayd.agents.opencode.server.progress import History, StreamEvent
from gatewayd.agents.opencode.server.wire import Id, TooLarge, canonical, decode
from gatewayd.model.errors import AgentFailed, TryAgain
from gatewayd.model.records.approval import Decision
from gatewayd.model.records.question import Option, Question

VERSION = "openagentic-sdk"
"""The version in /global/health; there is no number."""

_QUESTION_SECONDS = 270.0
"""After 300 s without an answer the run's thread dies in silence: the question is dismissed before that, and the run goes on."""
_LOG_MAX = 8 * 1024 * 1024
_LOG_READS = 8
_LOG_AGAIN_SECONDS = 0.1


class _Prompt(Struct):
    text: str


class _Reply(Struct):
    reply: str


class _Log(Struct):
    events: list[Raw]


class _Streamed(Struct):
    type: str
    session_id: str = ""
    event: Raw = Raw()


class _Kind(Struct):
    type: str


class _Question(Struct):
    id: Id
    prompt: str
    choices: list[str] = []


class OpenAgentic(Dialect):
    stream_path = "/event"
    heartbeat_seconds = 30.0
    one_run_at_a_time = True
    begins_late = False
    denial_ends_others = False

    def read(self, data: str) -> StreamEvent | None:
        streamed = decode(data, _Streamed, what="event")
        if streamed.type != "session.event":
            return None
        kind = decode(streamed.event, _Kind, what="event").type
        if kind == DELTA:
            streamed = decode(data, _Streamed, what="event", keep_halves=True)
        return StreamEvent(kind, streamed.session_id, streamed.event, wakes_poll=kind != DELTA)

    def progress(self) -> LogProgress:
        return LogProgress()

    async def create(self, title: str, directory: str | None) -> ServerSession:
        return await super().create(title, None)

    async def session(self, session_id: str) -> ServerSession:
        if not _is_id(session_id):
            raise NoSuchSession
        try:
            await self._client.call("GET", f"/session/{session_id}", what="session")
        except NotFoundOnServer:
            raise NoSuchSession from None
        return ServerSession(session_id)

    async def mark(self, session: ServerSession) -> str:
        events = await self._log(session, 0)
        return str(events[-1].seq if events else 0)

    async def prompt(self, session: ServerSession, text: str) -> None:
        path = f"/session/{session.id}/prompt_async"
        await self._client.call("POST", path, what="prompt", body=_Prompt(text), repeatable=False)

    async def history(self, session: ServerSession, mark: str) -> History:
        return fold(await self._log(session, int(mark)))

    async def requests(self, session: ServerSession, mark: str, snapshot: PollSnapshot) -> Sequence[PendingRequest]:
        if not snapshot.permissions and not snapshot.questions:
            return []
        log = await self._log(session, int(mark))
        found: list[PendingRequest] = []
        for seq, call in open_calls(log).items():
            for pending in snapshot.permissions:
                permission = decode(pending.body, PendingPermission, what="permission")
                if (part := _part_of(call, permission)) is not None:
                    ref = f"{session.id}:{seq}{part}"
                    found.append(PermissionRequest(ref, permission.id, session.id, permission.tool, canonical(permission.input)))
        questions = {event.question_id: event for event in log if event.type == "user.question"}
        for pending in snapshot.questions:
            entry = decode(pending.body, _Question, what="question")
            if (event := questions.get(entry.id)) is not None:
                ref = f"{session.id}:{event.seq}"
                question = Question(entry.prompt, tuple(Option(choice) for choice in entry.choices), ref=ref)
                found.append(QuestionsRequest(ref, entry.id, session.id, (question,), _QUESTION_SECONDS))
        return found[:LOOKED_AT_MAX]

    async def decide(self, session: ServerSession, request: PermissionRequest, decision: Decision) -> bool:
        """The server takes no reason with a denial. The request is looked up again right before: another call may have the
        same id by now."""
        listed = await self._listed("permission", None)
        before = int(request.ref.split(":")[1]) - 1
        if request not in await self.requests(session, str(before), PollSnapshot(0.0, {}, listed)):
            return False
        word = _Reply("allow" if decision.allowed else "deny")
        return await self._respond(session, f"/permission/{request.id}/reply", "the answer to a request", word)

    def answer_value(self, labels: Sequence[str]) -> str:
        return ", ".join(labels)

    async def abort(self, session: ServerSession, requests: Sequence[PendingRequest]) -> None:
        """The server looks at it between two steps only, so a pending request has to be answered."""
        await super().abort(session, requests)
        for request in requests:
            if isinstance(request, PermissionRequest):
                await self.decide(session, request, Decision("withdrawn"))
            else:
                await self.answer(session, request, None)

    async def _log(self, session: ServerSession, after: int) -> list[LogEvent]:
        """The events with a number higher than ``after``.

        While the server writes an event it cannot read its own log, and closes the connection: then it is asked again. It can
        never read a log that a crash has damaged.

        :raises AgentFailed: the log is damaged. :raises TooLarge: it is too long; the server gives all of it or nothing.
        """
        for _ in range(_LOG_READS):
            try:
                path = f"/session/{session.id}/events"
                log = await self._client.ask(path, _Log, what="the session's log", at_most_bytes=_LOG_MAX)
                return read_log(log.events, after)
            except TooLarge as error:
                raise TooLarge(f"{error.reason}: it cannot be read any more. Write /new in the chat to begin anew") from None
            except TryAgain:
                await self._client.health()
                await anyio.sleep(_LOG_AGAIN_SECONDS)
        raise AgentFailed(
            "the agent's server cannot read this session's log: it is damaged. Write /new in the chat to begin anew"
        )


def _part_of(call: LogEvent, permission: PendingPermission) -> str | None:
    """The part of the call that the permission is for: "" for all of it, None if it is another call's.

    A SlashCommand asks for each shell command of its template: as another tool, with an id that begins with its own
    (runtime_core/slash_command.py).
    """
    if permission.id == call.tool_use_id:
        return "" if permission.tool == call.name and canonical(permission.input) == canonical(call.input) else None
    prefix = f"{call.tool_use_id}:"
    return permission.id[len(prefix) - 1 :] if call.tool_use_id and permission.id.startswith(prefix) else None


def _is_id(session_id: str) -> bool:
    return len(session_id) == 32 and all(character in "0123456789abcdef" for character in session_id)
