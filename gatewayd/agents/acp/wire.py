"""The messages of the Agent Client Protocol, version 1, that gatewayd reads. Pure. They come from the agent: none is trusted.

Shapes: https://agentclientprotocol.com/protocol/v1/schema. Only the used fields are named; all others are ignored.
"""

import re
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from gatewayd.kit import json

RequestId = int | float | str | None
"""The agent's choice; 0 and null are ids, too. Numbers are bounded: Python reads none of more than 4300 digits."""

INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
AUTH_REQUIRED: Final = -32000
REQUEST_CANCELLED: Final = -32800
"""https://agentclientprotocol.com/protocol/v1/error"""

PROTOCOL_VERSION: Final = 1
OURS: Final = frozenset({"initialize", "session/new", "session/load", "session/resume", "session/prompt", "session/cancel"})
"""The methods that only the client calls."""

UPDATE: Final = "session/update"
_TEXT: Final = "agent_message_chunk"
_NOTHING: Final = Raw()
_DETAIL_MAX: Final = 500
_NUMBER: Final = re.compile(r"([0-9]{1,18})(?:\.0)?", re.ASCII)

T = TypeVar("T")


class Malformed(ValueError):
    """Not as the protocol says. The text names the place, and holds nothing of the message."""


class Message(Struct, frozen=True):
    """One JSON-RPC 2.0 object: a request (method and id), a notification (method) or a response (id)."""

    id: RequestId | UnsetType = UNSET
    method: str | UnsetType = UNSET
    params: Raw = _NOTHING
    result: Raw = _NOTHING
    error: Raw = _NOTHING

    @property
    def says_something(self) -> bool:
        """Whether it is a message at all: agents also log JSON."""
        return self.id is not UNSET or self.method is not UNSET

    @property
    def answers(self) -> int | None:
        """The number of our request that it answers. Some agents return the number as another JSON type."""
        known = isinstance(self.id, int | float | str) and _NUMBER.fullmatch(str(self.id))
        return int(known[1]) if known else None


class Implementation(Struct, frozen=True):
    name: str = ""
    version: str = ""


class AuthMethod(Struct, frozen=True):
    id: str = ""
    name: str = ""
    description: str | None = None


class SessionCapabilities(Struct, frozen=True):
    resume: Raw = _NOTHING


class AgentCapabilities(Struct, frozen=True, rename="camel"):
    load_session: bool = False
    session_capabilities: SessionCapabilities | None = None


class Initialized(Struct, frozen=True, rename="camel"):
    """The result of initialize. ``protocol_version`` is 1, or the agent cannot be used."""

    protocol_version: int | str | float | None = None
    agent_capabilities: AgentCapabilities | None = None
    auth_methods: tuple[AuthMethod, ...] | None = None
    agent_info: Implementation | None = None

    @property
    def loads(self) -> bool:
        return self.agent_capabilities is not None and self.agent_capabilities.load_session

    @property
    def resumes(self) -> bool:
        sessions = None if self.agent_capabilities is None else self.agent_capabilities.session_capabilities
        return sessions is not None and given(sessions.resume)


class NewSession(Struct, frozen=True, rename="camel"):
    session_id: str


class PromptResult(Struct, frozen=True, rename="camel"):
    stop_reason: str


class SessionUpdate(Struct, frozen=True, rename="camel"):
    session_id: str
    update: Raw


class UpdateKind(Struct, frozen=True, rename="camel"):
    session_update: str


class _KindOfUpdate(Struct, frozen=True):
    update: UpdateKind


class TextBlock(Struct, frozen=True):
    type: str
    text: str = ""


class MessageChunk(Struct, frozen=True, rename="camel"):
    content: TextBlock
    message_id: str | None = None


class ToolCallFields(Struct, frozen=True, rename="camel"):
    """A tool call, or a change of one: a field that is not given is unchanged."""

    tool_call_id: str
    title: str | None = None
    kind: str | None = None
    status: str | None = None
    raw_input: Raw = _NOTHING
    raw_output: Raw = _NOTHING
    content: Raw = _NOTHING
    locations: Raw = _NOTHING


class PermissionOption(Struct, frozen=True, rename="camel"):
    option_id: str
    kind: str = ""


class PermissionRequest(Struct, frozen=True, rename="camel"):
    session_id: str
    tool_call: ToolCallFields
    options: tuple[PermissionOption, ...]


class CancelledRequest(Struct, frozen=True, rename="camel"):
    """The notification $/cancel_request: the agent does not want the answer any more."""

    request_id: RequestId


class RpcError(Struct, frozen=True):
    code: int = 0
    message: str = ""
    data: Raw = _NOTHING


def given(value: Raw) -> bool:
    """Whether a field is there, and not null."""
    return bytes(value) not in (b"", b"null")


def read_message(line: bytes) -> Message | None:
    """The JSON-RPC object of a line, or None: agents also log to their standard output.

    In a piece of text, half surrogate pairs are kept: the other half is in the next line.
    """
    try:
        message = json.decode(line, Message)
        may_be_cut = rb"\u" in line and _is_text(message)
        return json.decode(line, Message, keep_halves=True) if may_be_cut else message
    except json.Malformed:
        return None


def _is_text(message: Message) -> bool:
    try:
        return message.method == UPDATE and json.decode(message.params, _KindOfUpdate).update.session_update == _TEXT
    except json.Malformed:
        return False


def read(data: Raw | bytes, kind: type[T], *, keep_halves: bool = False) -> T:
    """:raises Malformed: it is not of that kind."""
    try:
        return json.decode(data, kind, lenient=kind is not PermissionRequest, keep_halves=keep_halves)
    except json.Malformed as error:
        raise Malformed(f"the agent sent no proper {kind.__name__}") from error


def text_chunk(update: Raw) -> MessageChunk | None:
    """The piece of text in an update, with its half surrogate pairs, for ``ReplyText``; None for every other update.

    :raises Malformed:
    """
    if read(update, UpdateKind).session_update != _TEXT:
        return None
    chunk = read(update, MessageChunk, keep_halves=True)
    return chunk if chunk.content.type == "text" and chunk.content.text else None


def read_error(data: Raw) -> RpcError:
    """An error object, also a malformed one: it still means that the request failed."""
    try:
        return read(data, RpcError)
    except Malformed:
        return RpcError(message=bytes(data)[:_DETAIL_MAX].decode(errors="replace"))


class _Details(Struct, frozen=True):
    details: str = ""


def error_text(error: RpcError) -> str:
    """The agent's error text, in one bounded line. SDKs put the reason into data.details, or into data itself."""
    detail = _detail(error.data)
    parts = [error.message] if not detail or detail in error.message else [error.message, detail]
    return " ".join(": ".join(part for part in parts if part).split())[:_DETAIL_MAX] or f"error {error.code}"


def _detail(data: Raw) -> str:
    try:
        return read(data, str)
    except Malformed:
        pass
    try:
        return read(data, _Details).details
    except Malformed:
        return ""


def write(**fields: object) -> bytes:
    """One message as a line."""
    return msgspec.json.encode({"jsonrpc": "2.0", **fields}) + b"\n"
