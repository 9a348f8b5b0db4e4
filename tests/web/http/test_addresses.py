"""Whose request it is: whatever a client writes into the headers, what the nearest trusted proxy added decides."""

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gatewayd.model.config import GatewaySection
from gatewayd.web.access.auth import FAILURES_PER_WINDOW
from gatewayd.web.http.addresses import LOCAL, MOST_HOPS, TrustedProxies, canonical, network_of
from tests.web.client import request
from tests.web.site import configuration, open_site, token_of

PROXY, OUTER = "127.0.0.1", "10.1.0.7"
CLIENT = "203.0.113.9"
PROXIES = TrustedProxies(["127.0.0.1", "10.1.0.0/16", "2001:db8:1::/48"])

Headers = list[tuple[bytes, bytes]]


def for_list(*values: str) -> Headers:
    return [(b"x-forwarded-for", value.encode()) for value in values]


def elements(*values: str) -> Headers:
    return [(b"forwarded", value.encode()) for value in values]


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ([], PROXY),
        (for_list(CLIENT), CLIENT),
        (for_list(f"1.1.1.1, {CLIENT}"), CLIENT),
        (for_list("1.1.1.1", CLIENT), CLIENT),
        (for_list(f"1.1.1.1, {CLIENT}, {OUTER}"), CLIENT),
        (for_list(f"1.1.1.1,{CLIENT}", f"10.1.0.8,\t{OUTER} "), CLIENT),
        (for_list(OUTER), OUTER),
        (for_list(f"{CLIENT}:4711"), CLIENT),
        (for_list("[2001:db8:2::5]:4711"), "2001:db8:2::5"),
        (for_list("2001:DB8:2:0::5"), "2001:db8:2::5"),
        (for_list(f"::ffff:{CLIENT}"), CLIENT),
        (for_list(f"{CLIENT}, 2001:db8:1::1"), CLIENT),
        (for_list(f"{CLIENT}, nonsense"), PROXY),
        (for_list(f"{CLIENT}, nonsense, {OUTER}"), OUTER),
        (for_list(""), PROXY),
        (for_list(f"{CLIENT},"), PROXY),
        (for_list("unknown"), PROXY),
        (for_list("203.0.113.009"), PROXY),
        (for_list("fe80::1%eth0"), PROXY),
        (elements(f"for={CLIENT}"), CLIENT),
        (elements(f"For={CLIENT};proto=https;host=gw.example"), CLIENT),
        (elements(f"proto=https;for={CLIENT};by=_gate"), CLIENT),
        (elements('for="[2001:db8:2::5]:4711"'), "2001:db8:2::5"),
        (elements('for="[2001:db8:2::5]"'), "2001:db8:2::5"),
        (elements(f"for=1.1.1.1, for={CLIENT};by=10.1.0.7, for=10.1.0.7"), CLIENT),
        (elements("for=1.1.1.1", f"for={CLIENT}"), CLIENT),
        (elements('for=1.1.1.1;by="', f"for={CLIENT}"), CLIENT),
        (elements(f'for=1.1.1.1;by=", for={CLIENT}'), PROXY),
        (elements(f'for=1.1.1.1;host="a\\",b", for={CLIENT}'), CLIENT),
        (elements("for=unknown"), PROXY),
        (elements("for=_hidden"), PROXY),
        (elements("proto=https"), PROXY),
        (elements(f"for=1.1.1.1;for={CLIENT}"), PROXY),
        (elements(f"for={CLIENT};"), PROXY),
        (elements("gibberish"), PROXY),
        (for_list(CLIENT) + elements(f"for={CLIENT}"), CLIENT),
        (for_list(CLIENT) + elements("for=1.1.1.1"), PROXY),
        (for_list("1.1.1.1") + elements(f"for={CLIENT}"), PROXY),
        ([(b"x-real-ip", b"1.1.1.1"), (b"x-forwarded-host", b"evil.example"), (b"client-ip", b"1.1.1.1")], PROXY),
    ],
)
def test_the_last_word_of_a_trusted_proxy_counts(headers: Headers, client: str) -> None:
    assert PROXIES.client_of(PROXY, headers) == client


@pytest.mark.parametrize("peer", ["203.0.113.1", "127.0.0.2", "::1", "2001:db8:2::1", "nonsense", None])
def test_nobody_else_is_believed(peer: str | None) -> None:
    for headers in (for_list("1.1.1.1"), elements("for=1.1.1.1")):
        assert PROXIES.client_of(peer, headers) == (peer or LOCAL)
        assert TrustedProxies(()).client_of(PROXY, headers) == PROXY


def test_a_proxy_may_come_over_a_unix_socket_or_an_ipv6_one() -> None:
    assert TrustedProxies(["unix"]).client_of(None, for_list(CLIENT)) == CLIENT
    assert TrustedProxies(["unix"]).client_of(PROXY, for_list(CLIENT)) == PROXY
    assert PROXIES.client_of("::ffff:127.0.0.1", for_list(CLIENT)) == CLIENT


def test_so_many_hops_and_no_more() -> None:
    assert PROXIES.client_of(PROXY, for_list(", ".join([CLIENT, *[OUTER] * (MOST_HOPS - 1)]))) == CLIENT
    assert PROXIES.client_of(PROXY, for_list(", ".join([CLIENT, *[OUTER] * MOST_HOPS]))) == OUTER


WRITTEN = st.one_of(
    st.binary(max_size=60).filter(lambda value: b"\r" not in value and b"\n" not in value),
    st.lists(
        st.sampled_from([b"for=", b"by=", b'"', b"\\", b",", b";", b" ", b"1.1.1.1", b"127.0.0.1", b"10.1.0.7", b"[::1]"])
    ).map(b"".join),
)
ADDRESSES = st.one_of(st.ip_addresses(), st.ip_addresses(v=4))


@given(
    written=st.lists(st.tuples(st.sampled_from([b"x-forwarded-for", b"forwarded", b"x-real-ip"]), WRITTEN), max_size=4),
    address=ADDRESSES,
    name=st.sampled_from([b"x-forwarded-for", b"forwarded"]),
    appended=st.booleans(),
    inner=st.booleans(),
)
def test_nobody_outside_can_choose_the_address_that_is_counted(
    written: Headers, address: IPv4Address | IPv6Address, name: bytes, appended: bool, inner: bool
) -> None:
    """A client writes what it likes; its proxy adds where it connects from, in a line of its own or at the end of the last one;
    perhaps a second proxy adds the first. What counts is the client's own address, or that of a proxy."""
    client = canonical(str(address))
    if PROXIES.trusts(client):
        return
    headers = list(written)
    for node in [client, OUTER] if inner else [client]:
        added = node.encode() if name == b"x-forwarded-for" else b'for="%s"' % (f"[{node}]" if ":" in node else node).encode()
        at = max((at for at, (key, _) in enumerate(headers) if key == name), default=None)
        if appended and at is not None:
            headers[at] = (name, headers[at][1] + b", " + added)
        else:
            headers.append((name, added))
    assert PROXIES.client_of(PROXY, headers) in {client, PROXY, OUTER}
    if not appended and not any(key in (b"x-forwarded-for", b"forwarded") for key, _ in written):
        assert PROXIES.client_of(PROXY, headers) == client


@given(ADDRESSES)
def test_an_address_has_one_spelling_and_one_network(address: IPv4Address | IPv6Address) -> None:
    assert canonical(str(address)) == canonical(address.exploded)
    assert network_of(str(address)) == network_of(address.exploded)


def test_who_counts_as_one() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") != network_of("::ffff:192.0.2.2")
    assert network_of("fe80::1%eth0") == network_of("fe80::2%eth1")
    assert network_of(LOCAL) == LOCAL


# Over HTTP.


async def test_wrong_tokens_count_for_the_address_that_the_proxy_says(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    section = GatewaySection(trusted_proxies=("127.0.0.1",))
    async with open_site(tmp_path, configuration(gateway=section)) as site, site.dial() as client:

        async def guess(forwarded: str, token: str | None = None) -> int:
            headers = {"Authorization": f"Bearer {token or 'wrong'}", "X-Forwarded-For": forwarded}
            return (await client.ask(request("GET", "/v1/channels", headers=headers))).status

        for number in range(FAILURES_PER_WINDOW):
            assert await guess(f"10.9.9.{number}, {CLIENT}") == 401
        assert await guess(f"10.9.9.99, {CLIENT}") == 429
        assert await guess("203.0.113.10") == 401
        assert await guess("203.0.113.10", token_of("read")) == 200
        rows = [row for row in await site.gateway.audit.after(0, limit=100) if row.action == "auth.failed"]
        assert [row.subject for row in rows] == [CLIENT] * 3 + ["203.0.113.10"]


async def test_without_the_key_the_header_is_nothing_and_a_reload_changes_that(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        wrong = request("GET", "/v1/channels", headers={"Authorization": "Bearer wrong", "X-Forwarded-For": CLIENT})
        await client.ask(wrong)
        config = site.gateway.config
        changed = replace(config, gateway=replace(config.gateway, trusted_proxies=("127.0.0.0/8",)))
        site.gateway.configured.replace(changed)
        await client.ask(wrong)
        rows = [row for row in await site.gateway.audit.after(0, limit=100) if row.action == "auth.failed"]
        assert [row.subject for row in rows] == ["127.0.0.1", CLIENT]


async def test_a_name_or_a_scheme_from_a_proxy_is_not_believed(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    section = GatewaySection(trusted_proxies=("127.0.0.1",))
    async with open_site(tmp_path, configuration(gateway=section)) as site, site.dial() as client:
        told = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "Forwarded": "host=evil.example;proto=https"}
        headers = told | {"Authorization": f"Bearer {token_of('admin')}", "Content-Type": "application/json"}
        answer = await client.ask(request("POST", "/v1/console/links", headers=headers, body=b'{"page":"dead-letters"}'))
        assert answer.json["url"].startswith("http://127.0.0.1/dead-letters#")
        misdirected = request("GET", "/v1/channels", host="evil.example", headers={"X-Forwarded-Host": "127.0.0.1"})
        assert (await client.ask(misdirected)).status == 421
