"""The OpenAgentic SDK's server (0.1.4), faked. Its bugs as measured:

HTTP/1.0 that closes after each answer; no event announces a request; requests are keyed by the model's id of the call, and a
second one with that id replaces the first; a run that fails says nothing at all; abort is looked at between steps only; any word
but allow, yes and y denies; a path is not unquoted; an unknown session takes a prompt; no answer within 300 s fails a tool and
kills a run that has asked the user.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any
from uuid import uuid4

import msgspec
import trio
import trio.lowlevel

from tests.fakes.opencode_server.http import Events, HttpServer, Reply, Request, reply
from tests.fakes.opencode_server.script import Answers, Asking, Script, echo

WAIT_SECONDS = 300.0
Object = dict[str, Any]


class _Dead(Exception):
    """The run's thread dies; a traceback goes to stderr, and nothing else happens."""


class FakeOpenAgentic:
    """``script`` is what the model does. ``deltas``: as when it was started with include_partial_messages. ``torn``: so many
    reads of a log come while it is written."""

    def __init__(self, script: Script = echo, *, deltas: bool = True, token: str | None = None) -> None:
        self.script = script
        self.deltas = deltas
        self.torn = 0
        self.http = HttpServer(self._handle, http10=True)
        self.logs: dict[str, list[Object]] = {}
        self.busy: dict[str, trio.Event] = {}
        self.permissions: dict[str, tuple[Object, list[str], trio.Event]] = {}
        self.questions: dict[str, tuple[Object, list[list[str]], trio.Event]] = {}
        self.ran: list[str] = []
        self.most_at_once = 0
        self._token = token
        self._streams: list[Events] = []
        self._ids = count(1)
        self._nursery: trio.Nursery | None = None
        self._runs: list[trio.CancelScope] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.port}"

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        async with self.http.serve(), trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._beat)
            yield
            self._nursery.cancel_scope.cancel()

    async def _beat(self) -> None:
        while True:
            await trio.sleep(30)
            for events in self._streams:
                events.send.send_nowait(b'data: {"type":"server.heartbeat"}\n\n')

    async def restart(self) -> None:
        """As after a kill: the logs are there, what ran is gone."""
        await self.http.stop()
        for scope in self._runs:
            scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        self.busy.clear()
        self.permissions.clear()
        self.questions.clear()
        await self.http.start()

    def break_streams(self) -> None:
        for stream in self._streams:
            stream.send.close()
        self._streams.clear()

    def list_nonsense(self) -> None:
        """A request that is none, among those that wait."""
        self.permissions["odd"] = ({"tool": 7}, [], trio.Event())

    def append(self, session_id: str, event: Object) -> None:
        """Log it, then stream it."""
        log = self.logs.setdefault(session_id, [])
        log.append({**event, "seq": len(log) + 1, "ts": 1.0})
        self.stream(session_id, event)

    def stream(self, session_id: str, event: Object) -> None:
        if event["type"] == "user.message":
            return
        whole = {"type": "session.event", "session_id": session_id, "event": {"ts": None, "seq": None, **event}}
        data = b"data: " + msgspec.json.encode(whole) + b"\n\n"
        for events in self._streams:
            events.send.send_nowait(data)

    async def _handle(self, request: Request) -> Reply | Events | None:
        if self._token is not None and request.headers.get("authorization") != f"Bearer {self._token}":
            return reply({"error": "unauthorized"}, 401)
        match [request.method, *request.path.strip("/").split("/")]:
            case ["GET", "global", "health"]:
                return reply({"healthy": True, "version": "openagentic-sdk"})
            case ["GET", "event"]:
                events = Events()
                self._streams.append(events)
                events.send.send_nowait(b'data: {"type":"server.connected"}\n\n')
                return events
            case ["POST", "session"]:
                session_id = uuid4().hex
                self.logs[session_id] = []
                return reply(
                    {"id": session_id, "title": request.json().get("title", ""), "time": {"created": 1.0}, "metadata": {}}
                )
            case ["GET", "session", "status"]:
                return reply({key: {"type": "busy" if key in self.busy else "idle"} for key in self.logs})
            case [method, "session", session_id, *rest]:
                return self._of_session(method, session_id, rest, request)
            case ["GET", "permission"]:
                return reply([entry for entry, _, _ in self.permissions.values()])
            case ["GET", "question"]:
                return reply([entry for entry, _, _ in self.questions.values()])
            case ["POST", "permission", request_id, "reply"]:
                word = request.json().get("reply")
                if not isinstance(word, str) or not word:
                    return reply({"error": "invalid_reply"}, 400)
                return _put(self.permissions, request_id, word)
            case ["POST", "question", request_id, "reply" | "reject" as kind]:
                answers = request.json().get("answers", []) if kind == "reply" else []
                return _put(self.questions, request_id, [item for item in answers if isinstance(item, str) and item])
        return reply({"error": "not_found"}, 404)

    def _of_session(self, method: str, session_id: str, rest: list[str], request: Request) -> Reply | None:
        if len(session_id) != 32:
            return reply({"error": "invalid_session_id"}, 400)
        match [method, *rest]:
            case ["GET"]:
                return reply({"id": session_id}) if session_id in self.logs else reply({"error": "not_found"}, 404)
            case ["GET", "events"]:
                if self.torn:
                    self.torn -= 1
                    return None
                return reply({"session_id": session_id, "events": self.logs.get(session_id, [])})
            case ["POST", "prompt_async"]:
                text = request.json().get("text")
                if not isinstance(text, str) or not text:
                    return reply({"error": "invalid_prompt"}, 400)
                assert self._nursery is not None
                self.busy[session_id] = trio.Event()
                self.most_at_once = max(self.most_at_once, len(self.busy))
                self._nursery.start_soon(self._run, session_id, text)
                return Reply(204)
            case ["POST", "abort"]:
                if (aborted := self.busy.get(session_id)) is not None:
                    aborted.set()
                return reply(True)
        return reply({"error": "not_found"}, 404)

    async def _run(self, session_id: str, text: str) -> None:
        run = Run(self, session_id, text, self.busy[session_id])
        with trio.CancelScope() as scope:
            self._runs.append(scope)
            await run.carry_out(self.script)
        self.busy.pop(session_id, None)

    def new_call_id(self) -> str:
        return f"call_{next(self._ids):010x}"


def _put(waiting: dict[str, Any], request_id: str, value: object) -> Reply:
    if request_id not in waiting:
        return reply({"error": "not_found"}, 404)
    _, answers, arrived = waiting[request_id]
    answers.append(value)
    arrived.set()
    return reply(True)


class Run:
    """The ``ModelRun`` of this server; see there."""

    def __init__(self, server: FakeOpenAgentic, session_id: str, text: str, aborted: trio.Event) -> None:
        self.server = server
        self.session_id = session_id
        self.text = text
        self._aborted = aborted
        self._said = ""
        self.parent: str | None = None
        self._append("system.init", cwd="/srv/project")
        self._append("user.message", text=text)

    async def carry_out(self, script: Script) -> None:
        try:
            await script(self)
            if not self._aborted.is_set():
                final = self._said
                self._end_message()
                self._append("result", final_text=final, stop_reason="end", session_id=self.session_id, steps=1)
                return
        except _Dead:
            return
        except trio.EndOfChannel:
            pass
        self._append("result", final_text="", stop_reason="interrupted", session_id=self.session_id)

    async def say(self, text: str) -> None:
        self._look()
        self._said += text
        if self.server.deltas:
            self.server.stream(self.session_id, self._event("assistant.delta", text_delta=text))
        await trio.lowlevel.checkpoint()

    async def tool(self, name: str, input: Mapping[str, Any], *, call_id: str | None = None, ask: bool = True) -> str:
        self._look()
        self._end_message()
        call_id = call_id or self.server.new_call_id()
        self._append("tool.use", tool_use_id=call_id, name=name, input=dict(input))
        if ask and not await self._ask(call_id, name, input):
            why = "tool use not approved"
            self._result(call_id, is_error=True, error_type="PermissionDenied", error_message=why)
            return why
        self.server.ran.append(str(input.get("command", name)))
        self._result(call_id, output={"stdout": "ran"})
        return "ran"

    async def tools(self, *calls: tuple[str, Mapping[str, Any]]) -> list[str]:
        return [await self.tool(name, input) for name, input in calls]

    async def slash_command(self, *commands: str) -> str:
        """A template with shell commands: each is asked for under an id of its own, before all of them run."""
        call_id = self.server.new_call_id()
        self._append("tool.use", tool_use_id=call_id, name="SlashCommand", input={"name": "x"})
        for number, command in enumerate(commands):
            given = {"command": command, "workdir": "/srv/project", "description": "SlashCommand shell"}
            if not await self._ask(f"{call_id}:bash:{number}", "Bash", given):
                self._result(call_id, is_error=True, error_type="RuntimeError", error_message="Bash not approved")
                return "not approved"
        self.server.ran.extend(commands)
        self._result(call_id, output={"content": "ran"})
        return "ran"

    async def question(self, *questions: Asking) -> Answers:
        call_id = self.server.new_call_id()
        self._append("tool.use", tool_use_id=call_id, name="AskUserQuestion", input={})
        answers = []
        for number, item in enumerate(questions):
            question_id = f"{call_id}:{number}"
            self._append("user.question", question_id=question_id, prompt=item.text, choices=list(item.options) or ["ok"])
            entry = {"id": question_id, "question_id": question_id, "prompt": item.text, "choices": list(item.options)}
            arrived = trio.Event()
            got: list[list[str]] = []
            self.server.questions[question_id] = (entry, got, arrived)
            with trio.move_on_after(WAIT_SECONDS):
                await arrived.wait()
            self.server.questions.pop(question_id, None)
            if not got:
                raise _Dead
            answers.append([got[0][0] if got[0] else ""])
        self._result(call_id, output={"answers": answers})
        return answers

    async def fail(self, reason: str) -> None:
        raise _Dead

    async def retry(self, reason: str) -> None:
        """It says nothing."""

    async def cut(self, text: str) -> None:
        """A normal end, with the text so far."""
        await self.say(text)

    async def hang(self) -> None:
        await trio.sleep_forever()

    async def _ask(self, call_id: str, name: str, input: Mapping[str, Any]) -> bool:
        entry = {"id": call_id, "requestID": call_id, "tool": name, "input": dict(input), "message": None}
        words: list[str] = []
        arrived = trio.Event()
        self.server.permissions[call_id] = (entry, words, arrived)
        with trio.move_on_after(WAIT_SECONDS):
            await arrived.wait()
        self.server.permissions.pop(call_id, None)
        return bool(words) and words[0].strip().lower() in ("allow", "yes", "y")

    def _look(self) -> None:
        if self._aborted.is_set():
            raise trio.EndOfChannel

    def _end_message(self) -> None:
        if self._said:
            self._append("assistant.message", text=self._said, is_summary=False)
            self._said = ""

    def _result(self, call_id: str, *, output: object = None, **fields: Any) -> None:
        self._append("tool.result", **{"tool_use_id": call_id, "output": output, "is_error": False, **fields})

    def _append(self, kind: str, **fields: Any) -> None:
        self.server.append(self.session_id, self._event(kind, **fields))

    def _event(self, kind: str, **fields: Any) -> Object:
        return {"type": kind, "parent_tool_use_id": self.parent, "agent_name": None, **fields}
