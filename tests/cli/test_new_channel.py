"""``gatewayctl new-channel``: whole packages or nothing, and names that a package can have."""

import errno
import os
import shutil
import subprocess
import sys
from keyword import kwlist
from pathlib import Path

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from gatewayd.cli.scaffold.channel import TEMPLATE, UnusableName, check_name, files_of, write_channel
from gatewayd.plugins import Registry
from tests.cli.conftest import Ctl
from tests.installed import register

LONGEST = "a_" * 19 + "bc"
FILES = {
    "README.md",
    "gatewayd.toml",
    "pyproject.toml",
    "my_chat/__init__.py",
    "my_chat/channel.py",
    "my_chat/client.py",
    "my_chat/py.typed",
    "my_chat/settings.py",
    "my_chat/wire.py",
    "tests/test_contract.py",
}


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_whole_package_is_written(ctl: Ctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = ctl("new-channel", "my_chat")
    assert (code, err) == (0, "")
    assert "cd my_chat\n" in out
    assert files_in(tmp_path / "my_chat") == FILES
    manifest = (tmp_path / "my_chat/my_chat/__init__.py").read_text()
    assert 'id="my_chat"' in manifest
    assert 'label="My chat"' in manifest
    assert [text for _, text in files_of("my_chat") if "linechat" in text.lower()] == []
    assert not list(tmp_path.glob(".*"))


def test_into_a_folder_that_is_empty(ctl: Ctl, tmp_path: Path) -> None:
    """The folder may have been made before."""
    (tmp_path / "my_chat").mkdir()
    assert ctl("new-channel", "my_chat", "--into", str(tmp_path)).code == 0
    assert files_in(tmp_path / "my_chat") == FILES


@pytest.mark.parametrize("there", ["a file", "a folder", "a link", "a broken link"])
def test_nothing_is_overwritten(ctl: Ctl, tmp_path: Path, there: str) -> None:
    target = tmp_path / "my_chat"
    match there:
        case "a file":
            target.write_text("mine")
        case "a folder":
            target.mkdir()
            (target / "mine").write_text("mine")
        case "a link":
            (tmp_path / "elsewhere").mkdir()
            target.symlink_to("elsewhere")
        case _:
            target.symlink_to("nowhere")
    before = sorted(os.walk(tmp_path))
    code, out, err = ctl("new-channel", "my_chat", "--into", str(tmp_path))
    assert (code, out) == (1, "")
    assert err.startswith(f"gatewayctl: {target} is there already, and was not changed: choose another name")
    assert sorted(os.walk(tmp_path)) == before


def test_a_folder_that_is_none(ctl: Ctl, tmp_path: Path) -> None:
    code, _, err = ctl("new-channel", "my_chat", "--into", str(tmp_path / "nowhere"))
    assert (code, err) == (1, f"gatewayctl: {tmp_path}/nowhere is no folder: make it first, or name another one with --into.\n")


def test_a_full_disk_leaves_nothing(ctl: Ctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Path.write_text

    def until_full(self: Path, text: str, *rest: str) -> int:
        if self.name == "wire.py":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written(self, text, *rest)

    monkeypatch.setattr(Path, "write_text", until_full)
    code, _, err = ctl("new-channel", "my_chat", "--into", str(tmp_path))
    assert (code, err) == (1, f"gatewayctl: {tmp_path}/my_chat cannot be written: No space left on device.\n")
    assert files_in(tmp_path) == set()
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


def test_what_appears_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the end somebody else writes there."""
    rename = os.rename

    def late(old: Path, new: Path) -> None:
        new.mkdir()
        (new / "mine").write_text("mine")
        rename(old, new)

    monkeypatch.setattr(os, "rename", late)
    with pytest.raises(Exception, match="cannot be written: Directory not empty"):
        write_channel("my_chat", tmp_path)
    assert files_in(tmp_path) == {"my_chat/mine"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Telegram", "is no name of a package: use a-z"),
        ("my-chat", "is no name of a package: use a-z"),
        ("../chat", "is no name of a package: use a-z"),
        ("chat_", "is no name of a package: use a-z"),
        ("chat\n", "is no name of a package: use a-z"),
        ("é", "is no name of a package: use a-z"),
        (LONGEST + "d", "is no name of a package: use a-z"),
        ("telegram", "a channel 'telegram' is installed already"),
        ("webhooks", "is a word of gatewayd's own addresses"),
        ("class", "is a word or a module of Python here"),
        ("json", "is a word or a module of Python here"),
        ("trio", "is a word or a module of Python here"),
        ("gatewayd", "is a word or a module of Python here"),
        ("tests", "is a word or a module of Python here"),
    ],
)
def test_names_that_cannot_be(ctl: Ctl, tmp_path: Path, name: str, said: str) -> None:
    code, out, err = ctl("new-channel", name, "--into", str(tmp_path))
    assert (code, out) == (64, "")
    assert said in err
    assert list(tmp_path.iterdir()) == [tmp_path / "state"]


@given(st.text(max_size=45) | st.from_regex(r"\A[a-z_][a-z0-9_]{0,41}\Z") | st.sampled_from(kwlist))
def test_a_name_is_refused_or_makes_a_package(name: str) -> None:
    try:
        check_name(name, set())
    except UnusableName as error:
        said = str(error)
        event(said.partition("is")[2])
    else:
        said = repr(name)
        assert name.isidentifier()
        assert name == name.lower()
        assert len(name) <= 40
        paths = {str(path) for path, _ in files_of(name)}
        assert {f"{name}/__init__.py", "tests/test_contract.py"} <= paths
    assert repr(name) in said


@given(st.from_regex(r"\A[a-z][a-z0-9]{0,38}[0-9]\Z"))
def test_ordinary_names_are_taken(name: str) -> None:
    assume(name not in sys.stdlib_module_names)
    check_name(name, set())


def test_what_tools_leave_in_the_template_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip compiles what it installs."""
    template = tmp_path / TEMPLATE.name
    shutil.copytree(TEMPLATE, template)
    (template / "linechat" / "__pycache__").mkdir(exist_ok=True)
    (template / "linechat" / "__pycache__" / "wire.pyc").write_bytes(b"\xff")
    monkeypatch.setattr("gatewayd.cli.scaffold.channel.TEMPLATE", template)
    assert files_in(write_channel("my_chat", tmp_path)) == FILES


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x", LONGEST])
def test_the_package_passes_its_checks_and_its_contract(name: str, tmp_path: Path) -> None:
    """Whatever the name's length."""
    check_name(name, Registry.installed().channel_ids)
    folder = write_channel(name, tmp_path)
    register((folder / "pyproject.toml").read_text(), folder)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    for command in ("ruff check", "ruff format --check", "mypy --strict .", "pytest -q -W error"):
        program, *arguments = command.split()
        done = subprocess.run(
            [sys.executable, "-m", program, *arguments],
            cwd=folder,
            env={key: value for key, value in environment.items() if not key.startswith("PYTEST_")},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
