"""The fake against the real slack_bolt and slack_sdk, in a process of their own: Socket Mode, HTTP, and the Web API."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from tests.fakes.slack_platform import FakeSlack, Json

SCRIPT = Path(__file__).with_name("slack_client.py")
PATIENCE_SECONDS = 60


class App:
    """The app in its process: a line of JSON out for each thing seen, a line in for each thing to do."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._lines = b""
        self.seen: list[Json] = []

    @classmethod
    @asynccontextmanager
    async def run(cls, *arguments: str, script: Path = SCRIPT) -> AsyncIterator["App"]:
        command = [sys.executable, "-W", "error", str(script), *arguments]
        with trio.fail_after(PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                process = await nursery.start(_process, command)
                yield cls(process)
                nursery.cancel_scope.cancel()

    async def see(self, name: str) -> Json:
        """What comes next with this name in it."""
        while True:
            line = await self._line()
            self.seen.append(line)
            if name in line:
                return line

    async def do(self, what: str, **more: Any) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(msgspec.json.encode({"do": what, **more}) + b"\n")

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    async def _line(self) -> Json:
        assert self._process.stdout is not None
        while b"\n" not in self._lines:
            data = await self._process.stdout.receive_some(65536)
            assert data, "the app ended"
            self._lines += data
        line, _, self._lines = self._lines.partition(b"\n")
        return msgspec.json.decode(line, type=Json)


async def _process(command: list[str], *, task_status: trio.TaskStatus[trio.Process]) -> None:
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        task_status.started(process)
        await process.wait()
    finally:
        with trio.CancelScope(shield=True):
            process.terminate()
            await process.wait()


async def talk(slack: FakeSlack, app: App) -> None:
    """A mention, an answer in its thread, an edit, a press and a command: the same by both ways."""
    alice = slack.add_user("alice")
    general = slack.add_channel("general", [alice])
    root = slack.say(alice, general, f"<@{slack.bot_user}> hello")
    assert (await app.see("mention"))["by"] == alice
    await slack.wait_texts(general, 2, thread=root)
    assert slack.texts(general, thread=root) == ["ready", "may I?"]
    card = slack.messages(general, thread=root)[-1]["ts"]
    press = slack.press(alice, general, card, action_id="yes")
    assert await app.see("pressed") == {"pressed": "1", "by": alice}
    assert slack.texts(general, thread=root) == ["ready", "pressed"]
    command = slack.command(alice, general, "/ask", "what now")
    assert (await app.see("command"))["command"] == "what now"
    await slack.wait_answers(general, 2)
    slack.say(alice, slack.dm(alice), "in private")
    while (await app.see("message"))["message"] != "in private":
        pass
    await slack.wait_delivered()
    assert (press.outcome, command.outcome) == ("delivered", "delivered")
    assert slack.texts(general)[-1] == "done"


@pytest.mark.slow
async def test_bolt_by_socket_mode(slack: FakeSlack) -> None:
    async with App.run("socket", slack.api_base, slack.bot_token, slack.app_token) as app:
        await slack.wait_connections()
        await talk(slack, app)
        await slack.disconnect("refresh_requested")
        await slack.wait_connections()
        bob = slack.add_user("bob")
        slack.say(bob, slack.dm(bob), "on the new connection")
        assert (await app.see("message"))["message"] == "on the new connection"


@pytest.mark.slow
async def test_bolt_by_http() -> None:
    async with (
        FakeSlack.serve(mode="events") as slack,
        App.run("http", slack.api_base, slack.bot_token, slack.signing_secret) as app,
    ):
        url = f"http://127.0.0.1:{(await app.see('port'))['port']}/slack/events"
        assert await slack.verify_request_url(url)
        slack.set_request_urls(url)
        await talk(slack, app)


@pytest.mark.slow
async def test_slack_sdk_by_the_web_api(slack: FakeSlack) -> None:
    alice = slack.add_user("alice")
    general, random = (slack.add_channel(name, [alice]) for name in ("general", "random"))
    root = slack.say(alice, general, "a question")
    for number in range(4):
        slack.say(alice, general, f"more {number}")
    async with App.run("socket", slack.api_base, slack.bot_token, slack.app_token) as app:
        await app.do("web_api", channel=general, user=alice, root=root)
        await app.see("done")
        seen = {name: line for line in app.seen for name in line}
        assert seen["streamed"] == {"streamed": True}
        assert seen["uploaded"] == {"uploaded": "a.txt"}
        assert seen["pages"] == {"pages": [2, 2, 1], "newest_first": True}
        assert seen["replies"] == {"replies": ["a question", "word word wo", "see"]}
        assert seen["mine"] == {"mine": ["general", "random"], "me": "gatebot"}
        assert (seen["dm"], seen["ephemeral"]) == ({"dm": "D"}, {"ephemeral": True})
        errors = [(line["error"], line["messages"]) for line in app.seen if "error" in line]
        assert errors == [
            ("channel_not_found", None),
            ("no_text", None),
            ("invalid_blocks", ["[ERROR] missing required field: text [json-pointer:/blocks/0]"]),
        ]
        slack.rate_limit("chat.postMessage", 1, times=1)
        await app.do("limit", channel=random)
        assert await app.see("after_limit") == {"after_limit": True, "waited": True}
        assert slack.texts(random) == ["after the limit"]
        assert slack.status(general, root) == "is thinking"
