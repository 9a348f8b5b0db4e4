"""The examples of docs/how-to/callable.md, run as they stand there."""

import re
import sys
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from gatewayd.agents.callable import CallableSettings, open_callable
from gatewayd.ports.agent import AgentConfig, Turn
from tests.hub.house import House, Script, open_house

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "callable.md"


@pytest.fixture
def example(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The object to configure: the page's module of the name that the test gives, in a directory on the path."""
    modules = dict(re.findall(r"^```python\n# (\w+)\.py\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE))
    name: str = request.param
    (tmp_path / f"{name}.py").write_text(modules[name])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return f"{name}:agent"


async def script(example: str) -> Script:
    async with open_callable(AgentConfig("assistant", CallableSettings(object=example)), None) as core:  # type: ignore[arg-type]

        async def run(turn: Turn) -> str:
            return (await core.run(turn)).text

        return run


async def say(house: House, text: str) -> None:
    await house.say(text)
    await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize("example", ["greeter"], indirect=True)
async def test_the_first_one_greets(example: str, tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path / "state", await script(example)) as house:
        await say(house, "good morning")
        assert house.texts == ["Hello 7. You said: good morning"]


@pytest.mark.parametrize("allow", [True, False])
@pytest.mark.parametrize("example", ["cleaner"], indirect=True)
async def test_the_second_one_asks_the_operator_and_does_what_was_shown(example: str, tmp_path: Path, allow: bool) -> None:
    with trio.fail_after(30):
        async with open_house(tmp_path / "state", await script(example)) as house:
            row = await house.say("nowhere; echo injected")
            await trio.testing.wait_all_tasks_blocked()
            [approval] = await house.desk.list()
            assert approval.input == """{"command":"du -sh 'nowhere; echo injected'"}"""
            await house.desk.decide(approval.id, allow=allow, by="operator:me")
            await house.ended(row)
            assert house.texts[-1] == ("It said nothing." if allow else "I did not run it: denied.")


@pytest.mark.parametrize(("answer", "reply"), [("Lisbon", "I found three trips to Lisbon."), (None, "Then not.")])
@pytest.mark.parametrize("example", ["packer"], indirect=True)
async def test_the_third_one_asks_the_user(
    example: str, tmp_path: Path, autojump_clock: MockClock, answer: str | None, reply: str
) -> None:
    async with open_house(tmp_path / "state", await script(example)) as house:
        row = await house.say("I want to travel")
        await trio.testing.wait_all_tasks_blocked()
        assert "Where to?" in house.texts[0]
        if answer is not None:
            await house.say(answer)
            await trio.testing.wait_all_tasks_blocked()
            assert "Looking for trips to Lisbon." in house.texts
        await house.ended(row)
        assert house.texts[-1] == reply
