"""What the proxy makes of a request that a server lists: what the core makes of it, so that one rule fits both."""

import msgspec
import pytest
from msgspec import Raw

from gatewayd.agents.opencode.opencode_requests import Permission, shown_input
from gatewayd.kit.http import create_client
from gatewayd.ports.agent import Surface
from gatewayd.web.upstream import Listed, Upstream
from tests.web.attached import open_server, says

CALL = {"messageID": "msg_1", "callID": "call_1"}


async def listed(entry: object, message: object) -> Listed | None:
    """What is found of the request per_1 on a server that lists ``entry``."""
    async with open_server() as server, create_client() as http:
        server.answers = {"GET /permission": says([entry]), "GET /session/ses_1/message/msg_1": says(message)}
        return await Upstream(http, Surface(server.url, {}), b"", {}).find_request("/permission", "per_1")


@pytest.mark.parametrize(
    ("permission", "tool", "metadata"),
    [
        ("bash", "bash", {}),
        ("bash", "bash", {"command": "rm", "diff": "not of the call"}),
        ("edit", "write", {"filepath": "/a", "diff": "x"}),
        ("external_directory", "bash", {"parentDir": "/etc"}),
    ],
)
async def test_a_request_is_shown_as_the_core_shows_it(permission: str, tool: str, metadata: dict[str, str]) -> None:
    entry = {"id": "per_1", "sessionID": "ses_1", "permission": permission, "patterns": ["a"], "metadata": metadata, "tool": CALL}
    called = {"command": "ls", "workdir": "/etc", "timeout": 5}
    part = {"type": "tool", "tool": tool, "callID": "call_1", "state": {"status": "running", "input": called}}
    found = await listed(entry, {"info": {}, "parts": [{"type": "step-start"}, part]})
    assert found is not None
    raw = {key: Raw(msgspec.json.encode(value)) for key, value in called.items()}
    asked = msgspec.json.decode(msgspec.json.encode(entry), type=Permission)
    assert (found.asked.input, found.whole) == (shown_input(asked, (tool, raw)), True)


async def test_without_its_call_a_request_shows_only_a_part() -> None:
    entry = {"id": "per_1", "sessionID": "ses_1", "permission": "bash", "metadata": {"command": "ls"}, "tool": CALL}
    found = await listed(entry, {"info": {}, "parts": []})
    assert found is not None
    assert (found.asked.input, found.whole) == ('{"command":"ls","patterns":[]}', False)


async def test_openagentic_s_entry_is_the_whole_input() -> None:
    found = await listed({"id": "per_1", "tool": "Bash", "input": {"command": "ls"}}, {})
    assert found is not None
    assert (found.asked.tool, found.asked.input, found.whole, found.name) == ("Bash", '{"command":"ls"}', True, None)


async def test_a_request_has_a_name_of_its_own_where_its_id_is_given_once() -> None:
    entry = {"id": "per_1", "sessionID": "ses_1", "permission": "bash", "metadata": {"command": "ls"}}
    others = [{**entry, "sessionID": "ses_2"}, {**entry, "permission": "edit"}, {**entry, "metadata": {"command": "rm"}}]
    names = [found.name for one in (entry, entry, *others) if (found := await listed(one, {})) is not None]
    assert len(names) == 5
    assert names[0] == names[1] is not None
    assert len(set(names)) == 4
