from pathlib import Path

import pytest

from gatewayd.agents import echo
from gatewayd.channels import telegram
from gatewayd.channels.telegram.settings import TelegramSettings
from gatewayd.config import load_config
from gatewayd.config.secret_sources import secrets_of
from gatewayd.model.config import GatewayConfig, GatewaySection
from gatewayd.model.errors import ConfigError
from gatewayd.model.secret import MaybeSecret, Secret
from gatewayd.plugins import Registry

TOKEN = Secret("424242:AAfake-token_for_tests")
PUBLIC = GatewaySection(public_url="https://bot.example.org")


def problems(gateway: GatewaySection = PUBLIC, **settings: object) -> list[str]:
    return TelegramSettings(**{"token": TOKEN, **settings}).problems(gateway)  # type: ignore[arg-type]


def test_the_defaults_are_fine() -> None:
    assert problems(GatewaySection()) == []
    assert problems(mode="webhook") == []


@pytest.mark.parametrize(
    "token", ["", "canary", "424242", "424242:", "x:canary", "424242:can ary", "424242:canary\n", "1:" + "c" * 80]
)
def test_a_token_that_is_none_is_found_and_not_told(token: str) -> None:
    [problem] = problems(token=Secret(token))
    assert "BotFather" in problem
    assert "canary" not in problem


@pytest.mark.parametrize(
    "base", ["", "api.telegram.org", "ftp://x", "https://", "http://x:99999999", "https://x/?a=b", "http://[::1"]
)
def test_api_base_must_be_a_url(base: str) -> None:
    [problem] = problems(api_base=base)
    assert problem.startswith("api_base must be")


@pytest.mark.parametrize("base", ["http://127.0.0.1:8081", "https://tg.example.org/api/", "http://[::1]:80"])
def test_an_own_server_is_fine(base: str) -> None:
    assert problems(api_base=base) == []


def test_a_webhook_needs_a_public_url() -> None:
    [problem] = problems(GatewaySection(), mode="webhook")
    assert "gateway.public_url" in problem


@pytest.mark.parametrize("url", ["http://bot.example.org", "https://bot.example.org:8080", "nonsense"])
def test_telegram_calls_https_on_four_ports(url: str) -> None:
    [problem] = problems(GatewaySection(public_url=url), mode="webhook")
    assert "443, 80, 88 or 8443" in problem
    assert problems(GatewaySection(public_url=url), mode="webhook", api_base="http://127.0.0.1:1") == []
    assert problems(GatewaySection(public_url="https://bot.example.org:8443"), mode="webhook") == []


PROXY = "http://user:canary@proxy.example.org:3128"
TOML = """
[channels.telegram.accounts.main]
token = {{ env = "TOKEN" }}
proxy = {proxy}
"""


def load(folder: Path, proxy: str) -> GatewayConfig:
    (folder / "gatewayd.toml").write_text(TOML.format(proxy=proxy))
    registry = Registry.of([telegram.PLUGIN], [echo.PLUGIN])
    return load_config(folder / "gatewayd.toml", registry, {"TOKEN": TOKEN.reveal(), "PROXY": PROXY})


def test_a_proxy_is_written_there_or_named_as_a_secret_is(tmp_path: Path) -> None:
    [plain] = load(tmp_path, '"http://127.0.0.1:3128"').accounts
    hidden = load(tmp_path, '{ env = "PROXY" }')
    assert plain.settings == TelegramSettings(token=TOKEN, proxy=MaybeSecret("http://127.0.0.1:3128"))
    assert hidden.accounts[0].settings == TelegramSettings(token=TOKEN, proxy=MaybeSecret(Secret(PROXY)))
    assert set(secrets_of(hidden)) == {TOKEN, Secret(PROXY)}
    assert "canary" not in repr(hidden)


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        (f'"{PROXY}"', "proxy holds a password: put the URL into a file"),
        ('"127.0.0.1:3128"', 'proxy must be "environment" or a URL that begins with http://'),
        ('{ file = "nowhere" }', "cannot be read"),
        ("3128", "is not a source of a secret"),
    ],
)
def test_what_is_wrong_with_a_proxy_is_said(tmp_path: Path, proxy: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, proxy)
    assert words in str(refused.value)
    assert "canary" not in str(refused.value)
