"""OpenCode's requests as it lists them, and what people see of them. Pure."""

from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct

from gatewayd.agents.opencode.server.dialect import ListedRequest, QuestionsRequest
from gatewayd.agents.opencode.server.wire import Id, canonical, decode
from gatewayd.model.records.question import Option, Question


class ToolRef(Struct):
    messageID: Id
    callID: str


class Entry(Struct):
    """The fields that permissions and questions have in common."""

    id: Id
    sessionID: Id
    tool: ToolRef | None = None


class PermissionEntry(Struct):
    id: Id
    sessionID: Id
    permission: str
    patterns: list[str] = []
    metadata: dict[str, Raw] = {}
    tool: ToolRef | None = None


class _Option(Struct):
    label: str
    description: str = ""


class _Question(Struct):
    question: str
    options: list[_Option] = []
    multiple: bool = False


class QuestionEntry(Struct):
    id: Id
    sessionID: Id
    questions: list[_Question]


def shown_input(entry: PermissionEntry, call: tuple[str, Mapping[str, Raw]] | None) -> str:
    """The real input of the tool, as canonical JSON: the input of the pending call, with the values of the request's metadata
    over it. If the permission has another name than the tool, the tool and the patterns are in it, too.

    ``call`` is the tool's name and its input; None: they are not known. If only the patterns are known the result says so, and
    has the call's id: a permission for one such call must never be one for another.
    """
    if call is None:
        return _json({**_unknown(entry), **entry.metadata, "patterns": _raw(entry.patterns)})
    tool, given = call
    shown = {**given, **{key: value for key, value in entry.metadata.items() if key in given}}
    if entry.permission in (tool, "edit"):
        return _json(shown)
    return _json({"patterns": _raw(entry.patterns), "tool": _raw(tool), "input": Raw(_json(shown).encode())})


def fingerprint(entry: PermissionEntry) -> str:
    """All that the server says of a permission, as canonical JSON."""
    call = "" if entry.tool is None else f"{entry.tool.messageID}/{entry.tool.callID}"
    words = _raw([entry.permission, entry.patterns, call])
    return _json({"metadata": Raw(_json(entry.metadata).encode()), "words": words})


def _unknown(entry: PermissionEntry) -> dict[str, Raw]:
    if entry.metadata:
        return {}
    call = entry.id if entry.tool is None else f"{entry.tool.messageID}/{entry.tool.callID}"
    return {"known": _raw("only the patterns"), "call": _raw(call)}


def to_questions(pending: ListedRequest) -> QuestionsRequest:
    entry = decode(pending.body, QuestionEntry, what="question")
    questions = tuple(
        Question(
            item.question,
            tuple(Option(option.label, option.description) for option in item.options),
            item.multiple,
            f"{entry.id}:{number}",
        )
        for number, item in enumerate(entry.questions)
    )
    return QuestionsRequest(entry.id, entry.id, entry.sessionID, questions)


def _raw(value: object) -> Raw:
    return Raw(msgspec.json.encode(value))


def _json(fields: dict[str, Raw]) -> str:
    return canonical(Raw(msgspec.json.encode(fields)))
