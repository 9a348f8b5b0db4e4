"""The fake Bot API as a process of its own, and against a real client library."""

import sys
from pathlib import Path

import httpx2
import msgspec
import pytest
import trio

from tests.fakes.bot_api import FakeBotApi, Json, RemoteBotApi
from tests.fakes.bot_api.methods.parameters import METHODS
from tests.fakes.bot_client import ALICE, FORUM


async def test_the_fake_runs_as_a_process_and_is_driven_from_here() -> None:
    async with RemoteBotApi.start() as remote, httpx2.AsyncClient() as http:
        base = f"{remote.url}/bot{remote.token}"
        await remote.do("user_sends", chat=ALICE, text="hello")
        updates = (await http.get(f"{base}/getUpdates")).json()["result"]
        assert updates[0]["message"]["text"] == "hello"
        await remote.do("fail_next", method="sendMessage", error_code=500, description="Internal", where={"chat_id": ALICE})
        assert (await http.post(f"{base}/sendMessage", json={"chat_id": ALICE, "text": "x"})).status_code == 500
        assert (await remote.do("wait_call", method="sendMessage"))["text"] == "x"
        other = await remote.do("add_bot", token="515151:AAother", username="other_bot")
        assert (await http.get(f"{remote.url}/bot{other}/getMe")).json()["result"]["username"] == "other_bot"
        with pytest.raises(RuntimeError, match="not something the fake can do"):
            await remote.do("serve")


CLIENT_SCRIPT = Path(__file__).with_name("aiogram_client.py")


async def run_aiogram(*arguments: str) -> Json:
    """Run the client library's script (asyncio lives there alone); what it prints, as JSON."""
    with trio.fail_after(60):
        process = await trio.run_process(
            [sys.executable, "-W", "error", str(CLIENT_SCRIPT), *arguments], capture_stdout=True, capture_stderr=True, check=False
        )
    assert process.returncode == 0, process.stderr.decode()
    return msgspec.json.decode(process.stdout, type=Json)


@pytest.mark.slow
async def test_a_real_client_library_accepts_the_fake(api: FakeBotApi) -> None:
    api.user_sends(ALICE, "/start hello @echo_bot")
    asked = api.user_sends(FORUM, "topic", thread=5)["message"]
    api.user_sends(-4001, "group", reply_to=None)
    api.user_edits(FORUM, asked["message_id"], "topic, edited")
    api.user_sends_photo(ALICE, "a caption")
    api.user_sends_document(ALICE, "a.txt", b"text of a file")
    api.user_sends_voice(ALICE)
    api.user_presses(FORUM, asked["message_id"], "pressed")
    api.channel_posts(-1009876543210, "news")
    api.member_changes(-4001, "administrator")
    api.member_changes(4712, "kicked")
    api.group_upgrades(-4002, -1000000004002)
    api.unknown_update()
    api.fail_next("sendMessage", 429, "Too Many Requests: retry after 7", parameters={"retry_after": 7})
    seen = await run_aiogram(api.url, api.token, str(ALICE))
    assert seen["me"] == "echo_bot"
    assert seen["updates"] == [
        "message: /start hello @echo_bot [bot_command 0 6, mention 13 9]",
        "message: topic thread 5",
        "message: group",
        "edited_message: topic, edited thread 5",
        "message: a caption photo 3",
        "message: None document a.txt text of a file",
        "message: None voice 3",
        "callback_query: pressed",
        "channel_post: news",
        "my_chat_member: administrator",
        "my_chat_member: kicked",
        "message: None migrate_to -1000000004002",
        "message: None migrate_from -4002",
        "unknown",
    ]
    assert seen["retry_after"] == 7
    assert seen["migrate_to"] == -1000000004002
    assert seen["forbidden"] == "Telegram server says - Forbidden: bot was blocked by the user"
    assert seen["sent"] == ["text_link", "bold"]
    assert seen["webhook"] == ["http://127.0.0.1:9/hook", 7, ""]
    assert seen["chat"] == "private"
    assert api.texts(ALICE) == ["final"]
    assert [call["action"] for call in api.calls("sendChatAction")] == ["typing"]


@pytest.mark.slow
async def test_the_parameter_lists_are_those_of_a_real_client_library() -> None:
    listed = await run_aiogram("--parameters", *METHODS)
    ours = {name: {"required": sorted(method.required), "optional": sorted(method.optional)} for name, method in METHODS.items()}
    assert ours == listed
