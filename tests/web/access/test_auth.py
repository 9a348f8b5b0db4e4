"""Tokens: who they are, what they may, and what happens to who guesses."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from gatewayd.channels.webchat import login
from gatewayd.model.config import AuthSection, Role, Scope, TokenConfig
from gatewayd.model.errors import StoreRefused
from gatewayd.model.secret import Secret
from gatewayd.ports.store import TokenRow
from gatewayd.stores.sqlite import SqliteStore, run_inline
from gatewayd.web.access.auth import FAILURES_PER_WINDOW, UNGUESSABLE_CHARS, WINDOW_SECONDS, Auth, FailureLimiter, Identity
from gatewayd.web.access.tokens import NAME as LOCAL
from gatewayd.web.access.tokens import digest_of
from gatewayd.web.console import routes as console
from gatewayd.web.http.errors import HttpError
from tests.stores.opened_before import open_store
from tests.web.client import now

CONNECTOR = "configured-token-0123456789"
STORED = "stored-token-0123456789"
HERE, THERE = "192.0.2.1", "192.0.2.2"


def row(token: str, *, kind: str = "token", expires_at: float | None = None, scopes: tuple[str, ...] = ("admin",)) -> TokenRow:
    return TokenRow(
        digest=digest_of(token),
        kind=kind,  # type: ignore[arg-type]
        name="ops",
        role="operator",
        scopes=scopes,
        created_at=0.0,
        expires_at=expires_at,
    )


@pytest.mark.parametrize(
    ("role", "possible"),
    [("operator", {"read", "write", "approvals", "pairing", "admin"}), ("connector", {"read", "write"}), ("node", {"read"})],
)
def test_no_scope_goes_beyond_the_role(role: Role, possible: set[Scope]) -> None:
    """Also of a token that was stored by another release, or by hand."""
    everything: tuple[Scope, ...] = ("read", "write", "approvals", "pairing", "admin")
    for scopes in (frozenset(everything), frozenset[Scope](["admin"])):
        identity = Identity("x", role, scopes)
        assert {scope for scope in everything if identity.may(scope)} == possible
    assert not Identity("x", role, frozenset()).may("read")


@asynccontextmanager
async def open_auth(path: Path) -> AsyncIterator[tuple[Auth, SqliteStore]]:
    config = AuthSection(tokens={"bridge": TokenConfig(token=Secret(CONNECTOR), role="connector", scopes=("read", "write"))})
    async with open_store(path, now=now, run_blocking=run_inline) as store:
        await store.put_token(row(STORED))
        yield Auth(store, config, now=now), store


async def error_of(auth: Auth, authorization: str | None, address: str = HERE) -> HttpError:
    with pytest.raises(HttpError) as caught:
        await auth.identify(authorization, address)
    return caught.value


async def test_configured_and_stored_tokens_are_known(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_auth(tmp_path) as (auth, _):
        bridge = await auth.identify(f"Bearer {CONNECTOR}", HERE)
        assert bridge == Identity("bridge", "connector", frozenset({"read", "write"}))
        assert (await auth.identify(f"bearer   {STORED} ", HERE)).label == "operator:ops"


async def test_admin_includes_every_scope(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_auth(tmp_path) as (auth, _):
        operator = await auth.identify(f"Bearer {STORED}", HERE)
        bridge = await auth.identify(f"Bearer {CONNECTOR}", HERE)
    assert all(operator.may(scope) for scope in ("read", "write", "approvals", "pairing", "admin"))
    assert [scope for scope in ("read", "write", "approvals", "pairing", "admin") if bridge.may(scope)] == ["read", "write"]


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", f"Basic {STORED}", STORED, "Bearer wrong-token-0123456789"])
async def test_anything_else_is_unauthorized(tmp_path: Path, autojump_clock: trio.testing.MockClock, header: str | None) -> None:
    async with open_auth(tmp_path) as (auth, _):
        error = await error_of(auth, header)
    assert error.code == "unauthorized"
    assert error.headers["WWW-Authenticate"].startswith("Bearer ")


async def test_other_kinds_and_expired_tokens_are_not_tokens(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_auth(tmp_path) as (auth, store):
        await store.put_token(row("a-web-session-0123456789", kind="web_session"))
        await store.put_token(row("a-login-code-0123456789", kind="login_code"))
        await store.put_token(replace(row("an-expiring-token-0123", expires_at=now() + 5), name="local"))
        await store.put_token(row("a-token-of-tomorrow-01", scopes=("read", "time_travel")))
        assert (await error_of(auth, "Bearer a-web-session-0123456789")).code == "unauthorized"
        assert (await error_of(auth, "Bearer a-login-code-0123456789")).code == "unauthorized"
        assert (await error_of(auth, "Bearer a-token-of-tomorrow-01")).code == "unauthorized"
        assert (await auth.identify("Bearer an-expiring-token-0123", HERE)).name == "local"
        await trio.sleep(5)
        assert (await error_of(auth, "Bearer an-expiring-token-0123")).code == "unauthorized"


async def test_a_guesser_is_stopped_and_others_are_not(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_auth(tmp_path) as (auth, _):
        for attempt in range(FAILURES_PER_WINDOW):
            assert (await error_of(auth, f"Bearer guess-{attempt}")).code == "unauthorized"
        stopped = await error_of(auth, "Bearer guess-again")
        assert (stopped.code, stopped.status) == ("too_many_requests", 429)
        assert 0 < int(stopped.headers["Retry-After"]) <= WINDOW_SECONDS
        # Not even a right token is looked at when it is so short that somebody may have made it up, or the limit would be none.
        assert (await error_of(auth, f"Bearer {STORED}")).code == "too_many_requests"
        assert (await auth.identify(f"Bearer {STORED}", THERE)).name == "ops"
        await trio.sleep(WINDOW_SECONDS)
        assert (await error_of(auth, "Bearer guess-again")).code == "unauthorized"


async def test_a_token_that_was_right_before_is_not_locked_out(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_auth(tmp_path) as (auth, store):
        await auth.identify(f"Bearer {STORED}", THERE)
        for attempt in range(FAILURES_PER_WINDOW + 1):
            await error_of(auth, f"Bearer guess-{attempt}")
        assert (await auth.identify(f"Bearer {STORED}", HERE)).name == "ops"
        await store.delete_token(digest_of(STORED))
        assert (await error_of(auth, f"Bearer {STORED}")).code == "too_many_requests"
        assert (await error_of(auth, f"Bearer {STORED}", THERE)).code == "unauthorized"


async def test_a_token_that_nobody_can_guess_is_let_in_though_a_neighbour_guesses(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    long = "x" * UNGUESSABLE_CHARS
    async with open_auth(tmp_path) as (auth, store):
        await store.put_token(row(long))
        for attempt in range(3 * FAILURES_PER_WINDOW):
            error = await error_of(auth, f"Bearer {attempt:032}")
            assert error.code == ("unauthorized" if attempt < FAILURES_PER_WINDOW else "too_many_requests")
        assert (await auth.identify(f"Bearer {long}", HERE)).name == "ops"
        assert (await error_of(auth, f"Bearer {long[:-1]}")).code == "too_many_requests"


KINDS = ("token", "basic", "console code", "webchat login code")


async def test_each_kind_of_secret_is_counted_apart(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_auth(tmp_path) as (auth, _):
        for number, guessed in enumerate(KINDS):
            address = f"192.0.2.{number}"
            for _ in range(FAILURES_PER_WINDOW):
                assert (await auth.count_failure(guessed, HttpError("unauthorized", "no"), address)).code == "unauthorized"
            assert (await auth.count_failure(guessed, HttpError("unauthorized", "no"), address)).code == "too_many_requests"
            for other in set(KINDS) - {guessed}:
                assert (await auth.count_failure(other, HttpError("unauthorized", "no"), address)).code == "unauthorized", (
                    guessed,
                    other,
                )


def test_codes_and_tokens_of_ours_cannot_be_guessed() -> None:
    """What needs no lock-out: codes of at least 80 bits, in the alphabet that their texts show."""
    assert 8 * login._CODE_BYTES >= 80
    assert 5 * len(login._new_code().replace("-", "")) >= 80
    assert 8 * console._CODE_BYTES >= 80
    assert len(secrets.token_urlsafe(32)) >= UNGUESSABLE_CHARS


def test_the_table_of_addresses_is_bounded_and_ipv6_counts_by_network() -> None:
    limiter = FailureLimiter(lambda: 0.0, allowed=1, addresses=2)
    limiter.failed("2001:db8::1")
    assert limiter.retry_after("2001:db8::ffff") == WINDOW_SECONDS
    assert limiter.retry_after("2001:db8:0:1::1") is None
    limiter.failed("192.0.2.1")
    limiter.failed("192.0.2.2")
    assert limiter.retry_after("2001:db8::1") is None
    assert limiter.retry_after("192.0.2.2") == WINDOW_SECONDS


def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    time = [1000.0]
    limiter = FailureLimiter(lambda: time[0], allowed=1)
    limiter.failed(HERE)
    time[0] = 0.0
    assert (limiter.retry_after(HERE) or 0) <= WINDOW_SECONDS


async def test_the_operator_is_known_while_the_store_cannot_be_read(tmp_path: Path) -> None:
    """By the token in the file, which only a restart ends: it is the time to ask for the status. Nobody else is let in."""
    async with open_auth(tmp_path / "db") as (auth, store):
        await store.put_token(replace(row("local-token-0123456789"), name=LOCAL))
        await store.put_token(replace(row("login-token-0123456789", expires_at=now() + 1000), name=LOCAL))
        for token in ("local-token-0123456789", "login-token-0123456789", STORED):
            await auth.identify(f"Bearer {token}", HERE)
    # It is closed: every read fails.
    assert (await auth.identify("Bearer local-token-0123456789", HERE)).name == LOCAL
    for token in ("login-token-0123456789", STORED, "unknown-token-0123456789"):
        with pytest.raises(StoreRefused):
            await auth.identify(f"Bearer {token}", HERE)
