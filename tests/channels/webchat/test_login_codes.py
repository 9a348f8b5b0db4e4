"""Login links and sessions: once, in time, and nothing in the store that could be used."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import pytest
import trio

from gatewayd.channels.webchat.login import CODE_SECONDS, DAY_SECONDS, find_login, log_in, log_out, new_login_link, prolong
from gatewayd.ports.store import TokenRow
from gatewayd.stores.sqlite import SqliteStore, run_inline
from tests.stores.opened_before import open_store

NOW = 1_800_000_000.0
BASE = "http://127.0.0.1:18790"


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    async with open_store(path, now=lambda: NOW, run_blocking=run_inline) as store:
        yield store


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())


async def test_a_link_logs_in_once(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with opened(tmp_path) as store:
        link = await new_login_link(store, BASE, "alice", NOW)
        assert link.url == f"{BASE}/#code={link.code}"
        assert re.fullmatch(r"([a-z2-7]{4}-){3}[a-z2-7]{4}", link.code)
        login = await log_in(store, link.code, NOW, session_days=30)
        assert login is not None
        assert login.name == "alice"
        assert await log_in(store, link.code, NOW, session_days=30) is None
        assert await find_login(store, login.token, NOW) == login


async def test_two_who_race_with_one_code_get_one_session(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    found = []
    async with opened(tmp_path) as store:
        link = await new_login_link(store, BASE, "alice", NOW)

        async def race() -> None:
            found.append(await log_in(store, link.code, NOW, session_days=30))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(race)
    assert len([login for login in found if login is not None]) == 1


async def test_an_old_code_is_refused(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with opened(tmp_path) as store:
        link = await new_login_link(store, BASE, "alice", NOW)
        assert link.expires_at == NOW + CODE_SECONDS
        assert await log_in(store, link.code, link.expires_at, session_days=30) is None


@pytest.mark.parametrize("change", [str.upper, lambda code: code.replace("-", ""), lambda code: f" {code.replace('-', ' ')} "])
async def test_a_code_may_be_typed(change: object, tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    assert callable(change)
    async with opened(tmp_path) as store:
        link = await new_login_link(store, BASE, "alice", NOW)
        assert await log_in(store, change(link.code), NOW, session_days=30) is not None


@pytest.mark.parametrize("code", ["", "abcd-efgh-ijkl-mnop", "\ud800", "x" * 10_000])
async def test_an_unknown_code_is_refused(code: str, tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with opened(tmp_path) as store:
        assert await log_in(store, code, NOW, session_days=30) is None


async def test_only_digests_are_stored(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with opened(tmp_path) as store:
        link = await new_login_link(store, BASE, "alice", NOW)
        other = await new_login_link(store, BASE, "bob", NOW)
        login = await log_in(store, other.code, NOW, session_days=30)
        assert login is not None
    stored = everything_in(tmp_path)
    for secret in (link.code, link.code.replace("-", ""), login.token):
        assert secret.encode() not in stored
    assert b"alice" in stored


async def test_a_code_is_no_session_and_a_token_is_neither(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with opened(tmp_path) as store:
        link = await new_login_link(store, BASE, "alice", NOW)
        assert await find_login(store, link.code.replace("-", ""), NOW) is None
        await log_out(store, link.code.replace("-", ""))
        assert await log_in(store, link.code, NOW, session_days=30) is not None
        digest = sha256(b"operatortoken0123456789").hexdigest()
        await store.put_token(TokenRow(digest, "token", "ops", "operator", ("admin",), NOW))
        assert await log_in(store, "operatortoken0123456789", NOW, session_days=30) is None
        assert await find_login(store, "operatortoken0123456789", NOW) is None
        assert await store.get_token(digest) is not None


async def test_a_session_ends_when_it_is_not_used(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with opened(tmp_path) as store:
        link = await new_login_link(store, BASE, "alice", NOW)
        login = await log_in(store, link.code, NOW, session_days=2)
        assert login is not None
        assert await prolong(store, login, NOW + DAY_SECONDS / 2, session_days=2) is login
        longer = await prolong(store, login, NOW + DAY_SECONDS, session_days=2)
        assert longer.expires_at == NOW + 3 * DAY_SECONDS
        assert await find_login(store, login.token, NOW + 2.5 * DAY_SECONDS) == longer
        assert await find_login(store, login.token, NOW + 3 * DAY_SECONDS) is None


async def test_logging_out_ends_the_session_and_nothing_brings_it_back(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with opened(tmp_path) as store:
        link = await new_login_link(store, BASE, "alice", NOW)
        login = await log_in(store, link.code, NOW, session_days=2)
        assert login is not None
        await log_out(store, login.token)
        await log_out(store, login.token)
        assert await find_login(store, login.token, NOW) is None
        assert await prolong(store, login, NOW + DAY_SECONDS, session_days=2) is login
        assert await find_login(store, login.token, NOW) is None
