"""Questions and approvals in Telegram: presses by whom they are for, by others, twice, from elsewhere, late, and over a crash."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.fakes.bot_api import FakeBotApi, Json, make_supergroup, make_user
from tests.whole.process import daemon
from tests.whole.test_telegram import ALICE, configuration

pytestmark = pytest.mark.slow

OPS = make_supergroup(-1_001_000_000_009, "Ops", forum=True)
TOPIC = 77
CAROL = make_user(1003, "Carol", "carol")
MALLORY = make_user(1666, "Mallory", "mallory")

AGENT = """
core = "callable"
object = "tests.whole.scripted.asker:paint"
[agents.assistant.approvals]
ask = ["ops"]
[approvals.groups.ops]
people = ["telegram:1003"]
chats = ["origin", "telegram:main:dm:1003"]
"""


@pytest.fixture
async def api() -> AsyncIterator[FakeBotApi]:
    with trio.fail_after(60):
        async with FakeBotApi.serve() as api:
            yield api


async def said(api: FakeBotApi, press: Json) -> str:
    """What whoever pressed was told."""
    text: str = (await api.wait_answer(press)).get("text", "")
    return text


async def test_a_question_is_answered_by_a_press(api: FakeBotApi, tmp_path: Path) -> None:
    async with daemon(tmp_path, configuration(api, tmp_path, agent=AGENT)):
        api.add_chat(1003)
        api.user_sends(ALICE, "paint it")
        asked = await api.wait_buttons(ALICE, "Blue")
        assert api.buttons(ALICE, asked) == [["Red"], ["Blue"], ["Skip"]]
        press = api.user_presses_button(ALICE, "Blue")
        assert await said(api, press) == ""
        await api.wait_text(ALICE, "Answer: Blue")
        assert api.buttons(ALICE, asked) == []
        await api.wait_buttons(ALICE, "Allow once")
        late = api.user_presses(ALICE, asked, press["callback_query"]["data"])
        await api.wait_answer(late)


async def test_a_permission_is_given_once_and_by_nobody_else(api: FakeBotApi, tmp_path: Path) -> None:
    async with daemon(tmp_path, configuration(api, tmp_path, agent=AGENT)) as gateway:
        api.add_chat(1003)
        api.add_chat(OPS)
        api.user_sends(OPS, "/paint it", user=MALLORY, thread=TOPIC)
        await api.wait_buttons(OPS["id"], "Blue")
        api.user_presses_button(OPS, "Blue", user=MALLORY)
        prompt = await api.wait_buttons(OPS["id"], "Allow once")
        copy = await api.wait_buttons(1003, "Allow once")
        allow = api.chat(OPS["id"]).messages[prompt]["reply_markup"]["inline_keyboard"][0][0]["callback_data"]

        assert "may not" in await said(api, api.user_presses(OPS, prompt, allow, user=MALLORY))
        elsewhere = api.user_sends(MALLORY["id"], "hi")["message"]["message_id"]
        assert "may not" in await said(api, api.user_presses(MALLORY["id"], elsewhere, allow, user=CAROL))
        other = api.user_sends(OPS, "another", user=MALLORY, thread=TOPIC)["message"]["message_id"]
        assert "may not" in await said(api, api.user_presses(OPS, other, allow, user=CAROL))

        first = api.user_presses(OPS, prompt, allow, user=CAROL)
        second = api.user_presses(OPS, prompt, allow, user=CAROL)
        assert sorted([await said(api, first), await said(api, second)]) == ["Allowed.", "Too late: this was allowed already."]
        await api.wait_text(OPS["id"], "Blue: allowed")
        for chat, number in ((OPS["id"], prompt), (1003, copy)):
            await api.wait_text(chat, "Allowed by telegram:1003")
            assert api.buttons(chat, number) == []
        assert [text for text in api.texts(OPS["id"]) if text == "Blue: allowed"] == ["Blue: allowed"]
        assert all(message.get("message_thread_id") == TOPIC for message in api.chat(OPS["id"]).visible(None)[1:])
        entries = (await gateway.get("/v1/audit?limit=100"))["entries"]
        assert isinstance(entries, list)
        refused = [entry for entry in entries if entry["action"] == "approval.refused"]
        assert [entry["actor"] for entry in refused][:3] == ["telegram:1666", "telegram:1003", "telegram:1003"]


async def test_a_prompt_outlives_the_daemon(api: FakeBotApi, tmp_path: Path) -> None:
    text = configuration(api, tmp_path, agent=AGENT)
    async with daemon(tmp_path, text) as gateway:
        api.add_chat(1003)
        api.user_sends(ALICE, "paint it")
        await api.wait_buttons(ALICE, "Red")
        api.user_presses_button(ALICE, "Red")
        prompt = await api.wait_buttons(1003, "Deny")
        await api.wait_delivered()
        # Later than the receipts are in the store: of a prompt without one nobody knows what to edit.
        await gateway.wait_status(lambda snapshot: snapshot.outbox.ready == snapshot.outbox.sending == 0)
        gateway.kill()
        await gateway.wait()
    press = api.user_presses_button(1003, "Deny", user=CAROL)
    async with daemon(tmp_path, text):
        assert await said(api, press) == "Denied."
        await api.wait_text(ALICE, "Red: denied")
        await api.wait_text(1003, "Denied by telegram:1003")
        assert api.buttons(1003, prompt) == []
        assert len([text for text in api.texts(ALICE) if text == "Red: denied"]) == 1
