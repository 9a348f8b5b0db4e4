"""Host and Origin: ours, and what a foreign page sends."""

import pytest

from gatewayd.web.access.origin import HostPolicy

LOCAL = HostPolicy(bind_host="127.0.0.1", public_url=None, allowed_hosts=())
PUBLIC = HostPolicy(bind_host="0.0.0.0", public_url="https://gw.example", allowed_hosts=("chat.lan", "odd.lan:8443"))  # noqa: S104


@pytest.mark.parametrize("host", ["127.0.0.1:18790", "localhost", "LOCALHOST:1", "[::1]:18790", "[::1]"])
def test_loopback_names_are_always_served(host: str) -> None:
    assert LOCAL.allows_host(host)
    assert PUBLIC.allows_host(host)


@pytest.mark.parametrize(
    "host",
    [None, "", "attacker.example", "attacker.example:18790", "127.0.0.1.attacker.example", "localhost@attacker.example", "::1"],
)
def test_other_names_are_not(host: str | None) -> None:
    assert not LOCAL.allows_host(host)
    assert not PUBLIC.allows_host(host)


@pytest.mark.parametrize("host", ["127.0.0.1:x", "[::1", "[::1]x", ":18790", "localhost:80:80"])
def test_a_malformed_host_is_not_served(host: str) -> None:
    assert not LOCAL.allows_host(host)


def test_configured_names_are_served() -> None:
    assert PUBLIC.allows_host("gw.example")
    assert PUBLIC.allows_host("GW.example:443")
    assert PUBLIC.allows_host("chat.lan:9999")
    assert PUBLIC.allows_host("odd.lan:8443")
    assert not PUBLIC.allows_host("odd.lan:8444")
    assert not LOCAL.allows_host("gw.example")


def test_the_address_that_was_reached_is_served() -> None:
    assert PUBLIC.allows_host("192.0.2.7:18790", reached="192.0.2.7")
    assert PUBLIC.allows_host("[2001:db8::1]:18790", reached="2001:db8::1")
    assert not PUBLIC.allows_host("192.0.2.8:18790", reached="192.0.2.7")


def test_the_bind_host_is_served_and_a_wildcard_is_no_name() -> None:
    assert HostPolicy(bind_host="::1", public_url=None, allowed_hosts=()).allows_host("[::1]:1")
    assert HostPolicy(bind_host="10.0.0.5", public_url=None, allowed_hosts=()).allows_host("10.0.0.5:1")
    assert not PUBLIC.allows_host("0.0.0.0:18790")


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:18790", "127.0.0.1:18790"),
        ("https://gw.example", "gw.example"),
        ("https://gw.example", "127.0.0.1:18790"),
        ("https://odd.lan:8443", "127.0.0.1:18790"),
    ],
)
def test_our_origins(origin: str, host: str) -> None:
    assert PUBLIC.allows_origin(origin, host)


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "https://attacker.example",
        "http://127.0.0.1:3000",
        "http://localhost:18790",
        "http://127.0.0.1:18790.attacker.example",
        "file://127.0.0.1:18790",
        "https://gw.example:8443",
        "127.0.0.1:18790",
        "chrome-extension://127.0.0.1:18790",
    ],
)
def test_foreign_origins(origin: str) -> None:
    assert not PUBLIC.allows_origin(origin, "127.0.0.1:18790")
