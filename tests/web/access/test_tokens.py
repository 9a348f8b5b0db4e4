"""The operator token of the first start."""

import os
from pathlib import Path

import pytest
import trio

from gatewayd.model.config import AuthSection, TokenConfig
from gatewayd.model.errors import NeedsOperator, StoreRefused
from gatewayd.model.secret import Secret
from gatewayd.ports.store import TokenRow
from gatewayd.stores.sqlite import run_inline
from gatewayd.web.access.auth import Auth
from gatewayd.web.access.tokens import NAME, digest_of, ensure_token
from gatewayd.web.http.errors import HttpError
from tests.stores.opened_before import open_store
from tests.web.client import now

NONE = AuthSection()
SOME = AuthSection(tokens={"bridge": TokenConfig(token=Secret("configured-token-0123456789"))})


async def start(state_dir: Path, config: AuthSection = NONE) -> Path | None:
    """What a start of the daemon does."""
    async with open_store(state_dir, now=now, run_blocking=run_inline) as store:
        return await ensure_token(store, config, state_dir, now=now)


async def works(state_dir: Path, token: str) -> bool:
    async with open_store(state_dir, now=now, run_blocking=run_inline) as store:
        try:
            identity = await Auth(store, NONE, now=now).identify(f"Bearer {token}", "192.0.2.1")
        except HttpError:
            return False
        return identity.may("admin")


async def test_the_first_start_makes_a_token_that_works(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    path = await start(tmp_path)
    assert path == tmp_path / "token"
    assert path.stat().st_mode & 0o777 == 0o600
    token = path.read_text().strip()
    assert len(token) >= 43
    assert await works(tmp_path, token)
    assert [name for name in os.listdir(tmp_path) if "token" in name] == ["token"]


async def test_the_next_start_keeps_it(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    path = await start(tmp_path)
    assert path is not None
    token = path.read_text()
    assert await start(tmp_path) == path
    assert path.read_text() == token


async def test_a_deleted_file_means_a_new_token_and_the_old_one_is_void(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = await start(tmp_path)
    assert path is not None
    old = path.read_text().strip()
    path.unlink()
    await start(tmp_path)
    new = path.read_text().strip()
    assert new != old
    assert await works(tmp_path, new)
    assert not await works(tmp_path, old)


@pytest.mark.parametrize("is_new", [False, True])
async def test_a_login_of_the_console_outlives_a_reload_and_ends_with_the_file(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, is_new: bool
) -> None:
    path = await start(tmp_path)
    assert path is not None
    login = TokenRow(digest_of("a-login-0123456789"), "token", NAME, "operator", ("admin",), now(), now() + 60)
    async with open_store(tmp_path, now=now, run_blocking=run_inline) as store:
        await store.put_token(login)
    if is_new:
        path.unlink()
    await start(tmp_path)
    assert await works(tmp_path, "a-login-0123456789") is not is_new


async def test_none_is_made_when_tokens_are_configured(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    assert await start(tmp_path, SOME) is None
    assert not (tmp_path / "token").exists()


async def test_the_file_of_an_earlier_start_stays_valid_until_it_is_deleted(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = await start(tmp_path)
    assert path is not None
    token = path.read_text().strip()
    assert await start(tmp_path, SOME) == path
    assert await works(tmp_path, token)
    path.unlink()
    assert await start(tmp_path, SOME) is None
    assert not await works(tmp_path, token)


async def test_others_lose_access_to_the_file(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    path = tmp_path / "token"
    path.write_text("a-token-that-somebody-planted\n")
    path.chmod(0o644)
    await start(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert await works(tmp_path, "a-token-that-somebody-planted")


@pytest.mark.parametrize("content", ["", "\n", "short", "two words that are long enough", "a" * 20 + "\nand a second line"])
async def test_a_file_without_a_token_is_refused_in_words(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, content: str
) -> None:
    (tmp_path / "token").write_text(content)
    with pytest.RaisesGroup(pytest.RaisesExc(NeedsOperator, match="holds no token")):
        await start(tmp_path)


async def test_a_link_is_not_followed(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    (tmp_path / "elsewhere").write_text("a-token-that-somebody-planted\n")
    (tmp_path / "token").symlink_to(tmp_path / "elsewhere")
    with pytest.RaisesGroup(pytest.RaisesExc(StoreRefused, match="cannot be used")):
        await start(tmp_path)


@pytest.mark.parametrize("written", [b"\xef\xbb\xbf%s", b"%s\r\n", b"\xef\xbb\xbf%s\r\n"])
async def test_a_token_file_from_windows_is_read(tmp_path: Path, written: bytes, autojump_clock: trio.testing.MockClock) -> None:
    token = "a-token-of-somebody-0123456789"
    (tmp_path / "token").write_bytes(written % token.encode())
    (tmp_path / "token").chmod(0o600)
    assert await start(tmp_path) is not None
    assert await works(tmp_path, token)
