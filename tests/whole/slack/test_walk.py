"""A new user's way: from a configuration to answers in threads and direct messages, and what status and traces say of them."""

import json
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path

import pytest
import trio

from tests.fakes.slack_platform import Json
from tests.whole.process import Daemon, daemon
from tests.whole.slack.rig import Workspace, connected, events, gatewayctl, lacks_of

pytestmark = pytest.mark.slow

ASKS = """
core = "callable"
object = "tests.whole.scripted.asker:paint"
[agents.assistant.approvals]
ask = ["ops"]
[approvals.groups.ops]
people = ["slack:{bob}"]
chats = ["origin"]
"""
READS = 'core = "callable"\nobject = "tests.whole.scripted.reader:read_files"'
PAIRING = 'dm_policy = "pairing"'


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Workspace]:
    with trio.fail_after(60):
        async with Workspace.serve(tmp_path) as place:
            yield place


async def test_a_mention_is_answered_in_its_thread_and_every_view_tells_so(place: Workspace, tmp_path: Path) -> None:
    slack = place.slack
    async with daemon(tmp_path / "state", place.configuration()) as gateway:
        await slack.wait_connections(2)
        slack.say(place.alice, place.general, "not for the bot")
        asked = slack.say(place.alice, place.general, f"{place.mention} hello **world**")
        assert await place.wait_said(place.general, 1, thread=asked) == ["hello world"]
        slack.say(place.bob, place.general, "and without a mention?", thread=asked)
        assert await place.wait_said(place.general, 2, thread=asked) == ["hello world", "and without a mention?"]
        assert len(place.said(place.general)) == 2
        await slack.wait_delivered()
        assert set(slack.outcomes()) == {"delivered"}

        ends = await wait_ends(gateway, 3)
        assert sorted(ends) == ["answered", "answered", "not_addressed"]
        snapshot = await gateway.wait_status(connected)
        assert (snapshot.problems, lacks_of(snapshot)) == ((), {})
        assert snapshot.accounts[0].identity == "@gatebot in Home"
        assert (await gatewayctl(gateway, "status")).startswith("healthy: 1 account connected")
        [listed] = [line for line in (await gatewayctl(gateway, "channels", "list")).splitlines() if "slack/main" in line]
        assert "connected" in listed
        traced = await gatewayctl(gateway, "trace", f"slack/main/{place.general}:{asked}")
        assert ("answered" in traced, "sent" in traced) == (True, True)
        assert await gateway.stop() == 0
    for secret in (slack.bot_token, slack.app_token):
        assert secret not in gateway.log.read_text()


async def test_a_stranger_is_paired_and_then_answered_in_a_direct_message(place: Workspace, tmp_path: Path) -> None:
    slack = place.slack
    async with daemon(tmp_path / "state", place.configuration(place.account(more=PAIRING))) as gateway:
        await slack.wait_connections()
        slack.say(place.alice, place.dm, "let me in")
        [told] = await place.wait_said(place.dm, 1)
        pending = json.loads(await gatewayctl(gateway, "pairing", "list", "--json"))["pending"]
        assert pending[0]["code"] in told
        await gatewayctl(gateway, "pairing", "approve", pending[0]["code"])
        await place.wait_said(place.dm, 2)
        slack.say(place.alice, place.dm, "hello")
        assert (await place.wait_said(place.dm, 3))[2] == "hello"


async def test_an_edit_of_a_message_that_waits_is_answered_and_one_with_nothing_new_is_not(
    place: Workspace, tmp_path: Path
) -> None:
    slack = place.slack
    agent = 'core = "callable"\nobject = "tests.whole.scripted.asker:paint"'
    async with daemon(tmp_path / "state", place.configuration(agent=agent)) as gateway:
        await slack.wait_connections()
        asked = slack.say(place.alice, place.general, f"{place.mention} hello")
        await place.wait_button(place.general, "Blue")
        for touch in ("unfurl", "thread", "language", "attachments", "pin"):
            slack.touch(place.general, asked, touch)
        slack.replied(place.general, asked)
        edited = slack.edit(place.general, asked, f"{place.mention} hello again")
        await slack.wait_delivered()
        await wait_kinds(gateway, {"message": 1, "edit": 1})
        key = f"{slack.team}:{place.general}:{asked}:{edited}"
        assert "hello again" in await gatewayctl(gateway, "trace", key)


async def test_a_question_and_a_permission_are_answered_by_buttons(place: Workspace, tmp_path: Path) -> None:
    slack, text = place.slack, place.configuration(agent=ASKS.format(bob=place.bob))
    async with daemon(tmp_path / "state", text) as gateway:
        await slack.wait_connections()
        asked = slack.say(place.alice, place.general, f"{place.mention} paint it")
        question = await place.wait_button(place.general, "Blue")
        place.press(place.alice, place.general, question, "Blue")
        prompt = await place.wait_button(place.general, "Allow once")
        assert "Answer: Blue" in "".join(place.said(place.general, thread=asked))
        place.press(place.alice, place.general, prompt, "Allow once")
        await slack.wait_until(lambda: any("may not" in text for text in place.whispers(place.general)))
        place.press(place.bob, place.general, prompt, "Allow once")
        await place.wait_text(place.general, "Blue: allowed", thread=asked)
        await place.wait_text(place.general, f"Allowed by slack:{place.bob}", thread=asked)
        assert [text for text in place.said(place.general) if text == "Blue: allowed"] == ["Blue: allowed"]
        entries = (await gateway.get("/v1/audit?limit=100"))["entries"]
        assert isinstance(entries, list)
        refused = [entry["actor"] for entry in entries if entry["action"] == "approval.refused"]
        assert refused == [f"slack:{place.alice}"]


async def test_a_slash_command_and_a_shortcut(place: Workspace, tmp_path: Path) -> None:
    slack = place.slack
    async with daemon(tmp_path / "state", place.configuration()) as gateway:
        await slack.wait_connections()
        slack.command(place.alice, place.general, "/gate", "how *are* you")
        [answer] = await slack.wait_answers(place.general)
        assert answer["text"] == "/gate how are you"
        slack.command(place.alice, place.general, "/status")
        await slack.wait_answers(place.general, 2)
        assert "assistant" in slack.answers(place.general)[1]["text"]
        await slack.wait_delivered()
        assert set(slack.outcomes()) == {"delivered"}
        await wait_kinds(gateway, {"command": 2})


async def test_a_file_is_read_and_a_long_reply_is_whole(place: Workspace, tmp_path: Path) -> None:
    slack = place.slack
    async with daemon(tmp_path / "state", place.configuration(agent=READS)):
        await slack.wait_connections()
        content = "".join(f"{number:04d} " for number in range(199))
        file = slack.file(place.alice, "notes.txt", content.encode())
        slack.say(place.alice, place.dm, "read this", files=[file])
        assert "".join(await place.wait_said(place.dm, 1)).split() == f"notes.txt: {content}".split()


async def test_a_long_reply_comes_whole_in_order_and_with_its_marks(place: Workspace, tmp_path: Path) -> None:
    slack, long = place.slack, "\n\n".join(f"paragraph {number} & " + "word " * 300 for number in range(8))
    async with daemon(tmp_path / "state", place.configuration()):
        await slack.wait_connections()
        slack.rate_limit("chat.postMessage", 1, times=1, when=third())
        slack.say(place.alice, place.dm, long)
        while "".join("".join(place.said(place.dm)).split()) != "".join(long.split()):
            await place.wait_said(place.dm, len(place.said(place.dm)) + 1)
        assert len(place.said(place.dm)) > 2
        assert len(slack.calls("chat.postMessage")) == len(place.said(place.dm)) + 1


async def test_events_by_http(tmp_path: Path) -> None:
    async with Workspace.serve(tmp_path, mode="events") as place:
        slack = place.slack
        with trio.fail_after(60):
            text = place.configuration(place.account(mode="events", more=PAIRING))
            async with daemon(tmp_path / "state", text) as gateway:
                await gateway.wait_status(connected)
                url = f"{gateway.url}/v1/webhooks/slack/main"
                slack.set_request_urls(url)
                assert await slack.verify_request_url(url)
                asked = slack.say(place.alice, place.general, f"{place.mention} hello")
                assert await place.wait_said(place.general, 1, thread=asked) == ["hello"]
                slack.say(place.alice, place.dm, "let me in")
                [told] = await place.wait_said(place.dm, 1)
                assert "pairing" in told
                slack.command(place.alice, place.general, "/gate", "by form")
                assert [answer["text"] for answer in await slack.wait_answers(place.general)] == ["/gate by form"]
                await slack.wait_delivered()
                assert set(slack.outcomes()) == {"delivered"}
                slack.sign_with(skew_seconds=-400)
                assert not await slack.verify_request_url(url)
                async with gateway.client() as client:
                    unsigned = await client.post("/v1/webhooks/slack/main", json={"type": "url_verification", "challenge": "c"})
                assert unsigned.status_code == 401
                assert "slack/main" in await gatewayctl(gateway, "status")
                assert await gateway.stop() == 0
            assert slack.signing_secret not in gateway.log.read_text()


def third() -> Callable[[Json], bool]:
    """Holds for the third call."""
    seen = count()
    return lambda params: next(seen) == 2


async def wait_ends(gateway: Daemon, number: int) -> list[str]:
    """Why messages ended, once so many did."""
    while True:
        ends = [one["data"]["reason"] for one in await events(gateway) if one["kind"] != "inbound.received"]
        if len(ends) >= number:
            return ends


async def wait_kinds(gateway: Daemon, kinds: dict[str, int]) -> None:
    """Until exactly so many messages of each kind have come."""
    while True:
        received = [one["data"]["event_kind"] for one in await events(gateway) if one["kind"] == "inbound.received"]
        if len(received) >= sum(kinds.values()):
            assert {kind: received.count(kind) for kind in received} == kinds
            return
