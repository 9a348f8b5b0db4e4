"""What is a usable proxy, and which one the environment names."""

import pytest

from gatewayd.kit.proxy import problem_of, proxy_for
from gatewayd.model.secret import MaybeSecret, Secret

API = "https://api.telegram.org"


@pytest.mark.parametrize(
    "url",
    ["environment", "http://127.0.0.1:3128", "https://proxy.example.org", "http://user@[::1]:3128/", "http://proxy.example.org"],
)
def test_a_usable_proxy(url: str) -> None:
    assert problem_of(MaybeSecret(url)) is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("127.0.0.1:3128", "must be"),
        ("localhost:3128", "must be"),
        ("ftp://example.org", "must be"),
        ("", "must be"),
        ("http://", "has no host"),
        ("http://:3128", "has no host"),
        ("http://pro xy:3128", "has no host"),
        ("http://proxy:port", "is not a URL"),
        ("http://proxy:99999", "is not a URL"),
        ("http://[::1", "is not a URL"),
        ("http://proxy:3128/path", "must end"),
        ("http://proxy:3128?x=1", "must end"),
        ("http://user:password@proxy:3128", "holds a password"),
    ],
)
def test_what_is_wrong_with_a_proxy_is_said_without_it(url: str, words: str) -> None:
    found = problem_of(MaybeSecret(url)) or ""
    assert found.startswith(words)
    assert not url or url not in found
    assert "user:password" not in found


def test_a_secret_may_hold_a_password() -> None:
    assert problem_of(MaybeSecret(Secret("http://user:password@proxy:3128"))) is None


def test_socks_needs_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatewayd.kit.proxy.find_spec", lambda name: None)
    assert "socksio" in (problem_of(MaybeSecret("socks5://127.0.0.1:1080")) or "")
    monkeypatch.setattr("gatewayd.kit.proxy.find_spec", lambda name: name)
    assert problem_of(MaybeSecret("socks5h://127.0.0.1:1080")) is None


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, None),
        ({"https_proxy": "http://a:1"}, "http://a:1"),
        ({"HTTPS_PROXY": "a:1"}, "http://a:1"),
        ({"http_proxy": "http://a:1"}, None),
        ({"all_proxy": "socks5h://a:1"}, "socks5h://a:1"),
        ({"https_proxy": "http://a:1", "no_proxy": "telegram.org"}, None),
        ({"https_proxy": "http://a:1", "NO_PROXY": "*"}, None),
        ({"https_proxy": "http://a:1", "no_proxy": "example.org"}, "http://a:1"),
    ],
)
def test_the_proxy_of_the_environment(environment: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatewayd.kit.proxy.find_spec", lambda name: name)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(API, MaybeSecret("environment")) == proxy
    assert proxy_for(API, None) is None
    assert proxy_for(API, MaybeSecret("http://other:1")) == "http://other:1"
