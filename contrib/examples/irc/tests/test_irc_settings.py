"""The settings say what is wrong, and never a secret."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from gatewayd_irc import PLUGIN
from gatewayd_irc.settings import IrcSettings

from gatewayd.model.config import GatewaySection
from gatewayd.model.secret import Secret


def problems(**settings: object) -> list[str]:
    own = {"server": "irc.example", "nick": "bot", **settings}
    return list(IrcSettings(**own).problems(GatewaySection()))


def test_the_least_that_can_stand() -> None:
    assert problems() == []
    assert problems(channels=("#a", "&b"), keys={"#a": Secret("k")}, sasl_account="bot", sasl_password=Secret("a b")) == []


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"nick": "a b"}, "nick"),
        ({"nick": "a\nQUIT"}, "nick"),
        ({"username": ""}, "username"),
        ({"realname": "a\nQUIT"}, "realname"),
        ({"channels": ("room",)}, "'room' is no channel"),
        ({"channels": ("#a,#b",)}, "'#a,#b' is no channel"),
        ({"keys": {"#b": Secret("canary")}}, "'#b' is not one of channels"),
        ({"channels": ("#a",), "keys": {"#a": Secret("can ary")}}, "keys.#a"),
        ({"password": Secret("can\nary")}, "password"),
        ({"sasl_account": "bot"}, "belong together"),
        ({"sasl_password": Secret("canary")}, "belong together"),
        ({"sasl_account": "b", "sasl_password": Secret("canary"), "client_certificate": "x"}, "choose one"),
        ({"tls": False, "ca_file": "x"}, "need tls"),
        ({"tls": False, "sasl_account": "b", "sasl_password": Secret("canary")}, "in clear"),
    ],
)
def test_what_is_wrong_is_named(settings: dict[str, object], named: str) -> None:
    found = " ".join(problems(**settings))
    assert named in found
    assert "canary" not in found


def test_to_this_machine_a_password_may_go_in_clear() -> None:
    assert problems(server="127.0.0.1", tls=False, sasl_account="b", sasl_password=Secret("x")) == []


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (
            "id_pattern",
            ["account:alice", "nick:alice@home.example", "nick:a@2001:db8::1"],
            ["alice", "account:Alice", "nick:alice", "#a"],
        ),
        ("place_pattern", ["#room", "##a", "&x"], ["room", "#Room", "#a,b", "#a b"]),
    ],
)
def test_ids_have_one_form(pattern: str, good: list[str], bad: list[str]) -> None:
    compiled = re.compile(getattr(PLUGIN, pattern))
    assert [text for text in good if not compiled.fullmatch(text)] == []
    assert [text for text in bad if compiled.fullmatch(text)] == []


def test_a_key_that_is_not_there_is_an_error() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"server": "a", "nick": "b", "chanels": []}, IrcSettings)


@pytest.mark.slow
def test_the_configuration_of_the_readme_can_stand(tmp_path: Path) -> None:
    [text] = re.findall(r"^```toml\n(.*?)^```", (Path(__file__).parents[1] / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "gatewayd.toml").write_text(text)
    (tmp_path / "irc.password").write_text("canary-0123456789")
    command = [str(Path(sys.executable).parent / "gatewayd"), "check-config", str(tmp_path / "gatewayd.toml")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
