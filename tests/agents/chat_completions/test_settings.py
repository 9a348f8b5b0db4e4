"""The settings: what is refused, and where a request goes."""

from typing import Any

import pytest

from gatewayd.agents.chat_completions.settings import ChatCompletionsSettings
from gatewayd.model.config import GatewaySection
from gatewayd.model.secret import Secret

HOME = "http://127.0.0.1:11434/v1"


def settings(**changes: Any) -> ChatCompletionsSettings:
    return ChatCompletionsSettings(**{"url": HOME, "model": "m", **changes})


@pytest.mark.parametrize("url", [HOME, HOME + "/", "https://api.openai.com/v1", "http://[::1]:8000/api/v3"])
def test_good_ones(url: str) -> None:
    assert list(settings(url=url, api_key=Secret("k" * 20), session_header="X-Session").problems(GatewaySection())) == []
    assert settings(url=url).endpoint == url.rstrip("/") + "/chat/completions"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"url": "127.0.0.1:11434"}, "http or https URL"),
        ({"url": "http://user:canary@host/v1"}, "without user"),
        ({"url": "http://host/v1?key=canary"}, "query"),
        ({"url": "http://host:99999/v1"}, "http or https URL"),
        ({"url": HOME + "/chat/completions"}, "leave out"),
        ({"model": " "}, "model is empty"),
        ({"api_key": Secret("canary canary\n")}, "no header can carry"),
        ({"session_header": "X Session"}, "not the name of a header"),
        ({"session_header": "Authorization"}, "header of one's own"),
    ],
)
def test_bad_ones(changes: dict[str, Any], word: str) -> None:
    [problem] = settings(**changes).problems(GatewaySection())
    assert word in problem
    assert "canary" not in problem


@pytest.mark.parametrize(
    ("url", "warned"),
    [("http://10.0.0.7/v1", True), ("http://localhost:1/v1", False), ("http://[::1]/v1", False), ("https://host/v1", False)],
)
def test_a_key_in_the_clear_is_warned_of(url: str, warned: bool) -> None:
    assert [*settings(url=url).warnings()] == []
    assert len([*settings(url=url, api_key=Secret("k" * 20)).warnings()]) == warned
