"""The fake Discord as a process of its own."""

import httpx2
import pytest

from tests.fakes.discord_platform import CREATE_MESSAGE, RemoteDiscord

pytestmark = pytest.mark.slow

AGENT = "DiscordBot (https://example.org, 1)"


async def test_the_fake_runs_as_a_process_and_is_driven_from_here() -> None:
    async with RemoteDiscord.start() as remote, httpx2.AsyncClient() as http:
        ada = await remote.do("add_user", "ada")
        guild = await remote.do("add_guild", members=[ada])
        channel = await remote.do("add_channel", guild, "general")
        question = await remote.do("say", ada, channel, "hello", files=[["a.txt", "QQ=="]])
        headers = {"Authorization": f"Bot {await remote.get('token')}", "User-Agent": AGENT}
        address = f"{await remote.get('api_url')}/channels/{channel}/messages"
        listed = (await http.get(address, headers=headers)).json()
        assert [message["id"] for message in listed] == [question]
        await remote.do("fail_next", CREATE_MESSAGE, 500, where={"content": "x"})
        assert (await http.post(address, headers=headers, json={"content": "y"})).status_code == 200
        assert (await http.post(address, headers=headers, json={"content": "x"})).status_code == 500
        assert await remote.do("calls", CREATE_MESSAGE) == [{"content": "y"}, {"content": "x"}]
        assert await remote.get("gateway.identify_count") == 0
        await remote.set("session_starts.total", 5)
        assert await remote.get("session_starts.remaining") == 5
        with pytest.raises(RuntimeError, match="not something the fake can do"):
            await remote.do("serve")
