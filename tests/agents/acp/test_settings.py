"""The settings: what is refused, what is warned of, what the process gets."""

from pathlib import Path

import pytest

from gatewayd.agents.acp.settings import AcpSettings
from gatewayd.model.config import ChecksItself, ChecksMachine, GatewaySection
from gatewayd.model.secret import Secret


def problems(settings: AcpSettings) -> list[str]:
    assert isinstance(settings, ChecksItself)
    return list(settings.problems(GatewaySection()))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (AcpSettings(command=("",)), "command must begin with a program, and no part of it may hold a NUL character"),
        (AcpSettings(command=("a", "b\0")), "command must begin with a program, and no part of it may hold a NUL character"),
        (AcpSettings(command=("a",), directory="work"), "directory must be an absolute path, found 'work'"),
        (AcpSettings(command=("a",), environment={"GATEWAYD_PROCESS": "x"}), "GATEWAYD_PROCESS: the variables GATEWAYD_*"),
        (AcpSettings(command=("a",), secrets={"GATEWAYD_X": Secret("x")}), "GATEWAYD_X: the variables GATEWAYD_*"),
        (
            AcpSettings(command=("a",), environment={"A": "1"}, secrets={"A": Secret("2")}),
            "A stands in environment and in secrets",
        ),
        (AcpSettings(command=("a",), environment={"A": "\0"}), "environment.A holds a NUL character"),
    ],
)
def test_problems(settings: AcpSettings, problem: str) -> None:
    (found,) = problems(settings)
    assert found.startswith(problem)


def test_no_problems() -> None:
    assert problems(AcpSettings(command=("opencode", "acp"), directory="/srv/agent", environment={"A": "1"})) == []


def test_warnings(tmp_path: Path) -> None:
    settings = AcpSettings(command=("no-such-agent", "acp"), directory=str(tmp_path / "nowhere"))
    assert isinstance(settings, ChecksMachine)
    assert list(settings.warnings()) == [
        "command: there is no program 'no-such-agent' on PATH; install it, or give its whole path",
        f"directory: {tmp_path / 'nowhere'} is not there; make it, or leave it out",
    ]
    assert list(AcpSettings(command=("sh",), directory=str(tmp_path)).warnings()) == []
    assert list(AcpSettings(command=("sh",), environment={"PATH": str(tmp_path)}).warnings()) != []
    assert list(AcpSettings(command=(str(tmp_path / "agent"),)).warnings()) == [
        f"command: {tmp_path / 'agent'} is not there, or may not be run"
    ]


def test_secrets_are_variables_and_are_not_shown() -> None:
    settings = AcpSettings(command=("a",), environment={"A": "1"}, secrets={"KEY": Secret("very-secret")})
    assert settings.variables() == {"A": "1", "KEY": "very-secret"}
    assert "very-secret" not in repr(settings)
