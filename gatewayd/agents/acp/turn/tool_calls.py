"""Translates an agent's tool calls into events of the turn. Pure."""

from hashlib import sha256
from typing import Final

import msgspec
from msgspec import Raw, Struct

from gatewayd.agents.acp.wire import Malformed, TextBlock, ToolCallFields, given, read
from gatewayd.ports.agent import ToolCall, ToolResult

_SHOWN_MAX: Final = 20_000
_NAME_MAX: Final = 200
_TITLE_MAX: Final = 500
_CALLS_MAX: Final = 256
_CALLS_BYTES_MAX: Final = 16 * 1024 * 1024


class OpenCalls:
    """The tool calls of one prompt, each with all its updates. The oldest are forgotten when they are many, or large. A long
    title is cut, and says so."""

    def __init__(self) -> None:
        self._calls: dict[str, ToolCallFields] = {}
        self._bytes = 0

    def update(self, fields: ToolCallFields) -> tuple[ToolCallFields, bool]:
        """The updated call, and whether it has just begun: while it is pending its input may be unknown.

        :raises Malformed: its id is too long.
        """
        _check(fields)
        known = self._calls.pop(fields.tool_call_id, None)
        call = merge(known, _kept(fields))
        self._bytes += _size(call) - _size(known)
        self._calls[call.tool_call_id] = call
        while len(self._calls) > _CALLS_MAX or (self._bytes > _CALLS_BYTES_MAX and len(self._calls) > 1):
            self._bytes -= _size(self._calls.pop(next(iter(self._calls))))
        return call, _is_pending(known) and not _is_pending(call)

    def merged(self, fields: ToolCallFields) -> ToolCallFields:
        """The known call with these fields over it; it is not kept. :raises Malformed: its id is too long."""
        _check(fields)
        return merge(self._calls.get(fields.tool_call_id), fields)


def _is_pending(call: ToolCallFields | None) -> bool:
    return call is None or call.status in (None, "pending")


def merge(old: ToolCallFields | None, new: ToolCallFields) -> ToolCallFields:
    """A tool call with an update over it. An update has only the changed fields."""
    if old is None:
        return new
    changed: dict[str, object] = {}
    for name in new.__struct_fields__:
        value = getattr(new, name)
        if given(value) if isinstance(value, Raw) else value is not None:
            changed[name] = value
    return msgspec.structs.replace(old, **changed)


def _check(fields: ToolCallFields) -> None:
    if len(fields.tool_call_id) > _NAME_MAX:
        raise Malformed(f"a tool call has an id of more than {_NAME_MAX} characters")


def _kept(fields: ToolCallFields) -> ToolCallFields:
    """The fields of an update that are kept. A Raw keeps its whole line in memory, a copy of it does not."""
    return msgspec.structs.replace(
        fields,
        title=fields.title and _short_title(fields.title),
        kind=fields.kind and fields.kind[:_NAME_MAX],
        status=fields.status and fields.status[:_NAME_MAX],
        raw_input=fields.raw_input.copy(),
        raw_output=fields.raw_output.copy(),
        content=fields.content.copy(),
        locations=fields.locations.copy(),
    )


def _short_title(title: str) -> str:
    """Cut, with a hash: two different titles stay different, because an approval may be bound to the title."""
    more = len(title) - _TITLE_MAX
    if more <= 0:
        return title
    return f"{title[:_TITLE_MAX]} … ({more} more characters, SHA-256 {sha256(title.encode()).hexdigest()})"


def _size(call: ToolCallFields | None) -> int:
    """The approximate size of all fields in bytes."""
    if call is None:
        return 0
    values = (getattr(call, name) for name in call.__struct_fields__)
    return sum(memoryview(value).nbytes if isinstance(value, Raw) else len(value or "") for value in values)


class _Part(Struct, frozen=True):
    """One part of a call's content: text and the like in ``content``, or a diff of the file ``path``."""

    content: Raw = Raw()
    path: str | None = None


def call_event(call: ToolCallFields) -> ToolCall:
    """For people who watch. The name is that of the rules and permissions (the kind), unless it is ``other``."""
    name = call.kind if call.kind not in (None, "other") else call.title
    shown = bytes(call.raw_input).decode(errors="replace") if given(call.raw_input) else "{}"
    return ToolCall(call.tool_call_id[:_NAME_MAX], (name or "other")[:_NAME_MAX], _short(shown))


def result_event(call: ToolCallFields) -> ToolResult:
    output = _text(call.content) or (bytes(call.raw_output).decode(errors="replace") if given(call.raw_output) else "")
    return ToolResult(call.tool_call_id[:_NAME_MAX], _short(output), is_error=call.status == "failed")


def _text(content: Raw) -> str:
    try:
        parts = read(content, tuple[Raw, ...]) if given(content) else ()
    except Malformed:
        return ""
    return "\n".join(text for part in parts if (text := _part(part)))


def _part(raw: Raw) -> str:
    try:
        part = read(raw, _Part)
        return f"changed {part.path}" if part.path else read(part.content, TextBlock).text
    except Malformed:
        return ""


def _short(text: str) -> str:
    more = len(text) - _SHOWN_MAX
    return text if more <= 0 else f"{text[:_SHOWN_MAX]} … ({more} more characters)"
