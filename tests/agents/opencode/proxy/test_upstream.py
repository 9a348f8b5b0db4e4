"""What the proxy makes of a request that a server lists."""

import pytest

from gatewayd.agents.opencode.proxy.answers import _name_of
from gatewayd.agents.opencode.proxy.upstream import ListedPermission, Upstream
from gatewayd.agents.opencode.server.endpoint import ServerEndpoint
from gatewayd.kit.http import create_client
from gatewayd.ports.proxy import ProxyError
from tests.web.attached import open_server, says

CALL = {"messageID": "msg_1", "callID": "call_1"}


async def listed(entry: object, message: object) -> ListedPermission | None:
    """What is found of the request per_1 on a server that lists ``entry``."""
    async with open_server() as server, create_client() as http:
        server.answers = {"GET /permission": says([entry]), "GET /session/ses_1/message/msg_1": says(message)}
        return await Upstream(http, ServerEndpoint(server.url, {}), b"", {}).find_permission("per_1")


async def test_without_its_call_a_request_shows_only_a_part() -> None:
    entry = {"id": "per_1", "sessionID": "ses_1", "permission": "bash", "metadata": {"command": "ls"}, "tool": CALL}
    found = await listed(entry, {"info": {}, "parts": []})
    assert found is not None
    assert (found.request.input, found.request.whole) == ('{"command":"ls","patterns":[]}', False)


async def test_openagentic_s_entry_is_the_whole_input() -> None:
    found = await listed({"id": "per_1", "tool": "Bash", "input": {"command": "ls"}}, {})
    assert found is not None
    assert (found.request.tool, found.request.input, found.request.whole) == ("Bash", '{"command":"ls"}', True)
    assert (found.session_id, _name_of(found)) == (None, None)


async def test_a_request_has_a_name_of_its_own_where_its_id_is_given_once() -> None:
    entry = {"id": "per_1", "sessionID": "ses_1", "permission": "bash", "metadata": {"command": "ls"}}
    others = [{**entry, "sessionID": "ses_2"}, {**entry, "permission": "edit"}, {**entry, "metadata": {"command": "rm"}}]
    names = [_name_of(found) for one in (entry, entry, *others) if (found := await listed(one, {})) is not None]
    assert len(names) == 5
    assert names[0] == names[1] is not None
    assert len(set(names)) == 4


@pytest.mark.parametrize("entry", [{"sessionID": "ses_1", "permission": 1}, {"tool": ["Bash"]}, {"sessionID": "ses_1"}])
async def test_a_request_that_makes_no_sense_does_not_wait(entry: dict[str, object]) -> None:
    assert await listed({"id": "per_1", **entry}, {}) is None


async def test_an_answer_of_too_many_values_is_not_read() -> None:
    entry = {"id": "per_1", "tool": "Bash", "input": {"command": "ls"}}
    async with open_server() as server, create_client() as http:
        server.answers["GET /permission"] = says([entry, [0] * 200_000])
        with pytest.raises(ProxyError, match="more than 200,000 values"):
            await Upstream(http, ServerEndpoint(server.url, {}), b"", {}).find_permission("per_1")
