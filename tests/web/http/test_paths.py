"""Each path has one spelling: a proxy that lets requests through by their path lets through no other one."""

from pathlib import Path
from string import ascii_letters, digits
from urllib.parse import quote, unquote_to_bytes

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.web.http.paths import is_one_spelling
from tests.web.client import request
from tests.web.hook import SECRET
from tests.web.site import open_site, token_of

UNRESERVED = set((ascii_letters + digits + "-._~").encode())


@pytest.mark.parametrize(
    "path",
    [
        "//health",
        "/%68ealth",
        "/health%2f",
        "/v1//gateway/status",
        "/v1%2Fgateway/status",
        "/v1/gateway%2fstatus",
        "/v1/gateway/../gateway/status",
        "/v1/gateway/%2e%2e/gateway/status",
        "/v1/./gateway/status",
        "/v1/gateway/status/",
        "/v1/gateway%5cstatus",
        "/v1/gateway/status%00",
        "/v1/gateway/status%",
        "/v1/webhooks/hook//main",
        "/v1/webhooks//hook/main",
        "/v1/webhooks/h%6fok/main",
        "/v1/webhooks%2fhook/main",
        "/v1/webhooks/hook/main/",
    ],
)
async def test_another_spelling_is_no_route(tmp_path: Path, clock: trio.testing.MockClock, path: str) -> None:
    headers = {"Authorization": f"Bearer {token_of('admin')}", "X-Hook-Secret": SECRET}
    async with open_site(tmp_path) as site:
        for method, body in (("GET", None), ("POST", b'{"key": "1"}')):
            async with site.dial() as client:
                assert (await client.ask(request(method, path, headers=headers, body=body))).status == 404
        assert await site.rows() == []


@given(st.binary(max_size=20))
def test_what_any_client_writes_is_taken_if_it_is_written_as_it_must_be(name: bytes) -> None:
    """A name in a path, escaped by the rule of the RFC, is our spelling of it; with one more character escaped it is not."""
    written = quote(name, safe="")
    holds = not any(octet < 0x20 or octet in (0x2F, 0x5C, 0x7F) for octet in name)
    assert is_one_spelling(b"/v1/messages/" + written.encode()) == holds
    for octet in set(name) & UNRESERVED:
        assert not is_one_spelling(f"/v1/messages/%{octet:02x}".encode())
        assert not is_one_spelling(f"/v1/messages/%{octet:02X}".encode())


@given(st.text("%/.2fFeE5c068a"))
def test_no_two_spellings_of_one_path_are_ours(path: str) -> None:
    """Up to the case of the hexadecimal digits, which says nothing."""
    if is_one_spelling(path.encode()):
        assert quote(unquote_to_bytes(path), safe="/").lower() == path.lower()
