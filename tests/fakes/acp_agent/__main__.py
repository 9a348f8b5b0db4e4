"""The program. The last line of a prompt is a command:

say TEXT            streams it word by word           hang              streams one word, then waits for a cancel
tool COMMAND        asks, then runs it (ran.txt)      deaf              as hang, and ignores the cancel
call ID COMMAND     the same, under that call id      die [CODE]        ends in the middle of the turn
both A | B          two permissions at once           fail TEXT         a JSON-RPC error
takeback COMMAND    asks, and takes it back           auth              the error that asks for a login
options KINDS CMD   asks with options of these kinds  stop REASON TEXT  ends with that stop reason
bare COMMAND        asks without rawInput             serve METHOD      sends us a request, and says the answer's error
half COMMAND        with half an emoji at its end
flood               a lot of stderr                   env NAME          says an environment variable
noise               lines on stdout that are no JSON  child             starts a process that leaves the group, says its pid
huge BYTES          a line of that length             history           says what it remembers of the session
late TEXT           text after the end of the turn    messages A | B    two messages with ids

Options: --hermes (its name, and its faults), --version V (the protocolVersion), --mute METHOD (never answers it), --no-load,
--trusting (loads any session), --auth (session/new wants a login), --counts (its session ids are s1, s2, …), --exit CODE.
What it reads it writes to received.jsonl in its directory; what it remembers is in sessions.json there.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

Json = dict[str, Any]

options = argparse.ArgumentParser()
for flag in ("--hermes", "--no-load", "--trusting", "--auth", "--counts"):
    options.add_argument(flag, action="store_true")
options.add_argument("--version", default="1")
options.add_argument("--mute", default="")
options.add_argument("--exit", type=int)
args = options.parse_args()

writing = threading.Lock()
answers: dict[int, tuple[threading.Event, list[Json]]] = {}
sessions: dict[str, list[str]] = {}  # what each one was told
running: dict[str, threading.Event] = {}  # set by a cancel
asking: dict[str, int] = {}
broken: set[str] = set()
NAME = "hermes-agent" if args.hermes else "fake"


class Refused(Exception):
    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, "data": data}


def post(*messages: Json) -> None:
    """What is posted together is read together."""
    with writing:
        sys.stdout.write("".join(json.dumps({"jsonrpc": "2.0", **message}) + "\n" for message in messages))
        sys.stdout.flush()


def update(session: str, sort: str, /, **fields: object) -> None:
    post(updated(session, sort, **fields))


def updated(session: str, sort: str, /, **fields: object) -> Json:
    return {"method": "session/update", "params": {"sessionId": session, "update": {"sessionUpdate": sort, **fields}}}


def say(session: str, text: str, **fields: object) -> None:
    update(session, "agent_message_chunk", content={"type": "text", "text": text}, **fields)


def ask(method: str, params: Json, begun: Callable[[int], None] = lambda number: None) -> Json:
    """A request of ours. Ids begin with 0, as those of the real ones do."""
    with writing:
        number = len(answers)
        event, found = answers[number] = (threading.Event(), [])
    post({"id": number, "method": method, "params": params})
    begun(number)
    event.wait()
    return found[0]


def permit(session: str, call: str, command: str, kinds: list[str], begun: Callable[[int], None], *, bare: bool = False) -> str:
    """Asks for a permission; the kind of the option that was chosen, or "cancelled"."""
    offered = [{"optionId": f"{kind}-{n}", "kind": kind, "name": kind} for n, kind in enumerate(kinds)]
    about: Json = {"toolCallId": call, "title": command, "kind": "execute", "status": "pending"}
    if not bare:
        about["rawInput"] = {"command": command}
    asking[session] = asking.get(session, 0) + 1
    reply = ask("session/request_permission", {"sessionId": session, "toolCall": about, "options": offered}, begun)
    asking[session] -= 1
    if "error" in reply:
        return f"error {reply['error']['code']}"
    outcome = reply["result"]["outcome"]
    chosen = {option["optionId"]: option["kind"] for option in offered}
    return chosen[outcome["optionId"]] if outcome["outcome"] == "selected" else "cancelled"


def tool(
    session: str,
    command: str,
    call: str = "",
    kinds: tuple[str, ...] = ("allow_always", "allow_once", "reject_once"),
    begun: Callable[[int], None] = lambda number: None,
    *,
    bare: bool = False,
) -> None:
    call = call or f"call_{uuid.uuid4().hex}"
    update(session, "tool_call", toolCallId=call, title="bash", kind="execute", status="pending", rawInput={})
    update(session, "tool_call_update", toolCallId=call, status="in_progress")
    chosen = permit(session, call, command, list(kinds), begun, bare=bare)
    if chosen.startswith("allow"):
        with open("ran.txt", "a", errors="replace") as file:
            file.write(f"{command}\n")
        output = [{"type": "content", "content": {"type": "text", "text": f"output of {command}"}}]
        update(session, "tool_call_update", toolCallId=call, status="completed", content=output)
        say(session, f"{chosen}: ran {command}")
    else:
        update(session, "tool_call_update", toolCallId=call, status="failed", rawOutput={"error": chosen})
        if args.hermes or chosen.startswith("error"):
            say(session, f"{chosen}: did not run {command}")


def wait_for_cancel(session: str) -> str:
    say(session, "Waiting. ")
    Path("waiting").touch()
    running[session].wait()
    return "cancelled"


def deaf(session: str) -> None:
    say(session, "Deaf. ")
    threading.Event().wait()


def both(session: str, rest: str) -> None:
    threads = [threading.Thread(target=tool, args=(session, part.strip()), daemon=True) for part in rest.split("|")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def take_back(session: str, command: str) -> None:
    """As soon as there is a file called ``poke``."""

    def notify(number: int) -> None:
        while not os.path.exists("poke"):
            time.sleep(0.01)
        post({"method": "$/cancel_request", "params": {"requestId": number}})

    tool(session, command, begun=notify)


def serve(session: str, method: str) -> None:
    reply = ask(method, {"sessionId": session, "path": "/etc/passwd"})
    say(session, str(reply["error"]["code"]))


def child(session: str) -> None:
    process = subprocess.Popen(["sleep", "600"], start_new_session=True, stdin=subprocess.DEVNULL)
    say(session, str(process.pid))


def messages(session: str, rest: str) -> None:
    for number, part in enumerate(rest.split("|")):
        for at, word in enumerate(part.split()):
            say(session, f" {word}" if at else word, messageId=f"m{number}")


def flood(session: str) -> None:
    sys.stderr.write("".join(f"log line {n} {'x' * 200}\n" for n in range(20_000)))
    sys.stderr.flush()
    say(session, "flooded")


def noise(session: str) -> None:
    with writing:
        for line in ("npm warn something", "{not json", "[1, 2]", "42", "", '{"jsonrpc": "2.0"}', '{"id": 999, "result": {}}'):
            sys.stdout.write(line + "\n")
        sys.stdout.buffer.write(b"\xff\xfe\n")
        sys.stdout.flush()
    post({"method": "session/update", "params": {"sessionId": "nobody", "update": {"sessionUpdate": "plan"}}})
    post({"method": "session/update", "params": 7})
    post({"method": "_vendor/thing", "params": {}})
    say(session, "noisy")


def perform(session: str, text: str) -> str:
    """Do what the prompt says. Returns the stop reason."""
    word, _, rest = text.splitlines()[-1].removeprefix("> ").partition(" ")
    first, _, others = rest.partition(" ")
    if word == "say":
        for piece in rest.split(" "):
            say(session, f"{piece} " if piece else " ")
    elif word == "hang":
        return wait_for_cancel(session)
    elif word == "stop":
        say(session, others)
        return first
    elif word == "fail":
        raise Refused(-32603, "Internal error", {"details": rest})
    elif word == "auth":
        raise Refused(-32000, "Authentication required")
    elif word == "die":
        say(session, "Dying. ")
        sys.stderr.write("a fatal problem\n")
        sys.stderr.flush()
        os._exit(int(rest or 3))
    elif word == "late":
        return "late"
    else:
        actions: dict[str, Callable[[], None]] = {
            "tool": lambda: tool(session, rest),
            "call": lambda: tool(session, others, call=first),
            "half": lambda: tool(session, f"{rest} \ud83d"),
            "bare": lambda: tool(session, rest, bare=True),
            "options": lambda: tool(session, others, kinds=tuple(filter(None, first.split(",")))),
            "both": lambda: both(session, rest),
            "takeback": lambda: take_back(session, rest),
            "deaf": lambda: deaf(session),
            "flood": lambda: flood(session),
            "noise": lambda: noise(session),
            "huge": lambda: say(session, "x" * int(rest)),
            "serve": lambda: serve(session, rest),
            "env": lambda: say(session, os.environ.get(rest, "unset")),
            "child": lambda: child(session),
            "history": lambda: say(session, " | ".join(sessions[session][:-1]) or "I remember nothing."),
            "messages": lambda: messages(session, rest),
            "nothing": lambda: update(session, "agent_thought_chunk", content={"type": "text", "text": "hm"}),
        }
        actions[word]()
    return "cancelled" if running[session].is_set() else "end_turn"


def prompt(number: int, params: Json) -> None:
    session, text = params["sessionId"], "\n".join(block["text"] for block in params["prompt"])
    if session in broken or session in running:
        say(session, "Queued for the next turn. (1 queued)")
        post({"id": number, "result": {"stopReason": "end_turn"}})
        return
    running[session] = threading.Event()
    sessions[session].append(text)
    keep()
    try:
        reason = perform(session, text)
        answer: Json = {"result": {"stopReason": "end_turn" if reason == "late" else reason}}
    except Refused as error:
        answer = {"error": error.error}
    if session in broken:
        answer = {"error": {"code": -32603, "message": "'NoneType' object has no attribute 'startswith'"}}
    del running[session]
    late = [updated(session, "agent_message_chunk", content={"type": "text", "text": text})] if text.startswith("late") else []
    post({"id": number, **answer}, *late)


def keep() -> None:
    Path("sessions.json").write_text(json.dumps(sessions))


def begin(params: Json) -> Json:
    if args.auth:
        raise Refused(-32000, "Authentication required")
    assert os.path.isabs(params["cwd"])
    assert params["mcpServers"] == []
    session = f"s{len(sessions) + 1}" if args.counts else f"ses_{uuid.uuid4().hex}"
    sessions[session] = []
    keep()
    return {"sessionId": session, "configOptions": []}


def load(params: Json) -> Json:
    session, file = params["sessionId"], Path("sessions.json")
    known = json.loads(file.read_text()) if file.exists() else {}
    if session not in known and not (args.trusting or args.hermes):
        raise Refused(-32603, "Internal error", "service failure")
    sessions[session] = known.get(session, [])
    for text in sessions[session]:
        update(session, "user_message_chunk", content={"type": "text", "text": text})
        say(session, f"OLD ANSWER TO {text}")
    return {}


def initialize(params: Json) -> Json:
    assert params["protocolVersion"] == 1
    assert params["clientCapabilities"] == {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False}
    return {
        "protocolVersion": json.loads(args.version),
        "agentCapabilities": {"loadSession": not args.no_load, "promptCapabilities": {"image": True}},
        "authMethods": [{"id": "login", "name": "Log in", "description": "Run `fake login` in a terminal"}],
        "agentInfo": {"name": NAME, "version": "1.2.3"},
    }


def cancel(session: str) -> None:
    if args.hermes and (session not in running or asking.get(session)):
        broken.add(session)
    if session in running:
        running[session].set()


def main() -> None:
    requests = {"initialize": initialize, "session/new": begin, "session/load": load}
    for line in sys.stdin:
        with open("received.jsonl", "a") as file:
            file.write(line)
        message = json.loads(line)
        method, number = message.get("method"), message.get("id")
        if method is None:
            event, found = answers[number]
            found.append(message)
            event.set()
        elif method == "session/cancel":
            cancel(message["params"]["sessionId"])
        elif method == args.mute:
            continue
        elif method == "session/prompt":
            threading.Thread(target=prompt, args=(number, message["params"]), daemon=True).start()
        elif method in requests:
            try:
                post({"id": number, "result": requests[method](message["params"])})
            except Refused as error:
                post({"id": number, "error": error.error})
    # Its input is closed: it ends, and takes its turns with it.


if args.exit is not None:
    sys.exit(f"it cannot start: {args.exit}")
main()
