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
        (AcpSettings(command=("",)), "command has an empty program, or a NUL character"),
        (AcpSettings(command=("a", "b\0")), "command has an empty program, or a NUL character"),
        (AcpSettings(command=("a",), directory="work"), "directory has to be an absolute path"),
        (AcpSettings(command=("a",), environment={"GATEWAYD_PROCESS": "x"}), "GATEWAYD_PROCESS: the variables GATEWAYD_*"),
        (AcpSettings(command=("a",), secrets={"GATEWAYD_X": Secret("x")}), "GATEWAYD_X: the variables GATEWAYD_*"),
        (
            AcpSettings(command=("a",), environment={"A": "1"}, secrets={"A": Secret("2")}),
            "A stands in environment and in secrets",
        ),
        (AcpSettings(command=("a",), environment={"A": "\0"}), "environment.A has a NUL character"),
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
        "there is no command 'no-such-agent' in PATH",
        f"the directory {tmp_path / 'nowhere'} does not exist",
    ]
    assert list(AcpSettings(command=("sh",), directory=str(tmp_path)).warnings()) == []
    assert list(AcpSettings(command=("sh",), environment={"PATH": str(tmp_path)}).warnings()) != []
    assert list(AcpSettings(command=(str(tmp_path / "agent"),)).warnings()) == [
        f"the command {tmp_path / 'agent'} is not there, or may not be run"
    ]


def test_secrets_are_variables_and_are_not_shown() -> None:
    settings = AcpSettings(command=("a",), environment={"A": "1"}, secrets={"KEY": Secret("very-secret")})
    assert settings.variables() == {"A": "1", "KEY": "very-secret"}
    assert "very-secret" not in repr(settings)
