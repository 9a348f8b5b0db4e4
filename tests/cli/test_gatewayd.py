"""The command: what a person or a unit file sees."""

import json
import os
import re
import socket
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest

from gatewayd import __version__
from gatewayd.cli.gatewayd import main
from gatewayd.config import load_config
from gatewayd.config.starter import starter_text
from gatewayd.plugins import Registry


class Result(NamedTuple):
    code: int | str | None
    out: str
    err: str


def gatewayd(*arguments: str | Path, home: Path, **env: str) -> Result:
    """The command in this process, in the folder ``home`` and with an environment of its own."""
    clean = {"PATH": os.environ["PATH"], "HOME": str(home), **env}
    code: int | str | None
    with (
        chdir(home),
        patch.dict(os.environ, clean, clear=True),
        redirect_stdout(StringIO()) as out,
        redirect_stderr(StringIO()) as err,
    ):
        try:
            code = main([*map(str, arguments)])
        except SystemExit as ended:  # argparse
            code = ended.code
    return Result(code, out.getvalue(), err.getvalue())


def as_process(*arguments: str | Path, home: Path) -> Result:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "gatewayd", *map(str, arguments)]
    env = {"PATH": os.environ["PATH"], "HOME": str(home)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env, cwd=home, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def test_version(tmp_path: Path) -> None:
    result = as_process("--version", home=tmp_path)
    assert (result.code, result.out) == (0, f"gatewayd {__version__}\n")


def test_help_names_every_command_and_where_the_configuration_is_looked_for(tmp_path: Path) -> None:
    result = gatewayd("--help", home=tmp_path)
    assert result.code == 0
    words = ("check-config", "init", "--config", "--state-dir", "--bind", "$GATEWAYD_CONFIG", "/etc/gatewayd/gatewayd.toml")
    assert [word for word in words if word not in result.out] == []


@pytest.mark.parametrize(
    "arguments", [["--nonsense"], ["frobnicate"], ["--bind", "nowhere"], ["--bind", "::1:80"], ["init", "a", "b"]]
)
def test_wrong_usage_is_exit_code_2(tmp_path: Path, arguments: list[str]) -> None:
    result = gatewayd(*arguments, home=tmp_path)
    assert result.code == 2
    assert "usage: gatewayd" in result.err
    assert "Traceback" not in result.err


def test_checking_a_good_file_prints_a_summary(tmp_path: Path) -> None:
    file = tmp_path / "g.toml"
    file.write_text(
        '[agents.a]\n[agents.b]\ndefault = true\n[channels.webchat.accounts.main]\nenabled = false\n[gateway]\nbind = "[::1]:0"\n'
    )
    result = gatewayd("check-config", file, home=tmp_path)
    assert (result.code, result.err) == (0, "")
    assert result.out == (
        f"{file}: ok\n  listens on [::1]:0, or on the sockets that systemd hands over\n"
        "  agents: a (echo), b (echo); b is the default\n"
        "  accounts: webchat/main (disabled)\n  bindings: 0\n"
    )


def test_warnings_go_beside_the_summary(tmp_path: Path) -> None:
    file = tmp_path / "g.toml"
    file.write_text("[gateway]\n")
    result = gatewayd("check-config", file, home=tmp_path)
    assert result.code == 0
    assert result.err == f"warning: {file}: no account is configured: nobody can write to an agent\n"
    assert "accounts: none" in result.out


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (None, "object = 'my_agent:agent' cannot be loaded: there is no module my_agent, neither in {elsewhere}, "),
        ("raise SystemExit(3)", "object = 'my_agent:agent' cannot be loaded: SystemExit: 3"),
        *(
            pytest.param(code, says, marks=pytest.mark.slow)
            for code, says in (
                ("", "object = 'my_agent:agent' cannot be loaded: {folder}/my_agent.py has no agent"),
                ("agent = 3", "object = 'my_agent:agent' is not callable"),
                ("def agent(turn): yield", None),
            )
        ),
    ],
)
def test_an_agent_that_cannot_be_loaded_is_warned_of(tmp_path: Path, code: str | None, says: str | None) -> None:
    file = tmp_path / "g.toml"
    file.write_text('[agents.mine]\ncore = "callable"\nobject = "my_agent:agent"\n[channels.webchat.accounts.main]\n')
    if code is not None:
        (tmp_path / "my_agent.py").write_text(code)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    result = as_process("check-config", file, home=elsewhere)
    says = says and says.format(folder=tmp_path, elsewhere=elsewhere)
    assert result.code == 0
    assert result.err.startswith("" if says is None else f"warning: {file}: [agents.mine]: {says}")
    assert len(result.err.splitlines()) == (says is not None)
    assert "mine (callable)" in result.out


def test_checking_a_bad_file_prints_every_problem(tmp_path: Path) -> None:
    file = tmp_path / "g.toml"
    file.write_text('[gatewy]\n[agents.a]\ncore = "eco"\n')
    result = gatewayd("check-config", file, home=tmp_path)
    assert (result.code, result.out) == (1, "")
    first, second = result.err.splitlines()
    assert first.startswith(f"{file}:1: [gatewy]: unknown key;")
    assert first.endswith('did you mean "gateway"?')
    assert second.startswith(
        f"{file}:3: [agents.a].core: no agent core of this kind is installed; found the text 'eco'; allowed: "
    )


def test_without_a_file_the_embedded_default_is_checked(tmp_path: Path) -> None:
    result = gatewayd("check-config", home=tmp_path)
    assert result.code == 0
    assert result.out.startswith("no file, the embedded default: ok\n")
    assert "assistant (echo)" in result.out
    assert "webchat/main" in result.out


@pytest.mark.parametrize("how", ["file", "--config", "env", "xdg"])
def test_every_way_to_name_the_file(tmp_path: Path, how: str) -> None:
    file = tmp_path / "conf" / "gatewayd" / "gatewayd.toml"
    file.parent.mkdir(parents=True)
    file.write_text("[agents.found]\n[channels.webchat.accounts.main]\n")
    match how:
        case "file":
            result = gatewayd("check-config", file, home=tmp_path)
        case "--config":
            result = gatewayd("--config", file, "check-config", home=tmp_path)
        case "env":
            result = gatewayd("check-config", home=tmp_path, GATEWAYD_CONFIG=str(file))
        case _:
            result = gatewayd("check-config", home=tmp_path, XDG_CONFIG_HOME=str(tmp_path / "conf"))
    assert result.out.startswith(f"{file}: ok")
    assert "found (echo)" in result.out


def test_running_with_a_bad_file_is_exit_code_78(tmp_path: Path) -> None:
    file = tmp_path / "g.toml"
    file.write_text("agents = 3\n")
    result = as_process("--config", file, home=tmp_path)
    assert (result.code, result.out) == (78, "")
    assert result.err.startswith(f"{file}:1: agents: must be a table")
    assert gatewayd("--config", tmp_path / "missing.toml", home=tmp_path).err == (
        f"{tmp_path}/missing.toml: cannot be read: No such file or directory; gatewayd init FILE writes a first one\n"
    )


def test_init_writes_a_file_that_passes_the_check(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "gatewayd.toml"
    result = gatewayd("init", file, home=tmp_path)
    assert (result.code, result.err) == (0, "")
    assert f"gatewayd --config {file}" in result.out
    assert file.read_text() == starter_text(Registry.installed())
    checked = gatewayd("check-config", file, home=tmp_path)
    assert (checked.code, checked.err) == (0, "")


def test_init_does_not_overwrite(tmp_path: Path) -> None:
    file = tmp_path / "gatewayd.toml"
    file.write_text("mine")
    result = gatewayd("init", file, home=tmp_path)
    assert (result.code, result.err) == (
        1,
        f"{file}: is there already, and was not changed. Write another file: gatewayd init FILE\n",
    )
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert gatewayd("init", tmp_path / "dangling", home=tmp_path).code == 1
    assert file.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_init_tells_what_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = gatewayd("init", tmp_path / "file" / "gatewayd.toml", home=tmp_path)
    assert result.code == 1
    assert result.err == f"{tmp_path}/file/gatewayd.toml: cannot be written: File exists\n"


def test_init_writes_where_it_will_be_found(tmp_path: Path) -> None:
    file = tmp_path / "conf.toml"
    result = gatewayd("init", home=tmp_path, GATEWAYD_CONFIG=str(file))
    assert file.exists()
    assert "and run: gatewayd\n" in result.out


def settings_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if re.match(r"#[\w\[]", line)]


def test_every_commented_key_of_the_starter_file_is_one_that_can_stand(tmp_path: Path) -> None:
    """Uncomment everything: examples that stand for something of the user's own remain, but no key is unknown or misplaced."""
    text = starter_text(Registry.installed())
    assert len(settings_lines(text)) > 40
    file = tmp_path / "all.toml"
    file.write_text("".join(line[1:] if re.match(r"#[\w\[]", line) else line for line in text.splitlines(keepends=True)))
    result = gatewayd("check-config", file, home=tmp_path)
    assert "is not TOML" not in result.err
    assert [line for line in result.err.splitlines() if "unknown" in line or "missing" in line or "must be a table" in line] == []


def test_the_starter_file_says_what_holds_without_it(tmp_path: Path) -> None:
    file = tmp_path / "starter.toml"
    file.write_text(starter_text(Registry.installed()))
    registry = Registry.installed()
    assert load_config(file, registry, {}).agents == load_config(None, registry, {}).agents
    assert load_config(file, registry, {}).accounts == load_config(None, registry, {}).accounts
    assert load_config(file, registry, {}).gateway == load_config(None, registry, {}).gateway


def test_the_light_commands_import_no_part_of_the_running_gateway(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from gatewayd.cli.gatewayd import main\n"
        "assert main(['check-config']) == 0\n"
        "heavy = {'trio', 'quart', 'hypercorn', 'structlog', 'typer', 'rich', 'httpx2'} & set(sys.modules)\n"
        "sys.stderr.write(' '.join(sorted(heavy)))\n"
    )
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=env, check=True)
    assert done.stderr == ""


def test_without_a_command_the_daemon_runs_until_it_is_told_to_stop(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NOTIFY_SOCKET": str(tmp_path / "notify")}
        command = [sys.executable, "-m", "gatewayd", "--state-dir", str(tmp_path / "state"), "--bind", "127.0.0.1:0"]
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                while not (said := manager.recv(4096)).startswith(b"READY=1"):
                    assert said.startswith(b"EXTEND_TIMEOUT_USEC=")
                assert (tmp_path / "state" / "gatewayd.db").exists()
            finally:
                process.terminate()
                _, log = process.communicate(timeout=60)
        assert process.returncode == 0
        assert all(json.loads(line)["level"] in ("debug", "info") for line in log.splitlines() if line.startswith("{"))


def test_the_daemon_does_not_hold_rich_in_memory() -> None:
    code = (
        "import sys\n"
        "from gatewayd.cli.gatewayd import _import_structlog_without_rich\n"
        "_import_structlog_without_rich()\n"
        "import structlog\n"
        "assert 'structlog.dev' in sys.modules\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] == 'rich']\n"
        "import rich\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
