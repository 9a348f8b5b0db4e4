"""The examples, run as a user would run them: against the scripted model, with an operator who decides."""

import os
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path

import pytest
import trio

from gatewayd.agents.callable import CallableSettings, open_callable
from gatewayd.config import load_config
from gatewayd.hub.turns.outcome import SORRY_FAILED
from gatewayd.plugins import Registry
from gatewayd.ports.agent import AgentConfig, AgentCore, Turn
from tests.fakes.model_server import MODEL, ModelServer
from tests.hub.house import House, ScriptedAgents, open_house

EXAMPLES = Path(__file__).parents[2] / "contrib" / "examples"


@pytest.fixture
async def model() -> AsyncIterator[ModelServer]:
    async with ModelServer.serve() as server:
        yield server


@pytest.fixture
async def project(tmp_path: Path, model: ModelServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which the agent works."""
    directory = tmp_path / "project"
    directory.mkdir()
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OPENAI_BASE_URL", model.url)
    monkeypatch.setenv("OPENAI_API_KEY", "canary-key")
    monkeypatch.setenv("OPENAI_MODEL", MODEL)
    monkeypatch.setenv("AGENT_DIRECTORY", str(directory))
    return directory


@pytest.mark.parametrize("number", [0, 1])
def test_the_configurations_can_stand(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    (tmp_path / "openai.key").write_text("canary-0123456789")
    file = tmp_path / "gatewayd.toml"
    file.write_text(re.findall(r"^```toml\n(.*?)^```", (EXAMPLES / "README.md").read_text(), re.DOTALL | re.MULTILINE)[number])
    assert len(load_config(file, Registry.installed(), {}).agents) == 1


class OneAgent(ScriptedAgents):
    """The example as the only agent, with the session ids that its core gives."""

    def __init__(self, core: AgentCore) -> None:
        super().__init__(self._run)
        self._core = core

    async def _run(self, turn: Turn) -> str:
        return (await self._core.run(turn)).text

    async def new_session(self, session_key: str) -> str:
        return await self._core.new_session(session_key)


@asynccontextmanager
async def house_of(state_dir: Path) -> AsyncIterator[House]:
    """A hub whose agent is the example. Everything has to be over in a minute, threads included."""
    agent = AgentConfig("assistant", CallableSettings(object="openagentic_in_process:agent"))
    with trio.fail_after(60):
        async with (
            open_callable(agent, None) as core,  # type: ignore[arg-type]
            open_house(state_dir, agents=OneAgent(core)) as house,
        ):
            yield house
    for thread in threads():
        thread.join(10)
        assert not thread.is_alive()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("openagentic")]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Threads and processes are at work: there is nothing of Trio's to wait for."""
    while not await condition():  # noqa: ASYNC110
        await trio.sleep(0.01)


async def decide(house: House, *, allow: bool, note: str | None = None, tool: str = "Bash") -> str:
    """Wait for the one request there is, decide it, and return its input."""

    async def is_asked() -> bool:
        return len(await house.desk.list()) == 1

    await until(is_asked)
    [approval] = await house.desk.list()
    assert approval.tool == tool
    await house.desk.decide(approval.id, allow=allow, by="operator:me", note=note)
    return approval.input


async def test_a_text_is_streamed_and_remembered(tmp_path: Path, project: Path, model: ModelServer) -> None:
    async with house_of(tmp_path / "state") as house:
        await house.ended(await house.say("say hello there"))
        await house.ended(await house.say("say and again"))
        assert house.texts == ["hello there", "and again"]
    assert "previous_response_id" in model.requests[1].body or len(model.requests[1].body["input"]) > 2


async def test_a_command_runs_when_it_is_allowed(tmp_path: Path, project: Path, model: ModelServer) -> None:
    async with house_of(tmp_path / "state") as house:
        row = await house.say("run pwd; env | grep -c KEY; echo once >> ran")
        assert '"command":"pwd; env | grep -c KEY; echo once >> ran"' in await decide(house, allow=True)
        await house.ended(row)
        assert str(project) in house.texts[-1]
        assert '"exit_code": 0' in house.texts[-1]
    assert (project / "ran").read_text() == "once\n"
    assert f"{project}\\n0\\n" in house.texts[-1], "no key is in its environment"


async def test_a_command_does_not_run_when_it_is_denied(tmp_path: Path, project: Path, model: ModelServer) -> None:
    async with house_of(tmp_path / "state") as house:
        row = await house.say("run touch ran")
        await decide(house, allow=False, note="not today")
        await house.ended(row)
        assert "PermissionDenied" in house.texts[-1]
        assert "denied: not today" in house.texts[-1]
    assert not (project / "ran").exists()


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("Grep", {"query": ".", "file_glob": "*/*.py"}),
        ("Grep", {"query": ".", "root": "sub"}),
        ("Grep", {"query": ".", "root": "HERE", "path": None}),
        ("Glob", {"pattern": "**/*.py", "path": "sub/../sub"}),
        ("Glob", {"pattern": "to_sub/*"}),
        ("Read", {"file_path": "sub/a.py"}),
        ("Skill", {"name": "any"}),
    ],
)
def test_reading_inside_the_directory_is_not_asked_about(
    tool: str, arguments: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stays_inside(tmp_path, monkeypatch, tool, arguments)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("Grep", {"query": ".", "root": "OUTSIDE"}),
        ("Grep", {"query": ".", "path": "OUTSIDE"}),
        ("Grep", {"query": ".", "root": "sub", "path": "OUTSIDE"}),
        ("Grep", {"query": ".", "root": ".."}),
        ("Grep", {"query": ".", "root": "sub/../.."}),
        ("Grep", {"query": ".", "root": " .. "}),
        ("Grep", {"query": ".", "file_glob": "../secrets/*"}),
        ("Grep", {"query": ".", "file_glob": "sub/../../secrets/*"}),
        ("Grep", {"query": ".", "root": "HERE", "file_glob": "../secrets/*"}),
        ("Grep", {"query": ".", "file_glob": "OUTSIDE/*"}),
        ("Grep", {"query": ".", "file_glob": None}),
        ("Grep", {"query": ".", "root": ["OUTSIDE"], "file_glob": "../../../*"}),
        ("Grep", {"query": ".", "root": "links/directory"}),
        ("Grep", {"query": "."}),
        ("Grep", {"query": ".", "root": "links", "file_glob": "*"}),
        ("Grep", {"query": ".", "root": "links", "file_glob": "**/*"}),
        ("Grep", {"query": ".", "file_glob": "links/directory/*"}),
        ("Grep", {"query": ".", "root": "links/circle"}),
        ("Grep", {"query": ".", "root": "\0"}),
        ("Grep", {"query": ".", "root": "/proc/self", "file_glob": "environ"}),
        ("Grep", {"query": ".", "root": f"/proc/{os.getpid()}", "file_glob": "cmdline"}),
        ("Glob", {"pattern": "*", "root": "/"}),
        ("Glob", {"pattern": "../*"}),
        ("Glob", {"pattern": "links/directory/*"}),
        ("Glob", {}),
        ("Read", {"file_path": "/proc/self/environ"}),
        ("Read", {"filePath": "links/token"}),
        ("Skill", {"name": "any", "project_dir": "OUTSIDE"}),
        ("Skill", {"name": "any", "project_dir": "with_skill"}),
        ("List", {"path": "sub"}),
        ("Write", {"file_path": "sub/a.py"}),
    ],
)
def test_reading_anywhere_else_is_asked_about(
    tool: str, arguments: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not stays_inside(tmp_path, monkeypatch, tool, arguments)


def stays_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str, arguments: dict[str, object]) -> bool:
    """What the example says, in a directory beside which there is a secret, with links to it in ``links``."""
    monkeypatch.syspath_prepend(EXAMPLES)
    here, outside = tmp_path / "here", tmp_path / "secrets"
    for directory in (outside, here / "sub", here / "links", here / "with_skill" / ".claude" / "skills" / "any"):
        directory.mkdir(parents=True)
    (outside / "token").write_text("canary")
    (here / "sub" / "a.py").touch()
    (here / "links" / "token").symlink_to(outside / "token")
    (here / "with_skill" / ".claude" / "skills" / "any" / "SKILL.md").symlink_to(outside / "token")
    (here / "to_sub").symlink_to("sub")
    (here / "links" / "directory").symlink_to(outside)
    (here / "links" / "circle").symlink_to("circle")
    named = {
        key: value.replace("OUTSIDE", str(outside)).replace("HERE", str(here / "sub")) if isinstance(value, str) else value
        for key, value in arguments.items()
    }
    return bool(import_module("openagentic_in_process").stays_inside(str(here), tool, named))


async def test_a_search_outside_its_directory_waits_for_the_operator(tmp_path: Path, project: Path, model: ModelServer) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "token").write_text("canary-token")
    (project / "note").write_text("a note in the project")
    async with house_of(tmp_path / "state") as house:
        await house.ended(await house.say('call Grep {"query": "note"}'))
        assert "a note in the project" in house.texts[-1]
        row = await house.say(f'call Grep {{"query": "canary", "root": "{secrets}"}}')
        assert str(secrets) in await decide(house, allow=False, tool="Grep")
        await house.ended(row)
        assert "PermissionDenied" in house.texts[-1]
        assert "canary-token" not in house.texts[-1]


async def test_a_question_is_put_to_the_user(tmp_path: Path, project: Path, model: ModelServer) -> None:
    async with house_of(tmp_path / "state") as house:
        row = await house.say("ask Which colour? | Red | Blue")

        async def is_asked() -> bool:
            return any("Which colour?" in text for text in house.texts)

        await until(is_asked)
        await house.say("Blue")
        await house.ended(row)
        assert '"Which colour?": "Blue"' in house.texts[-1]


async def test_a_stopped_turn_cuts_its_answer(tmp_path: Path, project: Path, model: ModelServer) -> None:
    async with house_of(tmp_path / "state") as house:
        row = await house.say("slow one two")
        await model.wait_held("one two")
        assert len(threads()) == 1
        await house.say("/stop")
        await house.ended(row)
        await model.wait_requests(lambda requests: requests[0].end == "aborted")
    assert len(model.requests) == 1


async def test_a_stopped_turn_gives_up_its_request(tmp_path: Path, project: Path, model: ModelServer) -> None:
    async with house_of(tmp_path / "state") as house:
        row = await house.say("run touch ran")

        async def is_asked() -> bool:
            return len(await house.desk.list()) == 1

        await until(is_asked)
        await house.say("/stop")
        await house.ended(row)
        assert [approval.state for approval in await house.desk.list(state=None)] == ["withdrawn"]
    assert not (project / "ran").exists()


async def test_a_stopped_turn_kills_its_command(tmp_path: Path, project: Path, model: ModelServer) -> None:
    async with house_of(tmp_path / "state") as house:
        row = await house.say("run echo $$ > pid; sleep 50 & sleep 50; touch ran")
        await decide(house, allow=True)

        async def is_running() -> bool:
            return (project / "pid").exists() and (project / "pid").read_text() != ""

        await until(is_running)
        group = int((project / "pid").read_text())
        os.killpg(group, 0)
        await house.say("/stop")
        await house.ended(row)
    assert not (project / "ran").exists()
    assert not is_alive(group)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("script", "reason"),
    [("fail 500", "the model answers 500"), ("cut half", "broke off in the middle"), ("reset half", "Connection reset")],
)
async def test_a_model_that_fails_fails_the_turn(
    tmp_path: Path, project: Path, model: ModelServer, script: str, reason: str
) -> None:
    async with house_of(tmp_path / "state") as house:
        await house.ended(await house.say(script))
        assert house.texts == [SORRY_FAILED]
        [error] = house.agents.errors
        assert reason in error
        assert "bug" not in error
        await house.ended(await house.say("say it goes on"))
        assert house.texts[-1] == "it goes on"


async def test_what_is_not_configured_is_named(
    tmp_path: Path, project: Path, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_MODEL")
    async with house_of(tmp_path / "state") as house:
        await house.ended(await house.say("hello"))
        assert house.agents.errors == ["the environment variable OPENAI_MODEL is not set"]
