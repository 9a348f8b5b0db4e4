"""Code of the user's own: imported anew, and where it was looked for."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from gatewayd.kit import own_code
from gatewayd.kit.own_code import load
from gatewayd.model.errors import NeedsOperator


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, and Python as it was before afterwards."""
    before = dict(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(own_code, "_there_before", {})
    yield tmp_path
    for name in sys.modules.keys() - before.keys():
        del sys.modules[name]


def write(file: Path, code: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(code)


def test_new_code_is_taken_though_its_file_looks_the_same(folder: Path) -> None:
    """Of the same size and within the same second: Python's own cache of compiled code would not see it."""
    for number in range(3):
        write(folder / "mine.py", f"agent = {number}\n")
        assert load("mine:agent") == number


def test_what_it_imports_of_the_users_is_new_too(folder: Path) -> None:
    for number in range(2):
        write(folder / "mine/__init__.py", "")
        write(folder / "mine/deep/agent.py", "import beside\nfrom mine.deep import words\nagent = beside.value, words.value\n")
        write(folder / "mine/deep/words.py", f"value = {number}\n")
        write(folder / "beside.py", f"value = {number}\n")
        assert load("mine.deep.agent:agent") == (number, number)


def test_what_is_installed_or_was_there_before_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = folder / "venv/lib/site-packages"
    monkeypatch.syspath_prepend(installed)
    write(installed / "library.py", "")
    write(folder / "early.py", "")
    __import__("early")
    write(folder / "mine.py", "import early, library, sched\nagent = early, library, sched\n")
    assert load("mine:agent") == load("mine:agent")
    assert [module.__name__ for module in load("mine:agent")] == ["early", "library", "sched"]  # type: ignore[attr-defined]


def test_a_module_that_somebody_else_imported_is_theirs(folder: Path) -> None:
    write(folder / "theirs.py", "agent = object()\n")
    module: ModuleType = __import__("theirs")
    assert load("theirs:agent") is load("theirs:agent") is module.agent


def test_after_a_mistake_the_next_try_reads_the_file_again(folder: Path) -> None:
    for code in ("agent = (", "raise SystemExit(3)", "import nothing_like_this"):
        write(folder / "mine.py", code)
        with pytest.raises(NeedsOperator):
            load("mine:agent")
    write(folder / "mine.py", "agent = 1")
    assert load("mine:agent") == 1


@pytest.mark.parametrize(
    ("code", "name", "says"),
    [
        (None, "mine:agent", "there is no module mine, neither in {folder}"),
        (None, "mine:agent", "nor installed for {python}"),
        ("", "mine.deep:agent", "there is no module mine.deep"),
        ("import nothing_like_this", "mine:agent", "mine imports nothing_like_this, which is not installed for {python}"),
        ("def answer(): ...", "mine:agent", "{folder}/mine.py has no agent; it has answer"),
        ("answer = 1", "mine:answer.real.nothing", "{folder}/mine.py has no answer.real.nothing"),
        ("raise KeyboardInterrupt", "mine:agent", "cannot be loaded: KeyboardInterrupt"),
        ("1 / 0", "mine:agent", "cannot be loaded: ZeroDivisionError: division by zero"),
    ],
)
def test_it_says_where_it_looked_and_what_it_found(folder: Path, code: str | None, name: str, says: str) -> None:
    if code is not None:
        write(folder / "mine.py", code)
    with pytest.raises(NeedsOperator) as refused:
        load(name)
    assert says.format(folder=folder, python=sys.executable) in refused.value.reason
