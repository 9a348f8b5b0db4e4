"""Who may answer, and where: names and ids that cannot be are found before the daemon starts."""

from pathlib import Path

import pytest

from gatewayd.config import load_config
from gatewayd.model.config import ApprovalRule
from gatewayd.model.errors import ConfigError
from tests.config.plugins import registry

ENV = {"TELEGRAM_TOKEN": "123456:AAE-canary"}
ACCOUNT = '[channels.telegram.accounts.main]\ntoken = { env = "TELEGRAM_TOKEN" }\n'
GROUP = '[approvals.groups.ops]\npeople = ["telegram:1"]\n'


def problems(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "gatewayd.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, registry(), ENV)
    return [str(problem) for problem in caught.value.problems]


def warnings(tmp_path: Path, text: str) -> tuple[str, ...]:
    file = tmp_path / "gatewayd.toml"
    file.write_text(text)
    return load_config(file, registry(), ENV).warnings


def test_a_whole_policy(tmp_path: Path) -> None:
    file = tmp_path / "gatewayd.toml"
    file.write_text(
        ACCOUNT
        + """
        [approvals.groups.ops]
        people = ["telegram:1", "telegram:2"]
        chats = ["origin", "telegram:main:group:-100123"]
        [agents.assistant]
        core = "echo"
        on_lost_turn = "report"
        [agents.assistant.approvals]
        rules = [{ tool = "read", action = "allow" }, { tool = "bash", input = { command = "rm *" }, action = "deny" }]
        ask = ["ops", "operators"]
        quorum = 2
        timeout_seconds = 60
        session_grant = "off"
        """
    )
    config = load_config(file, registry(), ENV)
    policy = config.agents[0].frame.approvals
    assert policy.rules[1] == ApprovalRule("deny", "bash", {"command": "rm *"})
    assert (policy.ask, policy.quorum, policy.timeout_seconds) == (("ops", "operators"), 2, 60)
    assert config.approvals.groups["ops"].chats[1] == "telegram:main:group:-100123"
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('[approvals.groups.operators]\npeople = ["telegram:1"]\n', "is always there"),
        ("[approvals.groups.ops]\npeople = []\n", "nobody could answer"),
        ('[approvals.groups.ops]\npeople = ["telegram:1"]\nchats = []\n', "nobody could see"),
        ('[approvals.groups.ops]\npeople = ["1234"]\n', "is not CHANNEL:ID"),
        ('[approvals.groups.ops]\npeople = ["telegram: 1"]\n', "is not CHANNEL:ID"),
        ('[approvals.groups.ops]\npeople = ["slakc:U1"]\n', "no such channel"),
        (GROUP + 'chats = ["here"]\n', "is not a chat"),
        (GROUP + 'chats = ["telegram:main:room:1"]\n', "is not a chat"),
        (GROUP + 'chats = ["telegram:mian:group:-1"]\n', "no such account"),
        ('[agents.assistant.approvals]\nask = ["opps"]\n' + GROUP, "no such group"),
        ("[agents.assistant.approvals]\nask = []\n", "every request would fail"),
        ('[agents.assistant.approvals]\nrules = [{ tool = "x" }]\n', "action"),
    ],
)
def test_what_cannot_be_is_an_error(tmp_path: Path, text: str, what: str) -> None:
    [problem] = problems(tmp_path, ACCOUNT + text)
    assert what in problem


def test_what_is_probably_not_meant_is_a_warning(tmp_path: Path) -> None:
    [quorum] = warnings(tmp_path, ACCOUNT + GROUP + '[agents.assistant.approvals]\nask = ["ops"]\nquorum = 2\n')
    assert "no request could be allowed" in quorum
    rules = 'rules = [{ action = "ask" }, { action = "allow", tool = "read" }]\n'
    [shadowed] = warnings(tmp_path, ACCOUNT + "[agents.assistant.approvals]\n" + rules)
    assert "are never used" in shadowed
