"""Configuration files as the tests write them, and what comes of loading one."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from gatewayd.config import load_config
from gatewayd.model.config import GatewayConfig
from gatewayd.model.errors import ConfigError, ConfigProblem
from tests.config.plugins import registry

TOKEN = "123456:AAE-canary"
ENV = {"TELEGRAM_TOKEN": TOKEN, "OPS_TOKEN": "ops-token-of-24-letters"}
ACCOUNT = '[channels.telegram.accounts.main]\ntoken = { env = "TELEGRAM_TOKEN" }\n'
GROUP = ACCOUNT + '[channels.telegram.accounts.main.groups."-100123"]\n'


def load(file: Path, text: str, env: Mapping[str, str] = ENV) -> GatewayConfig:
    file.write_text(text)
    return load_config(file, registry(), env)


def problems(file: Path, text: str, env: Mapping[str, str] = ENV) -> tuple[ConfigProblem, ...]:
    with pytest.raises(ConfigError) as caught:
        load(file, text, env)
    assert [problem.file for problem in caught.value.problems] == [str(file)] * len(caught.value.problems)
    return caught.value.problems


def problem(file: Path, text: str, env: Mapping[str, str] = ENV) -> ConfigProblem:
    (only,) = problems(file, text, env)
    return only
