"""Which requests are passed on to agents' servers: whatever is written, only what is named gets through."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote_to_bytes

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatewayd.agents.opencode.proxy.allowlist import (
    LONGEST_NOTE,
    ROUTES,
    check_body,
    directory_of_header,
    encode_reply,
    find_operation,
    forwarded_query,
    read_answers,
    read_reply,
)
from gatewayd.ports.proxy import ProxyError

T = TypeVar("T")
PAGE = (Path(__file__).parents[4] / "docs/reference/http.md").read_text()
METHODS = ("GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS")
# Pieces of which paths are made that mean something to somebody.
ODD = [
    "/",
    "//",
    ".",
    "..",
    "%2e",
    "%2E%2e",
    "%2f",
    "%5c",
    "\\",
    ";",
    "?",
    "#",
    "%00",
    "%0d%0a",
    ":",
    "%3a",
    "%3A",
    "~",
    "é",
    "%",
]
NAMES = ["ses_1", "per_1", "session", "permission", "question", "reply", "reject", "message", "shell", "permissions", "config"]
MORE = ["provider", "event", "global", "api", "project", "directories", "share", "%c3%a9"]
PIECES = st.sampled_from(ODD) | st.sampled_from(NAMES) | st.sampled_from(MORE)
paths = st.lists(PIECES | st.text(max_size=3), max_size=12).map(
    lambda pieces: ("/" + "/".join(pieces)).encode("latin-1", "replace")
)
queries = st.lists(st.tuples(st.text(st.sampled_from("abc[]%2f"), max_size=4), st.text(st.sampled_from("xyz=%/"), max_size=4)))


def unless_refused(call: Callable[[], T]) -> T | None:
    """Any other error is a fault."""
    try:
        return call()
    except ProxyError:
        return None


@given(st.sampled_from(METHODS), paths | st.binary(max_size=40))
@example("GET", b"/session/..")
@example("GET", b"/session/%2e%2e/config")
def test_a_path_that_is_passed_on_reads_the_same_for_everybody(method: str, raw: bytes) -> None:
    operation = unless_refused(lambda: find_operation(method, raw))
    if operation is None:
        return
    segments = operation.path.split("/")[1:]
    assert operation.path.isascii()
    assert not set(operation.path) & set("%\\?#; \r\n\0")
    assert all(segment and segment.strip(".") for segment in segments)
    assert unquote_to_bytes(operation.path) == operation.path.encode()
    # It is what was sent, but for an escaped colon.
    assert operation.path.encode() == raw.replace(b"%3a", b":").replace(b"%3A", b":")
    assert "/" + segments[0] in {"/" + route.split("/")[1] for route in ROUTES}
    assert (operation.kind in ("read", "stream")) == (method == "GET")


@given(st.text(min_size=1, max_size=8), st.sampled_from(["config", "provider", "global/config", "api/provider", "mcp"]))
def test_settings_are_never_reached_but_by_their_own_path(prefix: str, secret: str) -> None:
    for raw in (f"/session/{prefix}/{secret}", f"/{prefix}/{secret}", f"/{prefix}/../{secret}"):
        operation = unless_refused(lambda raw=raw: find_operation("GET", raw.encode("utf-8")))  # type: ignore[misc]
        if operation is None:
            continue
        assert operation.path == raw
        assert ".." not in operation.path.split("/")
        # Below a session it is no settings, and where it is, it is for admins.
        assert operation.path.startswith("/session/") or operation.admin


@given(queries)
def test_a_query_is_passed_on_byte_for_byte(parts: list[tuple[str, str]]) -> None:
    query = "&".join(f"{name}={value}" for name, value in parts).encode()
    with_ours = b"&".join(piece for piece in (b"agent=coder", query, b"%61gent=x") if piece)
    if b"auth_token" in query:
        return
    assert forwarded_query(query).query == query
    assert forwarded_query(with_ours).query == query


@pytest.mark.parametrize("query", [b"auth_token=x", b"a=1&%61uth_token=x", b"a b", b"a=\xc3", b"a=#b", b'a="', b"x" * 9000])
def test_some_queries_are_refused(query: bytes) -> None:
    with pytest.raises(ProxyError, match=r"query|credentials"):
        forwarded_query(query)


def test_every_way_to_name_a_directory_is_known() -> None:
    passed = forwarded_query(b"directory=%2Fa&x=1&location%5Bdirectory%5D=/b&location[workspace]=w&workspace=v")
    assert passed.directories == ("/a", "/b", "w", "v")
    assert directory_of_header("%2Fa%20b") == ("/a b",)
    assert directory_of_header(None) == ()


@pytest.mark.parametrize(
    ("body", "allows", "sent"),
    [
        ({"reply": "once"}, True, {"reply": "once"}),
        ({"reply": "always"}, True, {"reply": "once"}),
        ({"reply": "reject", "message": "no"}, False, {"reply": "reject", "message": "no"}),
        ({"response": "always"}, True, {"response": "once"}),
        ({"reply": "allow"}, True, {"reply": "allow"}),
        ({"reply": "deny", "of_a_newer_release": 1}, False, {"reply": "deny"}),
        ({"reply": "reject", "response": "once"}, False, {"reply": "reject"}),
    ],
)
def test_replies(body: dict[str, object], allows: bool, sent: dict[str, object]) -> None:
    reply = read_reply(msgspec.json.encode(body))
    assert reply.allows is allows
    assert msgspec.json.decode(encode_reply(reply)) == sent


@given(st.text(max_size=3) | st.integers(1, 2000).map(lambda length: "x" * length))
def test_a_long_note_is_cut_and_says_so(said: str) -> None:
    reply = read_reply(msgspec.json.encode({"reply": "reject", "message": said}))
    assert reply.note is not None
    if len(said) <= LONGEST_NOTE:
        assert reply.note == said
    else:
        assert reply.note.startswith(said[:LONGEST_NOTE] + "… (")
        assert f"{len(said) - LONGEST_NOTE} more characters were cut" in reply.note
        assert len(reply.note) < LONGEST_NOTE + 60
    # The server gets all of it: it is what the model is told.
    assert msgspec.json.decode(encode_reply(reply))["message"] == said


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[]", b'{"reply":"maybe"}', b'{"reply":1}', b'{"reply":"ALWAYS"}', b"\xff", b"[" * 9999]
)
def test_what_is_neither_yes_nor_no_is_refused(raw: bytes) -> None:
    with pytest.raises(ProxyError, match=r"body|reply"):
        read_reply(raw)


def test_answers_in_either_server_s_form() -> None:
    assert read_answers(b'{"answers":[["Red","Blue"],["x"]]}') == (("Red", "Blue"), ("x",))
    assert read_answers(b'{"answers":["Red"]}') == (("Red",),)
    with pytest.raises(ProxyError):
        read_answers(b'{"answers":"Red"}')


actions = st.sampled_from(["allow", "ask", "deny", "Allow", ""])
rules = st.lists(st.fixed_dictionaries({"permission": st.text(max_size=3), "pattern": st.text(max_size=3), "action": actions}))


@given(rules, st.dictionaries(st.text(max_size=3), st.booleans()), st.text(max_size=5))
def test_a_body_is_passed_on_unless_it_allows_something(rules: list[dict[str, str]], tools: dict[str, bool], title: str) -> None:
    body = {"title": title, "permission": rules, "tools": tools}
    allows = any(rule["action"] not in ("ask", "deny") for rule in rules) or any(tools.values())
    sent = unless_refused(lambda: check_body(msgspec.json.encode(body), admin=False))
    assert (sent is None) == allows
    assert sent is None or msgspec.json.decode(sent) == body


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "mime": "text/plain", "url": "file:///etc/passwd"},
        {"type": "agent", "name": "build"},
        {"type": "subtask", "prompt": "x", "description": "x", "agent": "build"},
        {"type": "of a newer release"},
        {"text": "of no type"},
    ],
)
def test_parts_that_are_not_text_are_for_admins(part: dict[str, str]) -> None:
    """Measured with OpenCode 1.18.33: a file part is read wherever it is, also with noReply."""
    raw = msgspec.json.encode({"noReply": True, "parts": [{"type": "text", "text": "look"}, part]})
    with pytest.raises(ProxyError, match="admin") as refused:
        check_body(raw, admin=False)
    assert refused.value.code == "forbidden"
    assert msgspec.json.decode(check_body(raw, admin=True)) == msgspec.json.decode(raw)


def test_a_part_is_passed_on_with_the_type_that_was_looked_at() -> None:
    sent = check_body(b'{"parts":[{"type":"file","type":"text","text":"x","text":"y"}]}', admin=False)
    assert sent == b'{"parts":[{"type":"text","text":"y"}]}'


@pytest.mark.parametrize("parts", [b"{}", b"[1]", b'[{"type":1}]', b'"x"', b"null"])
def test_parts_that_are_none_are_refused(parts: bytes) -> None:
    with pytest.raises(ProxyError, match="body"):
        check_body(b'{"parts":' + parts + b"}", admin=False)


def test_in_a_session_only_what_is_harmless_needs_no_admin() -> None:
    verbs = ("message", "prompt_async", "summarize", "abort", "fork", "command", "shell", "init", "revert", "unrevert", "share")
    admin = {verb for verb in verbs if find_operation("POST", f"/session/ses_1/{verb}".encode()).admin}
    assert admin == {"command", "shell", "init", "revert", "unrevert", "share"}
    assert find_operation("PATCH", b"/session/ses_1/message/msg_1/part/prt_1").admin


@given(st.binary(max_size=60))
def test_any_bytes_as_a_body_are_refused_or_an_object(raw: bytes) -> None:
    sent = unless_refused(lambda: check_body(raw, admin=False))
    assert not sent or isinstance(msgspec.json.decode(sent), dict)


@pytest.mark.parametrize("route", ROUTES)
def test_every_path_is_described(route: str) -> None:
    assert f"`{route.partition('/<')[0]}" in PAGE


@pytest.mark.parametrize("path", ["/config", "/config/providers", "/provider", "/api/provider", "/api/model"])
def test_where_the_keys_of_providers_are_is_for_admins(path: str) -> None:
    """Measured with OpenCode 1.18.33: these answers have them."""
    assert find_operation("GET", path.encode()).admin
