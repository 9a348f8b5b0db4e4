"""The messages of the Agent Client Protocol, version 1, that we read. Pure; everything here comes from the agent and is suspect.

Shapes: https://agentclientprotocol.com/protocol/v1/schema. Fields that we do not use are not named, unknown ones are ignored.
"""

from typing import Final, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from gatewayd.kit import json

RequestId = int | str | None
"""As the agent chose it; 0 and null are ids, too. Numbers are bounded by Python, which reads none of more than 4300 digits."""

INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
AUTH_REQUIRED: Final = -32000
REQUEST_CANCELLED: Final = -32800
"""https://agentclientprotocol.com/protocol/v1/error"""

PROTOCOL_VERSION: Final = 1

_NOTHING: Final = Raw()
_DETAIL_MAX: Final = 500

T = TypeVar("T")


class Malformed(ValueError):
    """Not what the protocol has there. The text says where, and holds nothing of the message."""


class Message(Struct, frozen=True):
    """One JSON-RPC 2.0 object: a request (method and id), a notification (method) or a response (id)."""

    id: RequestId | UnsetType = UNSET
    method: str | UnsetType = UNSET
    params: Raw = _NOTHING
    result: Raw = _NOTHING
    error: Raw = _NOTHING


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


class TextBlock(Struct, frozen=True):
    type: str
    text: str = ""


class MessageChunk(Struct, frozen=True, rename="camel"):
    content: TextBlock
    message_id: str | None = None


class ToolCallFields(Struct, frozen=True, rename="camel"):
    """A tool call, or what changed of one: what is not given is as it was."""

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
    """The notification $/cancel_request: the agent no longer wants the answer."""

    request_id: RequestId


class RpcError(Struct, frozen=True):
    code: int = 0
    message: str = ""
    data: Raw = _NOTHING


def given(value: Raw) -> bool:
    """Whether a field was there, and not null."""
    return bytes(value) not in (b"", b"null")


def read_message(line: bytes) -> Message | None:
    """The JSON-RPC object of a line, or None: agents also log to their standard output."""
    try:
        return json.decode(line, Message)
    except json.Malformed:
        return None


def read(data: Raw | bytes, kind: type[T]) -> T:
    """:raises Malformed: it is not of that kind."""
    try:
        return json.decode(data, kind, lenient=kind is not PermissionRequest)
    except json.Malformed as error:
        raise Malformed(f"the agent sent no proper {kind.__name__}") from error


def read_error(data: Raw) -> RpcError:
    """An error object, also an improper one: it still means that the request failed."""
    try:
        return read(data, RpcError)
    except Malformed:
        return RpcError(message=bytes(data)[:_DETAIL_MAX].decode(errors="replace"))


class _Details(Struct, frozen=True):
    details: str = ""


def error_text(error: RpcError) -> str:
    """What the agent says of a failure, in one bounded line. SDKs put the reason into data.details, or into data itself."""
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
