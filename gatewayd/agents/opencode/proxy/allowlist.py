"""The allow list of the proxy: the operations of an agent's server that an operator's client may use, and their bodies. Pure.

Every other request is refused. A server has more than clients need (files, terminals, a second API beside the first), and
OpenCode answers an unknown path by fetching it from the Internet. The paths are those that `opencode attach` and `opencode run
--attach` of release 1.18.33 ask for, as recorded.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeVar
from urllib.parse import quote, unquote, unquote_plus

import msgspec
from msgspec import Raw, Struct

from gatewayd.ports.proxy import AGENT_PARAMETER, ProxyError

T = TypeVar("T")

Kind = Literal["read", "stream", "write", "run", "change", "permission", "question"]
"""``write`` is always possible; ``run`` (a prompt) and ``change`` are not, in a session in which a turn of gatewayd runs."""

MOST_QUESTIONS: Final = 20
"""Of one request."""
LONGEST_NOTE: Final = 500
"""Characters."""

_READ: Final = frozenset(
    [
        "/agent",
        "/api/agent",
        "/api/command",
        "/api/location",
        "/api/reference",
        "/api/skill",
        "/command",
        "/experimental/capabilities",
        "/experimental/workspace",
        "/experimental/workspace/status",
        "/formatter",
        "/global/health",
        "/lsp",
        "/path",
        "/permission",
        "/project",
        "/project/current",
        "/question",
        "/session",
        "/session/status",
        "/skill",
        "/vcs",
    ]
)
# Settings with the keys of model providers, or with paths to them.
_SECRET: Final = frozenset(
    [
        "/api/integration",
        "/api/model",
        "/api/provider",
        "/config",
        "/config/providers",
        "/experimental/console",
        "/experimental/resource",
        "/global/config",
        "/mcp",
        "/provider",
        "/provider/auth",
    ]
)
_STREAMS: Final = frozenset(("/event", "/global/event"))
ROUTES: Final[Mapping[str, Sequence[str]]] = {
    **dict.fromkeys(sorted(_READ | _SECRET | _STREAMS), ("GET",)),
    "/session": ("GET", "POST"),
    "/session/<path:rest>": ("GET", "POST", "PATCH", "DELETE"),
    "/permission/<path:rest>": ("POST",),
    "/question/<path:rest>": ("POST",),
    "/project/<path:rest>": ("GET",),
}
"""The routes of the proxy, with their methods. The operation is found by the path as the client sent it."""
_RUNS: Final = frozenset(("message", "prompt_async", "command", "shell", "init", "summarize"))
_CHANGES: Final = frozenset(("revert", "unrevert"))
_WRITES: Final = frozenset(("abort", "fork"))
_HARMLESS: Final = frozenset(("abort", "fork", "message", "prompt_async", "summarize"))
"""Verbs that run nothing without asking. All others run something, write files, or publish."""
_READ_BY_THE_MODEL: Final = "text"
"""The only harmless kind of part in a prompt. A file part makes OpenCode read the file that its URL names, wherever that is; an
agent or subtask part runs one. File names in a text are turned into parts by clients, not by the server."""

_SEGMENT: Final = re.compile(r"[A-Za-z0-9_~:-][A-Za-z0-9_.~:-]{0,199}")
_QUERY: Final = re.compile(rb"[A-Za-z0-9_.~:@!$&'()*+,;=/?%\[\]-]{0,8000}")
_COLON: Final = re.compile("%3a", re.IGNORECASE)
_DIRECTORIES: Final = frozenset(("directory", "location[directory]", "workspace", "location[workspace]"))

_ALLOWING: Final = frozenset(("once", "always", "allow", "yes", "y"))
_DENYING: Final = frozenset(("reject", "deny", "no", "n"))


class Operation(Struct, frozen=True):
    """What a client asks for. ``path`` is sent as it is; ``session`` and ``request`` are the ids in it; ``admin``: it needs the
    scope ``admin``."""

    kind: Kind
    path: str
    session: str | None = None
    request: str | None = None
    admin: bool = False

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


class ForwardedQuery(Struct, frozen=True):
    """A query without the parameter for gatewayd. ``directories`` are the working directories that it names."""

    query: bytes
    directories: tuple[str, ...] = ()


class PermissionReply(Struct, frozen=True):
    """An answer to a permission request. ``word`` is forwarded: never one that allows more than this request."""

    allows: bool
    word: str
    key: Literal["reply", "response"]
    message: str | None = None

    @property
    def note(self) -> str | None:
        """The message as it is kept with the decision: a long one is cut, and says so."""
        if self.message is None or len(self.message) <= LONGEST_NOTE:
            return self.message
        return f"{self.message[:LONGEST_NOTE]}… ({len(self.message) - LONGEST_NOTE} more characters were cut)"


class _Rule(Struct, frozen=True):
    action: str


class _ReplyBody(Struct, frozen=True):
    reply: str | None = None
    response: str | None = None
    message: str | None = None


class _AnswersBody(Struct, frozen=True):
    answers: list[list[str] | str]


def find_operation(method: str, raw_path: bytes) -> Operation:
    """The operation of a request line.

    :raises ProxyError: bad_request for a path that could be read in two ways, not_found for one that is not forwarded.
    """
    segments = _segments(raw_path)
    path = "/" + "/".join(segments)
    found = _find_read(path, segments) if method == "GET" else _find_write(method, path, segments)
    if found is None:
        raise ProxyError("not_found", f"{method} on this path is not forwarded to agents' servers")
    return found


def forwarded_query(query: bytes) -> ForwardedQuery:
    """The part of a query that is forwarded, byte for byte.

    :raises ProxyError: bad_request: it has credentials, or characters that have to be escaped.
    """
    if not _QUERY.fullmatch(query):
        raise ProxyError("bad_request", "the query must be percent-encoded, and at most 8000 bytes")
    kept: list[bytes] = []
    directories: list[str] = []
    for part in query.split(b"&"):
        name, _, value = part.decode("ascii").partition("=")
        name = unquote_plus(name)
        if name == "auth_token":
            raise ProxyError("bad_request", "credentials go into the Authorization header: a query ends up in logs")
        if name in _DIRECTORIES:
            directories.append(unquote_plus(value))
        if name != AGENT_PARAMETER:
            kept.append(part)
    return ForwardedQuery(b"&".join(kept), tuple(directories))


def with_directory(query: bytes, directory: str) -> bytes:
    """``query`` with a working directory for the server."""
    return query + (b"&" if query else b"") + b"directory=" + quote(directory, safe="").encode("ascii")


def directory_of_header(value: str | None) -> tuple[str, ...]:
    """``x-opencode-directory``, which clients percent-encode."""
    return () if value is None else (unquote(value),)


def check_body(raw: bytes, *, admin: bool) -> bytes:
    """The JSON object of a write, as it is forwarded; empty without a body.

    A session or a prompt may bring permissions of its own. Those that allow tools are refused: the tools would run without
    asking. A part of a prompt that is not text needs the scope ``admin``.

    :raises ProxyError: bad_request, or forbidden for a body that allows tools or has such parts.
    """
    if not raw:
        return b""
    fields = _decode(raw, dict[str, Raw])
    if "permission" in fields and any(rule.action not in ("ask", "deny") for rule in _decode(fields["permission"], list[_Rule])):
        raise ProxyError("forbidden", "a session's own permissions may only ask and deny: what an agent may do is configured")
    if "tools" in fields and any(_decode(fields["tools"], dict[str, bool]).values()):
        raise ProxyError("forbidden", "a prompt may take tools away, not allow them: what an agent may do is configured")
    # Encoded again: if a key is given twice, the server gets the value that was checked here.
    return msgspec.json.encode(fields | _check_parts(fields, admin=admin))


def _check_parts(fields: Mapping[str, Raw], *, admin: bool) -> dict[str, Raw]:
    if "parts" not in fields:
        return {}
    parts = _decode(fields["parts"], list[dict[str, Raw]])
    if not admin and any(_decode(part.get("type", Raw(b'""')), str) != _READ_BY_THE_MODEL for part in parts):
        raise ProxyError("forbidden", "a prompt with other parts than text (files, agents) needs the scope 'admin'")
    return {"parts": Raw(msgspec.json.encode(parts))}


def read_reply(raw: bytes) -> PermissionReply:
    """An answer to a permission request, of either server's protocol. :raises ProxyError: bad_request."""
    body = _decode(raw, _ReplyBody)
    key: Literal["reply", "response"] = "reply" if body.reply is not None else "response"
    word = body.reply if body.reply is not None else body.response
    if word not in _ALLOWING | _DENYING:
        raise ProxyError("bad_request", "reply is once, always or reject (OpenAgentic: allow or deny)")
    # "always" allows it to everybody who talks to that server, until it ends.
    return PermissionReply(word in _ALLOWING, "once" if word == "always" else word, key, body.message)


def read_answers(raw: bytes) -> tuple[tuple[str, ...], ...]:
    """The labels for each question of a request (OpenAgentic: one text for each). :raises ProxyError: bad_request."""
    return tuple((one,) if isinstance(one, str) else tuple(one) for one in _decode(raw, _AnswersBody).answers)


def encode_reply(reply: PermissionReply) -> bytes:
    fields: Mapping[str, str] = {reply.key: reply.word} | ({} if reply.message is None else {"message": reply.message})
    return msgspec.json.encode(fields)


def _segments(raw_path: bytes) -> list[str]:
    """The parts of a path that has only one reading: without escapes, dots and empty parts.

    A colon may be escaped, and is forwarded unescaped: OpenAgentic has it in ids, and does not unescape paths.
    """
    try:
        text = _COLON.sub(":", raw_path.decode("ascii"))
    except UnicodeDecodeError:
        raise _ambiguous() from None
    first, *segments = text.split("/")
    if first or not segments or not all(_SEGMENT.fullmatch(segment) for segment in segments):
        raise _ambiguous()
    return segments


def _ambiguous() -> ProxyError:
    return ProxyError(
        "bad_request", "this path is not forwarded: its parts must be ids and names, without escapes, dots and empty parts"
    )


def _find_read(path: str, segments: Sequence[str]) -> Operation | None:
    if path in _STREAMS:
        return Operation("stream", path)
    if path in _READ or path in _SECRET:
        return Operation("read", path, admin=path in _SECRET)
    match segments:
        case ["session", session, *_]:
            return Operation("read", path, session)
        case ["project", _, "directories"]:
            return Operation("read", path)
    return None


def _find_write(method: str, path: str, segments: Sequence[str]) -> Operation | None:
    match method, *segments:
        case "POST", "session":
            return Operation("write", path)
        case "PATCH", "session", session:
            return Operation("write", path, session)
        case "DELETE", "session", session:
            return Operation("change", path, session)
        case "POST", "session", session, "permissions", request:
            return Operation("permission", path, session, request)
        case "POST", "session", session, verb if verb in _RUNS:
            return Operation("run", path, session, admin=verb not in _HARMLESS)
        case "POST", "session", session, verb if verb in _CHANGES:
            return Operation("change", path, session, admin=verb not in _HARMLESS)
        case "POST", "session", session, verb if verb in _WRITES:
            return Operation("write", path, session, admin=verb not in _HARMLESS)
        case "POST" | "DELETE", "session", session, "share":
            return Operation("write", path, session, admin=True)  # publishes it
        case "PATCH" | "DELETE", "session", session, "message", *_:
            return Operation("change", path, session, admin=method == "PATCH")  # a part may become one that reads a file
        case "POST", "permission", request, "reply":
            return Operation("permission", path, request=request)
        case "POST", "question", request, "reply" | "reject":
            return Operation("question", path, request=request)
    return None


def _decode(raw: bytes | Raw, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise ProxyError("bad_request", f"in the body: {error}") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise ProxyError("bad_request", "the body is not valid JSON") from None
