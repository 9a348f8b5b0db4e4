"""One request for permission, asked for by a turn and answered by an attached client: the rules decide it alike."""

from collections.abc import Mapping
from typing import Any

import httpx2
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.json import encode
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.agents.opencode.openagentic_server.dialect import OpenAgentic
from gatewayd.agents.opencode.opencode_server.dialect import OpenCode
from gatewayd.agents.opencode.proxy.upstream import Upstream
from gatewayd.agents.opencode.server.client import Client
from gatewayd.agents.opencode.server.dialect import Dialect, PermissionRequest, ServerSession
from gatewayd.agents.opencode.server.endpoint import ServerEndpoint
from gatewayd.hub.approvals.policy import judge
from gatewayd.model.config import ApprovalRule
from gatewayd.model.records.approval import ToolRequest

URL = "http://127.0.0.1:1"
WORDS = st.sampled_from(["rm x", "ls", "/etc/a", "*", "", "é"])
VALUES = WORDS | st.integers(0, 3) | st.lists(WORDS, max_size=2)
INPUTS = st.dictionaries(st.sampled_from(["command", "filepath", "patterns", "input"]), VALUES, max_size=3)
TOOLS = st.sampled_from(["bash", "edit", "write", "external_directory"])
PATTERNS = st.sampled_from(["*", "rm*", "ls", "/etc/*", '["ls"]'])
RULES = st.lists(
    st.builds(
        ApprovalRule,
        action=st.sampled_from(["allow", "ask", "deny"]),
        tool=st.sampled_from(["*", "bash", "edit", "external*"]),
        input=st.dictionaries(st.sampled_from(["command", "filepath", "patterns", "tool"]), PATTERNS, max_size=2),
    ),
    max_size=4,
)
ENTRIES = st.fixed_dictionaries(
    {"permission": TOOLS},
    optional={
        "patterns": st.lists(WORDS, max_size=2),
        "metadata": INPUTS,
        "tool": st.sampled_from([{"messageID": "msg_1", "callID": call} for call in ("call_1", "call_2")]),
    },
)
CALLS = st.none() | st.fixed_dictionaries({"tool": TOOLS, "status": st.just("running"), "input": INPUTS | st.just("nonsense")})


class Served(httpx2.AsyncBaseTransport):
    """A server that answers with these bodies, by path; else 404."""

    def __init__(self, bodies: Mapping[str, object]) -> None:
        self._bodies = bodies

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = self._bodies.get(request.url.path)
        return httpx2.Response(404) if body is None else httpx2.Response(200, stream=httpx2.ByteStream(encode(body)))


async def both_ways(dialect: type[OpenCode | OpenAgentic], bodies: Mapping[str, object]) -> tuple[ToolRequest, ToolRequest]:
    """The request per_1 as the turn that made it asks for it, and as an attached client's answer is judged."""
    async with httpx2.AsyncClient(transport=Served(bodies), trust_env=False) as http:
        of_turn: Dialect = dialect(Client(http, URL, {}))
        snapshot = await of_turn.poll(None, 0.0)
        [asked] = await of_turn.requests(ServerSession("ses_1"), "0", snapshot)
        assert isinstance(asked, PermissionRequest)
        listed = await Upstream(http, ServerEndpoint(URL, {}), b"", {}).find_permission("per_1")
        assert listed is not None
        return ToolRequest(asked.tool, asked.input, whole=asked.whole), replace(listed.request, ref=None)


def decided(dialect: type[OpenCode | OpenAgentic], bodies: Mapping[str, object], rules: list[ApprovalRule]) -> tuple[str, bool]:
    """What the rules say of the request, both ways the same, and whether all of its input is known."""
    of_turn, of_client = trio.run(both_ways, dialect, bodies, clock=MockClock(autojump_threshold=0))
    assert of_turn == of_client
    verdict = judge(rules, of_turn)
    assert verdict == judge(rules, of_client)
    return verdict[0], of_turn.whole


def opencode(entry: Mapping[str, object], call: Mapping[str, object] | None) -> dict[str, object]:
    parts = [] if call is None else [{"type": "tool", "tool": call["tool"], "callID": "call_1", "state": call}]
    return {
        "/permission": [{"id": "per_1", "sessionID": "ses_1", **entry}],
        "/question": [],
        "/session/status": {"ses_1": {"type": "busy"}},
        "/session/ses_1": {"id": "ses_1"},
        "/session/ses_1/message/msg_1": {"info": {}, "parts": parts},
    }


@settings(max_examples=25)
@given(ENTRIES, CALLS, RULES)
def test_opencode_s_requests(entry: dict[str, Any], call: dict[str, Any] | None, rules: list[ApprovalRule]) -> None:
    decided(OpenCode, opencode(entry, call), rules)


@settings(max_examples=25)
@given(TOOLS, INPUTS | WORDS | st.none(), RULES)
def test_openagentic_s_requests(tool: str, given_input: object, rules: list[ApprovalRule]) -> None:
    entry = {"id": "per_1", "tool": tool, "input": given_input}
    event = {"type": "tool.use", "seq": 1, "tool_use_id": "per_1", "name": tool, "input": given_input}
    bodies = {"/permission": [entry], "/question": [], "/session/status": {}, "/session/ses_1/events": {"events": [event]}}
    assert decided(OpenAgentic, bodies, rules)[1]


def test_what_is_denied_is_denied_also_when_only_a_part_of_its_input_is_known() -> None:
    entry = {"permission": "bash", "metadata": {}, "tool": {"messageID": "msg_1", "callID": "call_1"}}
    rules = [ApprovalRule("deny", "bash", {"command": "rm*"}), ApprovalRule("allow", "bash")]
    call = {"tool": "bash", "status": "running", "input": {"command": "ls"}}
    assert decided(OpenCode, opencode(entry, call), rules) == ("allow", True)
    assert decided(OpenCode, opencode(entry, None), rules) == ("deny", False)
