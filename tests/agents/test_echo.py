"""The echo core through a whole hub: it streams, and its demo tool really waits."""

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from gatewayd.agents.echo import PLUGIN, EchoCore, EchoSettings
from gatewayd.model.message.envelope import Attachment
from gatewayd.model.message.payload import Draft
from gatewayd.ports.agent import Turn
from tests.hub.house import open_house


def script(core: EchoCore):  # type: ignore[no-untyped-def]
    async def run(turn: Turn) -> str:
        return (await core.run(turn)).text

    return run


def test_the_manifest_names_what_exists() -> None:
    assert (PLUGIN.settings, PLUGIN.open) == ("gatewayd.agents.echo:EchoSettings", "gatewayd.agents.echo:open_echo")


async def test_it_streams_word_by_word(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, script(EchoCore(EchoSettings(word_delay_seconds=0.3)))) as house:
        await house.ended(await house.say("one two three"))
        assert house.texts == ["one two three"]
        assert [s.text for s in house.signals if isinstance(s, Draft)] == ["one ", "one two "], "the end comes as the reply"


@pytest.mark.parametrize(("allow", "said"), [(True, "Done, with the permission of operator:me"), (False, "The operator said no")])
async def test_the_demo_tool_waits_for_the_operator(tmp_path: Path, autojump_clock: MockClock, allow: bool, said: str) -> None:
    async with open_house(tmp_path, script(EchoCore(EchoSettings()))) as house:
        row = await house.say("/demo-tool tidy up")
        await trio.testing.wait_all_tasks_blocked()
        [approval] = await house.desk.list()
        assert (approval.tool, approval.input) == ("demo", '{"do":"tidy up"}')
        await house.desk.decide(approval.id, allow=allow, by="operator:me")
        await house.ended(row)
        assert house.texts[-1].startswith(said)


async def test_an_attachment_alone_is_answered(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, script(EchoCore(EchoSettings()))) as house:
        await house.ended(await house.say("", attachments=(Attachment("photo", "ref"),)))
        assert house.texts == ["You sent: photo"]
