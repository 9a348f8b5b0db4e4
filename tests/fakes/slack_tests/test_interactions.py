"""The fake's presses, commands and shortcuts, and their response_urls."""

from typing import Any

import pytest
import trio

from tests.fakes.slack_platform import FakeSlack, Json
from tests.fakes.slack_tests.client import Client

YES: Json = {"type": "button", "text": {"type": "plain_text", "text": "Yes"}, "action_id": "yes", "value": "1"}
NO: Json = {"type": "button", "text": {"type": "plain_text", "text": "No"}, "action_id": "no", "value": "0", "style": "danger"}


@pytest.fixture
async def card(client: Client, general: str) -> str:
    """The ts of a message with two buttons."""
    blocks = [{"type": "actions", "block_id": "choice", "elements": [YES, NO]}]
    ts: str = (await client.call("chat.postMessage", channel=general, text="?", blocks=blocks))["ts"]
    return ts


async def test_a_press_says_which_button_and_by_whom(slack: FakeSlack, alice: str, general: str, card: str) -> None:
    payload = slack.press(alice, general, card, value="0").payload
    (action,) = payload["actions"]
    assert (action["action_id"], action["block_id"], action["value"]) == ("no", "choice", "0")
    assert (payload["user"]["id"], payload["channel"]["id"], payload["container"]["message_ts"]) == (alice, general, card)
    with pytest.raises(LookupError):
        slack.press(alice, general, card, action_id="perhaps")


async def test_an_answer_replaces_the_message_or_comes_beside_it(
    client: Client, slack: FakeSlack, alice: str, general: str, card: str
) -> None:
    url = slack.press(alice, general, card).payload["response_url"]
    assert (await client.post(url, json={"replace_original": True, "text": "yes, by Alice"})).text == "ok"
    assert slack.texts(general) == ["yes, by Alice"]
    assert (await client.post(url, json={"text": "for you"})).text == "ok"
    assert [message["text"] for message in slack.ephemeral(general)] == ["for you"]
    assert (await client.post(url, json={"text": "for all", "response_type": "in_channel"})).text == "ok"
    assert (await client.post(url, json={"delete_original": True})).text == "ok"
    assert slack.texts(general) == ["for all"]
    assert len(slack.answers(general)) == 4


async def test_what_only_one_user_sees_is_pressed_and_replaced(
    client: Client, slack: FakeSlack, alice: str, general: str
) -> None:
    blocks = [{"type": "actions", "elements": [YES]}]
    ts = (await client.call("chat.postEphemeral", channel=general, user=alice, text="?", blocks=blocks))["message_ts"]
    payload = slack.press(alice, general, ts).payload
    assert (payload["container"]["is_ephemeral"], "message" in payload) == (True, False)
    await client.post(payload["response_url"], json={"replace_original": True, "text": "yes"})
    assert [message["text"] for message in slack.ephemeral(general)] == ["yes"]
    await client.post(payload["response_url"], json={"delete_original": True})
    assert slack.ephemeral(general) == []
    assert slack.messages(general) == []


async def test_a_response_url_is_good_five_times_and_half_an_hour(
    client: Client, slack: FakeSlack, alice: str, general: str, autojump_clock: object
) -> None:
    url = slack.command(alice, general, "/ask", "what").payload["response_url"]
    answers = [await client.post(url, json={"text": str(number)}) for number in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [404]
    assert answers[-1].json() == {"ok": False, "error": "used_url"}
    late = slack.command(alice, general, "/ask").payload["response_url"]
    await trio.sleep(1801)
    assert (await client.post(late, json={"text": "x"})).json() == {"ok": False, "error": "expired_url"}
    assert (await client.post(slack.url + "/actions/none", json={"text": "x"})).status_code == 404


@pytest.mark.parametrize("body", [b"{", b'{"text": ""}', b'{"blocks": [{"type": "song"}]}'])
async def test_an_answer_that_is_none_is_refused(client: Client, slack: FakeSlack, alice: str, general: str, body: bytes) -> None:
    url = slack.command(alice, general, "/ask").payload["response_url"]
    assert (await client.post(url, content=body)).status_code == 400
    assert slack.answers(general) == []


async def test_a_token_at_a_response_url_is_a_violation(client: Client, slack: FakeSlack, alice: str, general: str) -> None:
    url = slack.command(alice, general, "/ask").payload["response_url"]
    await client.post(url, json={"text": "x"}, headers={"Authorization": f"Bearer {slack.bot_token}"})
    assert len(slack.violations) == 1
    slack.violations.clear()


async def test_commands_and_shortcuts_say_where(slack: FakeSlack, alice: str, general: str, card: str) -> None:
    def names(payload: Json) -> tuple[Any, ...]:
        return payload["command"], payload["text"], payload["channel_name"], payload["user_id"]

    assert names(slack.command(alice, general, "/ask", "what").payload) == ("/ask", "what", "general", alice)
    assert names(slack.command(alice, slack.dm(alice), "/ask").payload) == ("/ask", "", "directmessage", alice)
    everywhere = slack.shortcut(alice, "new").payload
    assert (everywhere["type"], everywhere["callback_id"], "channel" in everywhere) == ("shortcut", "new", False)
    of_message = slack.shortcut(alice, "sum_up", channel=general, ts=card).payload
    assert (of_message["type"], of_message["message"]["ts"]) == ("message_action", card)
