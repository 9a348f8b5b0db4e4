"""OpenCode 1.18's server, faked. Its bugs as measured:

requests before the listening line are never answered; unknown paths answer 200 with a page; lists and states are per directory;
a run that fails before it begins sends an error and no idle; idle comes twice after errors and aborts; a reject ends all requests
of the session, and without a message the run, too; an abort leaves its requests listed; a cut answer makes it ask again for ever.
"""

from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import msgspec
import trio
import trio.lowlevel

from tests.fakes.opencode_server.http import Events, HttpServer, Reply, Request, reply
from tests.fakes.opencode_server.script import Answers, Asking, Script, echo

PAGE = Reply(200, b"<!doctype html><title>OpenCode</title>", "text/html")
NO_REQUEST = {"_tag": "PermissionNotFoundError", "message": "no such request"}

Object = dict[str, Any]


class Rejected(Exception):
    """``feedback`` None: the run ends."""

    def __init__(self, feedback: str | None) -> None:
        super().__init__(feedback)
        self.feedback = feedback


class ProviderError(Exception):
    pass


class _Asked:
    """A request that waits. ``outcome`` is None for a yes, else the Rejected; or the answers."""

    def __init__(self, entry: Object, directory: str) -> None:
        self.entry = entry
        self.directory = directory
        self.done = trio.Event()
        self.outcome: Any = None

    def end(self, outcome: Any) -> None:
        self.outcome = outcome
        self.done.set()


class FakeOpenCode:
    """``script`` is what the model does. ``listening`` False: connections are taken, and never answered. ``padding``: so many
    more bytes in the answers of a path. ``begins_after``: so many seconds pass until a prompt is stored, then ``busy_after``
    until the session is busy."""

    def __init__(self, script: Script = echo, *, cwd: str = "/srv/project", password: str | None = None) -> None:
        self.script = script
        self.listening = True
        self.version = "1.18.33"
        self.cwd = cwd
        self.http = HttpServer(self._handle, http10=False)
        self.sessions: dict[str, Object] = {}
        self.messages: dict[str, list[Object]] = {}
        self.status: dict[str, Object] = {}
        self.permissions: dict[str, _Asked] = {}
        self.questions: dict[str, _Asked] = {}
        self.replies: list[Object] = []
        self.ran: list[str] = []
        self.begins_after = 0.0
        self.busy_after = 0.0
        self.unknown_agent = False
        self.padding: dict[str, int] = {}
        self._streams: list[Events] = []
        self._ids = count(1)
        self._runs: dict[str, trio.CancelScope] = {}
        self._password = password
        self._nursery: trio.Nursery | None = None

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
            await trio.sleep(10)
            self._send({"payload": {"id": self.new_id("evt"), "type": "server.heartbeat", "properties": {}}})

    async def restart(self) -> None:
        """As after a kill: what is stored is there, what ran is gone."""
        await self.http.stop()
        self.status.clear()
        for scope in self._runs.values():
            scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        self.permissions.clear()
        self.questions.clear()
        await self.http.start()

    def break_streams(self) -> None:
        for stream in self._streams:
            stream.send.close()
        self._streams.clear()

    def list_nonsense(self) -> None:
        """A request that is none, among those that wait."""
        self.permissions["odd"] = _Asked({"id": 7}, self.cwd)

    def new_id(self, prefix: str) -> str:
        return f"{prefix}_{next(self._ids):012x}Ab"

    def publish(self, session_id: str, kind: str, properties: Object) -> None:
        directory = self.sessions[session_id]["directory"]
        payload = {"id": self.new_id("evt"), "type": kind, "properties": properties}
        self._send({"directory": directory, "payload": payload})

    def _send(self, event: Object) -> None:
        data = b"data: " + msgspec.json.encode(event) + b"\n\n"
        for stream in self._streams:
            stream.send.send_nowait(data)

    async def _handle(self, request: Request) -> Reply | Events | None:
        answer = await self._answer(request)
        if isinstance(answer, Reply) and (padding := self.padding.get(request.path)):
            return Reply(answer.status, answer.body + b" " * padding)
        return answer

    async def _answer(self, request: Request) -> Reply | Events | None:
        if not self.listening:
            await trio.sleep_forever()
        if self._password is not None:
            expected = b64encode(f"opencode:{self._password}".encode()).decode()
            if request.headers.get("authorization") != f"Basic {expected}":
                return Reply(401)
        directory = request.query.get("directory") or request.headers.get("x-opencode-directory") or self.cwd
        match [request.method, *request.path.strip("/").split("/")]:
            case ["GET", "global", "health"]:
                return reply({"healthy": True, "version": self.version})
            case ["GET", "global", "event"]:
                return self._subscribe()
            case ["POST", "session"]:
                return self._create(request.json(), directory)
            case ["GET", "session", "status"]:
                here = {key: value for key, value in self.status.items() if self.sessions[key]["directory"] == directory}
                return reply(here)
            case ["GET", "session", session_id]:
                return reply(self.sessions[session_id]) if session_id in self.sessions else _not_found()
            case [method, "session", session_id, *rest]:
                if session_id not in self.sessions:
                    return _not_found()
                return await self._of_session(method, session_id, rest, request)
            case ["GET", "permission" | "question" as kind]:
                asked = self.permissions if kind == "permission" else self.questions
                return reply([item.entry for item in asked.values() if item.directory == directory])
            case ["POST", "permission", request_id, "reply"]:
                return self._reply_permission(request_id, request.json(), directory)
            case ["POST", "question", request_id, "reply" | "reject" as kind]:
                return self._reply_question(request_id, kind, request.json(), directory)
        return PAGE

    def _subscribe(self) -> Events:
        events = Events()
        self._streams.append(events)
        events.send.send_nowait(b'data: {"payload":{"id":"evt_0","type":"server.connected","properties":{}}}\n\n')
        return events

    def _create(self, body: Object, directory: str) -> Reply:
        session_id = self.new_id("ses")
        info = {"id": session_id, "directory": directory, "title": body.get("title", ""), "time": {"created": 1, "updated": 1}}
        self.sessions[session_id] = info
        self.messages[session_id] = []
        return reply(info)

    async def _of_session(self, method: str, session_id: str, rest: list[str], request: Request) -> Reply:
        messages = self.messages[session_id]
        match [method, *rest]:
            case ["GET", "message"]:
                return reply(messages[-int(request.query.get("limit", "1000000")) :])
            case ["GET", "message", message_id]:
                found = [message for message in messages if message["info"]["id"] == message_id]
                return reply(found[0]) if found else _not_found()
            case ["POST", "prompt_async"]:
                body = request.json()
                if "parts" not in body:
                    return reply(
                        {"name": "BadRequest", "data": {"message": 'Missing key\n  at ["parts"]', "kind": "Payload"}}, 400
                    )
                assert self._nursery is not None
                self._nursery.start_soon(self._run, session_id, body)
                return Reply(204)
            case ["POST", "abort"]:
                if (scope := self._runs.get(session_id)) is not None:
                    scope.cancel()
                return reply(True)
        return PAGE

    def _reply_permission(self, request_id: str, body: Object, directory: str) -> Reply:
        if body.get("reply") not in ("once", "always", "reject"):
            return _bad_request("bad reply")
        asked = self.permissions.get(request_id)
        if asked is None or asked.directory != directory:
            return reply({**NO_REQUEST, "requestID": request_id}, 404)
        self.replies.append(body)
        self._end_permission(request_id, body["reply"], None if body["reply"] != "reject" else Rejected(body.get("message")))
        if body["reply"] == "reject":
            session_id = asked.entry["sessionID"]
            for other in [key for key, item in self.permissions.items() if item.entry["sessionID"] == session_id]:
                self._end_permission(other, "reject", Rejected(None))
        return reply(True)

    def _end_permission(self, request_id: str, word: str, outcome: Rejected | None) -> None:
        asked = self.permissions.pop(request_id)
        session_id = asked.entry["sessionID"]
        self.publish(session_id, "permission.replied", {"sessionID": session_id, "requestID": request_id, "reply": word})
        asked.end(outcome)

    def _reply_question(self, request_id: str, kind: str, body: Object, directory: str) -> Reply:
        answers = body.get("answers")
        if kind == "reply" and not (isinstance(answers, list) and all(isinstance(item, list) for item in answers)):
            return _bad_request("bad answers")
        asked = self.questions.get(request_id)
        if asked is None or asked.directory != directory:
            return reply(NO_REQUEST, 404)
        del self.questions[request_id]
        session_id = asked.entry["sessionID"]
        word = "replied" if kind == "reply" else "rejected"
        self.publish(session_id, f"question.{word}", {"sessionID": session_id, "requestID": request_id})
        asked.end(answers if kind == "reply" else Rejected(None))
        return reply(True)

    async def _run(self, session_id: str, body: Object) -> None:
        """What follows a prompt."""
        await trio.sleep(self.begins_after)
        if self.unknown_agent:
            error = {"name": "UnknownError", "data": {"message": 'Agent not found: "nobody"'}}
            self.publish(session_id, "session.error", {"sessionID": session_id, "error": error})
            return
        run = Run(self, session_id, body["parts"][0]["text"])
        with trio.CancelScope() as scope:
            self._runs[session_id] = scope
            await trio.sleep(self.busy_after)
            run.be_busy()
            await run.carry_out(self.script)
        self._runs.pop(session_id, None)
        if session_id in self.status:
            run.end(aborted=scope.cancelled_caught)


class Run:
    """The ``ModelRun`` of this server; see there."""

    def __init__(self, server: FakeOpenCode, session_id: str, text: str) -> None:
        self.server = server
        self.session_id = session_id
        self.text = text
        self._message: Object | None = None
        self._part: Object | None = None
        self._last: Object | None = None
        user = self._add_message("user")
        self._add_part(user, {"type": "text", "text": text})

    def be_busy(self) -> None:
        self._set_status({"type": "busy"})

    async def carry_out(self, script: Script) -> None:
        try:
            await script(self)
            self._finish("stop")
        except Rejected:
            pass
        except ProviderError as error:
            message = self._current()
            message["info"]["error"] = {"name": "APIError", "data": {"message": str(error), "statusCode": 400}}
            self._complete(None)
            self._publish("session.error", {"error": message["info"]["error"]})

    def end(self, *, aborted: bool) -> None:
        if aborted and self._last is not None and "completed" not in self._last["info"]["time"]:
            if self.server.status[self.session_id]["type"] != "retry":
                self._last["info"]["error"] = {"name": "MessageAbortedError", "data": {"message": "Aborted"}}
                self._publish("session.error", {"error": self._last["info"]["error"]})
            self._last["info"]["time"]["completed"] = 2
            self._publish("message.updated", {"info": self._last["info"]})
        del self.server.status[self.session_id]
        for _ in range(2 if aborted else 1):
            self._publish("session.status", {"status": {"type": "idle"}})
            self._publish("session.idle", {})

    async def say(self, text: str) -> None:
        message = self._current()
        if self._part is None:
            reasoning = self._add_part(message, {"type": "reasoning", "text": ""})
            self._delta(message, reasoning, "let me think")
            self._part = self._add_part(message, {"type": "text", "text": ""})
        self._part["said"] = self._part.get("said", "") + text
        self._delta(message, self._part, text)
        await trio.lowlevel.checkpoint()

    async def tool(self, name: str, input: Mapping[str, Any], *, call_id: str | None = None, ask: bool = True) -> str:
        [result] = await self._step([(name, input)], call_id=call_id, ask=ask)
        return result

    async def tools(self, *calls: tuple[str, Mapping[str, Any]]) -> list[str]:
        return await self._step(list(calls))

    async def question(self, *questions: Asking) -> Answers:
        message = self._current()
        part = self._begin_call(message, "question", {}, None)
        entries = [
            {
                "question": item.text,
                "header": item.text[:12],
                "options": [{"label": label, "description": ""} for label in item.options],
                "multiple": item.multiple,
            }
            for item in questions
        ]
        request_id = self.server.new_id("que")
        tool = {"messageID": message["info"]["id"], "callID": part["callID"]}
        entry = {"id": request_id, "sessionID": self.session_id, "questions": entries, "tool": tool}
        asked = self.server.questions[request_id] = _Asked(entry, self.server.sessions[self.session_id]["directory"])
        self._publish("question.asked", entry)
        await asked.done.wait()
        if isinstance(asked.outcome, Rejected):
            self._end_call(part, "error", "The user dismissed this question")
            self._finish("tool-calls")
            raise asked.outcome
        self._end_call(part, "completed", "answered")
        self._finish("tool-calls")
        return asked.outcome  # type: ignore[no-any-return]

    async def fail(self, reason: str) -> None:
        raise ProviderError(reason)

    async def retry(self, reason: str) -> None:
        self._current()
        self._set_status({"type": "retry", "attempt": 1, "message": reason, "next": 1})

    async def cut(self, text: str) -> None:
        while True:
            await self.say(text)
            self._finish("unknown")
            await trio.sleep(0.01)

    async def hang(self) -> None:
        self._current()
        await trio.sleep_forever()

    async def sub_agent(self, name: str, input: Mapping[str, Any]) -> str:
        """A tool call of a sub-agent, in a session of its own."""
        created = self.server._create({"title": "sub"}, self.server.sessions[self.session_id]["directory"])
        child = msgspec.json.decode(created.body)["id"]
        self.server.sessions[child]["parentID"] = self.session_id
        inner = Run(self.server, child, "do it")
        inner.be_busy()
        result = await inner.tool(name, input)
        inner._finish("stop")
        inner.end(aborted=False)
        return result

    async def _step(
        self, calls: list[tuple[str, Mapping[str, Any]]], *, call_id: str | None = None, ask: bool = True
    ) -> list[str]:
        message = self._current()
        results: dict[int, str] = {}
        stops: list[Rejected] = []

        async def call(number: int, name: str, input: Mapping[str, Any]) -> None:
            part = self._begin_call(message, name, input, call_id)
            try:
                if ask:
                    await self._ask(message, part, name, input)
                self.server.ran.append(str(input.get("command", name)))
                results[number] = "ran"
                self._end_call(part, "completed", "ran")
            except Rejected as error:
                why = "The user rejected permission to use this specific tool call"
                results[number] = f"{why} with the following feedback: {error.feedback}" if error.feedback else f"{why}."
                self._end_call(part, "error", results[number])
                if error.feedback is None:
                    stops.append(error)

        async with trio.open_nursery() as nursery:
            for number, (name, input) in enumerate(calls):
                nursery.start_soon(call, number, name, input)
        self._finish("tool-calls")
        if stops:
            raise stops[0]
        return [results[number] for number in range(len(calls))]

    async def _ask(self, message: Object, part: Object, name: str, input: Mapping[str, Any]) -> None:
        request_id = self.server.new_id("per")
        entry = {
            "id": request_id,
            "sessionID": self.session_id,
            "permission": name,
            "patterns": [str(input.get("command", "*"))],
            "metadata": {key: value for key, value in input.items() if key == "command"},
            "always": ["*"],
            "tool": {"messageID": message["info"]["id"], "callID": part["callID"]},
        }
        asked = self.server.permissions[request_id] = _Asked(entry, self.server.sessions[self.session_id]["directory"])
        self._publish("permission.asked", entry)
        await asked.done.wait()
        if asked.outcome is not None:
            raise asked.outcome

    def _current(self) -> Object:
        if self._message is None:
            self._message = self._last = self._add_message("assistant")
        return self._message

    def _finish(self, reason: str) -> None:
        if self._message is not None:
            self._complete(reason)

    def _complete(self, reason: str | None) -> None:
        message, part = self._current(), self._part
        if part is not None:
            part["text"] = part.pop("said", "")
            self._publish("message.part.updated", {"part": part})
        if reason is not None:
            message["info"]["finish"] = reason
        message["info"]["time"]["completed"] = 2
        self._publish("message.updated", {"info": message["info"]})
        self._message = self._part = None

    def _add_message(self, role: str) -> Object:
        info = {"id": self.server.new_id("msg"), "sessionID": self.session_id, "role": role, "time": {"created": 1}}
        if role == "user":
            info["summary"] = {"diffs": []}
        message = {"info": info, "parts": []}
        self.server.messages[self.session_id].append(message)
        self._publish("message.updated", {"info": info})
        return message

    def _add_part(self, message: Object, fields: Object) -> Object:
        part = {"id": self.server.new_id("prt"), "messageID": message["info"]["id"], "sessionID": self.session_id, **fields}
        message["parts"].append(part)
        self._publish("message.part.updated", {"part": part})
        return part

    def _begin_call(self, message: Object, name: str, input: Mapping[str, Any], call_id: str | None) -> Object:
        call_id = call_id or self.server.new_id("call")
        fields = {"type": "tool", "tool": name, "callID": call_id, "state": {"status": "pending", "input": {}, "raw": ""}}
        part = self._add_part(message, fields)
        part["state"] = {"status": "running", "input": dict(input)}
        self._publish("message.part.updated", {"part": part})
        return part

    def _end_call(self, part: Object, status: str, text: str) -> None:
        part["state"] = {**part["state"], "status": status, "output" if status == "completed" else "error": text}
        self._publish("message.part.updated", {"part": part})

    def _delta(self, message: Object, part: Object, text: str) -> None:
        fields = {"messageID": message["info"]["id"], "partID": part["id"], "field": "text", "delta": text}
        self._publish("message.part.delta", fields)

    def _set_status(self, status: Object) -> None:
        self.server.status[self.session_id] = status
        self._publish("session.status", {"status": status})

    def _publish(self, kind: str, properties: Object) -> None:
        stored = msgspec.json.decode(msgspec.json.encode(properties))
        self.server.publish(self.session_id, kind, {"sessionID": self.session_id, **stored})


def _not_found() -> Reply:
    return reply({"name": "NotFoundError", "data": {"message": "Session not found"}}, 404)


def _bad_request(message: str) -> Reply:
    return reply({"name": "BadRequest", "data": {"message": message, "kind": "Payload"}}, 400)
