"""The guides for authors of channels and agent cores: their code is what there is, and their commands are typed here.

Only ``pip`` is ours: it registers the entry points of the package as an installation does, and downloads nothing.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import trio

from tests.installed import register

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```", re.DOTALL | re.MULTILINE)
SECONDS = 120.0


class Guide:
    """A page, and the folder that its reader has made of it."""

    def __init__(self, page: str, folder: Path) -> None:
        self.folder = folder
        text = (ROOT / "docs" / "how-to" / f"{page}.md").read_text()
        self.parts: list[tuple[str, str]] = []
        self.commands: list[str] = []
        for language, path, block in FENCE.findall(text):
            if path:
                self.parts.append((path, block))
            elif language == "sh":
                self.commands += block.splitlines()

    def files(self) -> dict[str, str]:
        """What the reader's folder has."""
        found = [path for path in self.folder.rglob("*") if path.is_file() and path.suffix in (".py", ".toml")]
        return {str(path.relative_to(self.folder)): path.read_text() for path in found}

    def environment(self) -> dict[str, str]:
        ours = ("GATEWAYD_", "XDG_", "PYTEST_", "STATE_DIRECTORY", "NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**kept, "PATH": path, "PYTHONPATH": str(self.folder), "HOME": str(self.folder), "PYTHONUNBUFFERED": "1"}

    def next_command(self, *beginning: str) -> str:
        """The page's next command, which begins with these words."""
        command = self.commands.pop(0)
        assert tuple(shlex.split(command)[: len(beginning)]) == beginning
        return command

    def type(self, *beginning: str) -> str:
        """Run the next command to its end. Returns what it printed."""
        done = subprocess.run(
            self.next_command(*beginning),
            shell=True,
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self) -> None:
        """What ``pip install -e`` does with the entry points."""
        self.next_command("pip", "install", "-e")
        register(self.files()["pyproject.toml"], self.folder)


def lines_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


@pytest.fixture
def channel(tmp_path: Path) -> Guide:
    """Its first command writes everything."""
    guide = Guide("write-a-channel", tmp_path)
    guide.type("gatewayctl", "new-channel")
    guide.folder = tmp_path / guide.next_command("cd").removeprefix("cd ")
    return guide


@pytest.fixture
def core(tmp_path: Path) -> Guide:
    """Its reader copies the files. Parts of a file come in order, and apart by blank lines."""
    guide = Guide("write-an-agent-core", tmp_path)
    for path, part in guide.parts:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{file.read_text()}\n\n{part}" if file.exists() else part)
    return guide


@pytest.fixture(params=["channel", "core"])
def guide(request: pytest.FixtureRequest) -> Guide:
    found: Guide = request.getfixturevalue(request.param)
    return found


def test_the_page_has_the_whole_core(core: Guide) -> None:
    example = Guide("write-an-agent-core", ROOT / "contrib" / "examples" / "lineagent")
    assert {path: lines_of(text) for path, text in core.files().items()} == {
        path: lines_of(text) for path, text in example.files().items()
    }


def test_each_part_on_the_page_is_in_the_channel_that_the_command_writes(channel: Guide) -> None:
    files = channel.files()
    assert len(channel.parts) > 5
    assert [part for path, part in channel.parts if part not in files[path]] == []


def test_what_the_page_names_in_the_channel_is_there(channel: Guide) -> None:
    """But the object with routes, which the page itself shows."""
    page = (ROOT / "docs/how-to/write-a-channel.md").read_text()
    named = set(re.findall(r"\blinechat\.(\w+):(\w+)", page)) - {("http", "ROUTES")}
    files = channel.files()
    assert len(named) == 2
    assert [name for module, name in named if not re.search(rf"(class|def) {name}\b", files[f"linechat/{module}.py"])] == []


@pytest.mark.parametrize(("fixture", "at_most"), [("channel", 150), ("core", 150)])
def test_the_example_is_small(fixture: str, at_most: int, request: pytest.FixtureRequest) -> None:
    """Lines of code of the package, without a client: neither blank, nor comment, nor docstring."""
    guide: Guide = request.getfixturevalue(fixture)
    package = [text for path, text in guide.files().items() if path.startswith("line") and not path.endswith("client.py")]
    code = [line for text in package for line in lines_of(re.sub(r'"""(.|\n)*?"""|^ *#.*', "", text, flags=re.MULTILINE))]
    assert 50 < len(code) < at_most


@pytest.mark.slow
def test_the_contract_is_passed(guide: Guide) -> None:
    guide.install()
    assert " passed" in guide.type("pytest").splitlines()[-1]


@asynccontextmanager
async def running(guide: Guide) -> AsyncIterator[Path]:
    """gatewayd, started as the page says, but on a free port. Its state directory."""
    guide.install()
    guide.next_command("pytest")
    assert "ok" in guide.type("gatewayd", "check-config")
    command = f"exec {guide.next_command('gatewayd', '--config')} --bind 127.0.0.1:0"
    state = guide.folder / ".local" / "state" / "gatewayd"
    with (guide.folder / "log").open("w") as log:
        process = await trio.lowlevel.open_process(
            command, shell=True, cwd=guide.folder, env=guide.environment(), stdout=log, stderr=log
        )
        try:
            await until((state / "endpoint.json").exists)
            yield state
        finally:
            process.terminate()
            with trio.CancelScope(shield=True):
                await process.wait()


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110  other processes tell nobody when they are done
        await trio.sleep(0.05)


async def test_somebody_talks_to_the_channel(channel: Guide) -> None:
    with trio.fail_after(SECONDS):
        async with running(channel):
            # The socket is there a moment before anybody listens.
            await until(lambda: '"state":"connected"' in (channel.folder / "log").read_text())
            client = await trio.lowlevel.open_process(
                f"exec {channel.next_command('python', '-m', 'linechat.client')}",
                shell=True,
                cwd=channel.folder,
                env=channel.environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert client.stdin is not None
            assert client.stdout is not None
            async with client.stdin, client.stdout:
                await client.stdin.send_all(b"hello\n")
                shown = b""
                while not shown.endswith(b"\n"):  # the client writes the text and its line end one after the other
                    piece = await client.stdout.receive_some()
                    assert piece
                    shown += piece
            await client.wait()
    assert shown == b"hello\n"
    assert channel.commands == []


def wait_approval(core: Guide) -> str:
    """List the requests that wait until there is one. Its id."""
    command = core.commands[0]
    while True:
        if found := re.search(r"ap_\w+", core.type("gatewayctl", "approvals", "list")):
            return found[0]
        core.commands.insert(0, command)


@pytest.mark.slow
async def test_somebody_talks_to_the_agent(core: Guide) -> None:
    (core.folder / "photos").mkdir()
    with trio.fail_after(SECONDS):
        async with running(core) as state:
            token = (state / "token").read_text().strip()
            url = json.loads((state / "endpoint.json").read_text())["url"]
            async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
                link = await client.post("/v1/webchat/links", json={"name": "me"}, headers={"Authorization": f"Bearer {token}"})
                await client.post("/v1/webchat/login", json={"code": link.json()["code"]})
                sent = await client.post("/v1/webchat/messages?name=me", json={"id": "0123456789abcdef", "text": "photos"})
                assert sent.is_success, sent.text
                approval = await trio.to_thread.run_sync(wait_approval, core)
                core.commands[0] = core.commands[0].replace("ap_…", approval)
                await trio.to_thread.run_sync(core.type, "gatewayctl", "approvals", "allow")
                reply = ""
                while "photos</" not in reply:
                    await trio.sleep(0.05)
                    reply = (await client.get("/v1/webchat/history")).text
    assert core.commands == []
