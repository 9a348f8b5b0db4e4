"""The two scripts that guard the build: they take the README at its word, and they fail when a step fails."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ("ruff", "mypy", "lint-imports", "pytest")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A project of its own with our scripts, in which every tool is a script that says its arguments and succeeds."""
    (tmp_path / "contrib").mkdir()
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / "contrib/check", tmp_path / "contrib/check")
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    for tool in (*TOOLS, "chromium", "npm"):
        put_tool(tmp_path, tool, "echo ran $(basename $0) $*")
    for program in ("simulate", "wiring-holes"):
        put_script(tmp_path / "contrib" / program, "echo ran contrib/$(basename $0) $*")
    return tmp_path


def put_tool(clone: Path, name: str, script: str) -> None:
    put_script(clone / ".venv/bin" / name, script)


def put_script(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def run(clone: Path, script: str, *args: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": f"{clone / '.venv/bin'}:{os.environ['PATH']}"}
    return subprocess.run([clone / script, *args], cwd="/", env=env, capture_output=True, text=True, timeout=60, check=False)


def write_readme(clone: Path, commands: str) -> None:
    (clone / "README.md").write_text(
        f"# x\n\n```sh\nfalse\n```\n\n## Run the tests\n\nLike this:\n\n```sh\n{commands}\n```\n\n```sh\nfalse\n```\n"
    )


def test_check_runs_all_from_any_folder(clone: Path) -> None:
    ran = run(clone, "contrib/check")
    assert re.findall(r"^ran (.*)$", ran.stdout, re.M) == [
        "ruff format --check",
        "ruff check",
        "mypy --strict",
        "lint-imports --no-logo",
        "pytest -q -n 4",
    ]
    assert (ran.returncode, ran.stdout.splitlines()[-1]) == (0, "== all good: format lint types imports tests")


def test_check_goes_on_after_a_failure_and_names_it(clone: Path) -> None:
    put_tool(clone, "mypy", "exit 3")
    put_tool(clone, "pytest", "exit 1")
    ran = run(clone, "contrib/check")
    assert "ran lint-imports" in ran.stdout
    assert (ran.returncode, ran.stdout.splitlines()[-1]) == (1, "== failed: types tests")
    assert run(clone, "contrib/check", "lint").returncode == 0
    assert run(clone, "contrib/check", "nonsense").returncode == 1


def test_ci_runs_the_readme_s_commands_and_then_the_checks(clone: Path) -> None:
    write_readme(clone, "echo here is $PWD\necho '3 passed in 1.00s'")
    ran = run(clone, ".ci/run")
    assert ran.returncode == 0
    assert ran.stdout.startswith(f"here is {clone}\n3 passed in 1.00s\n== format\n")
    assert "ran pytest -q -n 3 -m (slow or hypothesis) and not opencode and not force" in ran.stdout.splitlines()
    assert "ran pytest -q -n 2 -m opencode" in ran.stdout.splitlines()
    assert "ran pytest -q -n 2 -m force" in ran.stdout.splitlines()
    simulated = [line for line in ran.stdout.splitlines() if line.startswith("ran contrib/simulate")]
    assert simulated == ["ran contrib/simulate --seeds 400 --jobs 2", "ran contrib/simulate --planted --jobs 2"]
    assert "ran contrib/wiring-holes" in [line.strip() for line in ran.stdout.splitlines()]
    deep = [line for line in ran.stdout.splitlines() if line.startswith("ran pytest") and " -m " not in line]
    assert len(deep) == 2, "10^5 examples for the texts, and not all the tests once more"
    for test in re.findall(r"[\w/.]+::\w+", " ".join(deep)):
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text()
    assert ran.stdout.splitlines()[-1] == "== the tests said: 3 passed in 1.00s"


@pytest.mark.parametrize("commands", ["echo '1 failed, 2 passed in 1.00s'\nexit 1", "false\necho '3 passed in 1.00s'"])
def test_ci_fails_when_a_command_of_the_readme_does(clone: Path, commands: str) -> None:
    write_readme(clone, commands)
    ran = run(clone, ".ci/run")
    assert ran.returncode == 1
    assert "== all good: format lint types imports slow opencode force simulation deep" in ran.stdout


def test_ci_fails_when_a_check_does(clone: Path) -> None:
    write_readme(clone, "echo '3 passed in 1.00s'")
    put_tool(clone, "ruff", "exit 1")
    ran = run(clone, ".ci/run")
    assert ran.returncode == 1
    assert ran.stdout.splitlines()[-1] == "== the tests said: 3 passed in 1.00s"


def test_ci_fails_without_commands(clone: Path) -> None:
    (clone / "README.md").write_text("# x\n\n```sh\ntrue\n```\n")
    ran = run(clone, ".ci/run")
    assert ran.returncode == 1
    assert "no fenced block" in ran.stderr


def test_the_readme_s_commands_use_the_lock() -> None:
    printed = subprocess.run([ROOT / ".ci/run", "--print"], capture_output=True, text=True, check=True).stdout
    assert "pytest" in printed
    assert "-c requirements.lock" in printed
