"""An agent's keys in the configuration: what they allow, and what is said of what they do not."""

from pathlib import Path
from typing import Any

import pytest

from gatewayd.agents.opencode import PLUGIN
from gatewayd.agents.opencode.settings import OpencodeSettings
from gatewayd.model.config import ChecksItself, ChecksMachine, GatewaySection
from gatewayd.model.secret import Secret

REMOTE = {"url": "http://127.0.0.1:4096"}
OWN = {"command": ("opencode", "serve")}
SECRET = Secret("a secret value")


def problems(settings: dict[str, Any]) -> list[str]:
    found = OpencodeSettings(**settings)
    assert isinstance(found, ChecksItself)
    return list(found.problems(GatewaySection()))


@pytest.mark.parametrize(
    "settings",
    [
        REMOTE,
        {"url": "https://agents.example/", "password": SECRET, "directory": "/srv/x"},
        {"url": "http://[::1]:4096", "token": SECRET},
        OWN,
        {**OWN, "environment": {"A": "b"}, "secrets": {"C": SECRET}, "model": "anthropic/claude-x"},
    ],
)
def test_what_can_be_used(settings: dict[str, Any]) -> None:
    assert problems(settings) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "needs either url"),
        ({**REMOTE, **OWN}, "and not both"),
        ({"url": "127.0.0.1:4096"}, "url must be"),
        ({"url": "http://127.0.0.1:4096/api"}, "url must be"),
        ({"url": "http://u:p@host"}, "url must be"),
        ({"url": "http://host:port"}, "url must be"),
        ({**OWN, "directory": "here"}, "absolute"),
        ({**REMOTE, "password": SECRET, "token": SECRET}, "one of them"),
        ({**OWN, "password": SECRET}, "are for url"),
        ({**REMOTE, "environment": {"A": "b"}}, "are for command"),
        ({**OWN, "environment": {"A": "b"}, "secrets": {"A": SECRET}}, "A stands in environment and in secrets"),
        ({"command": ("",)}, "must begin with a program"),
        ({**OWN, "model": "claude"}, "PROVIDER/MODEL"),
    ],
)
def test_what_cannot_be_used_is_said(settings: dict[str, Any], words: str) -> None:
    found = problems(settings)
    assert any(words in problem for problem in found), found
    assert "a secret value" not in "".join(found)


def test_what_is_missing_on_this_machine(tmp_path: Path) -> None:
    there = OpencodeSettings(command=("sh",), directory=str(tmp_path))
    assert isinstance(there, ChecksMachine)
    assert list(there.warnings()) == []
    missing = OpencodeSettings(command=("no-such-program", "serve"), directory=str(tmp_path / "gone"))
    assert [warning.split(":")[0] for warning in missing.warnings()] == ["command", "directory"]


def test_the_manifest_names_what_exists() -> None:
    assert PLUGIN.settings == f"{OpencodeSettings.__module__}:OpencodeSettings"
    assert PLUGIN.open == "gatewayd.agents.opencode.opener:open_opencode"
