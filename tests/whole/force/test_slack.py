"""kill -9 while people write in Slack, which is a process of its own and sends nothing again: the history has what was missed."""

from pathlib import Path
from random import Random

import pytest
import trio

from tests.fakes.slack_platform.platform import Mode
from tests.fakes.slack_platform.remote import RemoteSlack
from tests.whole.force.force import Bench
from tests.whole.process import Daemon
from tests.whole.walks import Walk, slack_account, without_notices

USERS = 8
LIVES = 4


class RemoteWalk(Walk):
    """The accounts of a Slack in another process."""

    def __init__(self, slack: RemoteSlack, mode: Mode, folder: Path) -> None:
        self.name = "slack socket" if mode == "socket" else "slack events"
        self.slack = slack
        self._folder = folder

    @property
    def accounts(self) -> str:
        return slack_account(self.slack, self.name, self._folder)

    async def attach(self, gateway: Daemon) -> None:
        await self.slack.do("set_request_urls", url=f"{gateway.url}/v1/webhooks/slack/main")

    def all_acknowledged(self) -> bool:
        return True


@pytest.mark.force
@pytest.mark.parametrize("mode", ["socket", "events"])
async def test_killed_again_and_again_while_people_write(tmp_path: Path, mode: Mode) -> None:
    """Each message is answered once, also those of the times when nobody was there."""
    rng = Random(mode)
    with trio.fail_after(180):
        async with RemoteSlack.start(mode=mode) as slack:
            await slack.do("retry_events", retrying=False)
            people = [await slack.do("add_user", name=f"user{number}") for number in range(USERS)]
            chats = [(user, await slack.do("dm", user=user)) for user in people]
            bench = Bench(RemoteWalk(slack, mode, tmp_path), tmp_path)
            said: dict[str, list[str]] = {chat: [] for _, chat in chats}

            async def write(times: int) -> None:
                for _ in range(times):
                    for user, chat in chats:
                        said[chat].append(f"{chat} {len(said[chat])}")
                        await slack.do("say", user=user, channel=chat, text=said[chat][-1])
                    await trio.sleep(rng.uniform(0.0, 0.1))

            async with bench.start() as gateway:  # before it was connected once, nothing is missed
                await bench.wait_quiet(gateway)
                await write(1)
                await bench.wait_quiet(gateway)
            for _ in range(LIVES):
                async with bench.start() as gateway, trio.open_nursery() as nursery:
                    nursery.start_soon(write, 2)
                    await trio.sleep(rng.uniform(0.0, 1.0))
                    gateway.kill()
                    await gateway.wait()
                await write(1)
            async with bench.start() as gateway:
                await write(2)
                for chat, texts in said.items():
                    await slack.do("wait_texts", channel=chat, count=len(texts))
                await bench.wait_quiet(gateway)
                assert await gateway.stop() == 0
            for chat, texts in said.items():
                seen = without_notices(await slack.do("texts", channel=chat))
                assert sorted(seen) == sorted(f"re: {text}" for text in texts)
            assert sorted(effect.text for effect in bench.effects()) == sorted(text for texts in said.values() for text in texts)
