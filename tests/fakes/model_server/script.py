"""What the scripted model answers. Pure: it follows from the request alone, so that tests share no state.

The last line of the last user text that begins with one of these words is the script:

===============================  ==================================================================================
say TEXT                         that text, word by word; ``\\n`` is a line end
run COMMAND                      one call of the shell tool, then "ran: RESULT"
run2 COMMAND && COMMAND          both in one answer, then "ran: RESULT | RESULT"
ask QUESTION | OPTION | OPTION   one call of the question tool, then "answered: RESULT"; askmany: several may be chosen
call TOOL JSON                   a call of any tool, offered or not, then "called: RESULT"
think THOUGHT | TEXT             reasoning, then the text
slow TEXT                        its first word, and the others when the test releases TEXT
hang TEXT                        nothing, not even a status line, until the test releases TEXT
long NUMBER                      that many words
finish REASON TEXT               the text, ended by this finish_reason
fail STATUS                      an HTTP error; ``after=3`` sends Retry-After, ``times=2`` recovers at the third request
error TEXT                       a word, then an error inside the stream that began with 200
cut TEXT                         the text, then the stream ends properly but without finish_reason and [DONE]
reset TEXT                       the text, then the connection is reset
===============================  ==================================================================================

Anything else is said back as "echo: TEXT". Each tool call gets a new id, or with ``id=call_0`` before the command that one and
the next number.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

import msgspec
from msgspec import Struct

TITLE = "Scripted title"
# The system prompt with which OpenCode asks its small model for a session's title.
_TITLE_MARK = "title generator"
_SHELLS = ("bash", "Bash", "terminal", "shell")
_QUESTIONS = ("question", "AskUserQuestion")
_RESULT_MAX = 4000


class Ask(Struct, frozen=True):
    """One request in the words of neither API. ``results`` are the tool results after the last user text; ``earlier`` counts
    the requests with the same last user text and as many results that came before."""

    text: str
    system: str = ""
    results: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    earlier: int = 0

    @property
    def for_title(self) -> bool:
        return _TITLE_MARK in self.system


class Call(Struct, frozen=True):
    """``arguments`` is JSON text."""

    call_id: str
    name: str
    arguments: str


class Hold(Struct, frozen=True):
    """Wait here until the test releases ``text``."""

    text: str


class Failure(Struct, frozen=True):
    """An HTTP error instead of an answer, or an error inside the stream when ``status`` is 200."""

    status: int
    message: str
    after: int | None = None


class Answer(Struct, frozen=True):
    """``finish`` None: the stream ends without one. ``first`` holds everything back. ``failure`` with status 200 comes after the
    pieces, any other instead of them."""

    pieces: tuple[str | Hold, ...] = ()
    thought: str = ""
    calls: tuple[Call, ...] = ()
    finish: str | None = "stop"
    reset: bool = False
    first: Hold | None = None
    failure: Failure | None = None


Verb = Callable[[str, Ask], Answer]


def answer(ask: Ask) -> Answer:
    """What the model says to this request."""
    if ask.for_title:
        return Answer((TITLE,))
    for line in reversed(ask.text.splitlines()):
        # What a person wrote is marked as such, line by line (docs/reference/prompt.md).
        word, _, rest = line.strip().removeprefix("> ").partition(" ")
        if verb := VERBS.get(word):
            return verb(rest.strip(), ask)
    return Answer(_words(f"echo: {ask.text}"))


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\S*\s+|\S+$", text))


def _say(rest: str, ask: Ask) -> Answer:
    return Answer(_words(rest.replace("\\n", "\n")))


def _run(rest: str, ask: Ask) -> Answer:
    return _run_all(rest, ask, 1)


def _run2(rest: str, ask: Ask) -> Answer:
    return _run_all(rest, ask, 2)


def _run_all(rest: str, ask: Ask, at_most: int) -> Answer:
    if ask.results:
        return _tell("ran", ask)
    rest, ids = _ids(rest)
    tool = next((name for name in _SHELLS if name in ask.tools), None)
    if tool is None:
        return Answer(_words("no shell tool is offered"))
    commands = [command.strip() for command in rest.split("&&", at_most - 1)]
    return Answer(
        calls=tuple(
            Call(call_id, tool, _json({"command": command, "description": "A scripted command"}))
            for call_id, command in zip(ids, commands, strict=False)
        ),
        finish="tool_calls",
    )


def _ask(rest: str, ask: Ask, *, multiple: bool = False) -> Answer:
    if ask.results:
        return _tell("answered", ask)
    rest, ids = _ids(rest)
    tool = next((name for name in _QUESTIONS if name in ask.tools), None)
    if tool is None:
        return Answer(_words("no question tool is offered"))
    question, *labels = (part.strip() for part in rest.split("|"))
    options = [{"label": label, "description": f"The answer {label}"} for label in labels]
    asked = {"question": question, "header": question[:12], "options": options, "multiple": multiple}
    return Answer(calls=(Call(ids[0], tool, _json({"questions": [asked]})),), finish="tool_calls")


def _call(rest: str, ask: Ask) -> Answer:
    if ask.results:
        return _tell("called", ask)
    rest, ids = _ids(rest)
    tool, _, arguments = rest.partition(" ")
    return Answer(calls=(Call(ids[0], tool, arguments or "{}"),), finish="tool_calls")


def _think(rest: str, ask: Ask) -> Answer:
    thought, _, text = rest.partition("|")
    return Answer(_words(text.strip()), thought=thought.strip())


def _slow(rest: str, ask: Ask) -> Answer:
    first, *others = _words(rest)
    return Answer((first, Hold(rest), *others))


def _hang(rest: str, ask: Ask) -> Answer:
    return Answer(_words(rest), first=Hold(rest))


def _long(rest: str, ask: Ask) -> Answer:
    return Answer(tuple(f"word{number} " for number in range(int(rest))))


def _finish(rest: str, ask: Ask) -> Answer:
    reason, _, text = rest.partition(" ")
    return Answer(_words(text), finish=reason)


def _fail(rest: str, ask: Ask) -> Answer:
    status, *options = rest.split()
    option = dict(item.split("=", 1) for item in options)
    if "times" in option and ask.earlier >= int(option["times"]):
        return Answer(("recovered",))
    after = int(option["after"]) if "after" in option else None
    return Answer(failure=Failure(int(status), f"scripted failure {status}", after))


def _error(rest: str, ask: Ask) -> Answer:
    return Answer(("partial ",), failure=Failure(200, rest))


def _cut(rest: str, ask: Ask) -> Answer:
    return Answer(_words(rest), finish=None)


def _reset(rest: str, ask: Ask) -> Answer:
    return Answer(_words(rest), finish=None, reset=True)


VERBS: Mapping[str, Verb] = {
    "say": _say,
    "run": _run,
    "run2": _run2,
    "ask": _ask,
    "askmany": lambda rest, ask: _ask(rest, ask, multiple=True),
    "call": _call,
    "think": _think,
    "slow": _slow,
    "hang": _hang,
    "long": _long,
    "finish": _finish,
    "fail": _fail,
    "error": _error,
    "cut": _cut,
    "reset": _reset,
}


def _tell(what: str, ask: Ask) -> Answer:
    return Answer(_words(f"{what}: {' | '.join(result.strip()[:_RESULT_MAX] for result in ask.results)}"))


def _ids(rest: str) -> tuple[str, list[str]]:
    """The rest without ``id=…``, and ids for up to two calls."""
    if match := re.match(r"id=(\S*?)(\d+)\s+", rest):
        return rest[match.end() :], [f"{match[1]}{int(match[2]) + more}" for more in range(2)]
    return rest, [f"call_{uuid4().hex[:10]}" for _ in range(2)]


def _json(value: Mapping[str, Any]) -> str:
    return msgspec.json.encode(value).decode()
