"""Two gateways on one store, each with accounts of its own: neither ends what waits for the other."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import cast

import anyio
import httpx2
import trio
import trio.testing
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.channels.loopback.settings import LoopbackSettings
from gatewayd.hub.gateway import Gateway
from gatewayd.hub.reload import Reloader
from gatewayd.model.config import AccountSettings, GatewayConfig
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.message.payload import RichText, SendText
from gatewayd.model.records.question import Question, QuestionRow
from gatewayd.ports.store import OutboundDraft
from gatewayd.stores.sqlite import SqliteStore
from gatewayd.testing.store_contract.rows import approval
from gatewayd.wiring import build_gateway, run_hub
from tests.hub.house import NoStalls
from tests.wiring.test_one_of_each import DAY, OPEN, REGISTRY, configuration, now, store_of

OWNED = ("inbound", "outbound", "approval", "question", "session", "pairing", "state", "token", "audit")


def configured(*names: str) -> GatewayConfig:
    return replace(configuration(), accounts=tuple(AccountSettings("loopback", name, OPEN, LoopbackSettings()) for name in names))


@asynccontextmanager
async def running(store: SqliteStore, name: str, *accounts: str) -> AsyncIterator[Gateway]:
    """Leaving it is an end without a drain."""
    http = cast(httpx2.AsyncClient, None)
    async with anyio.create_task_group() as parent:
        gateway = build_gateway(
            configured(*accounts),
            REGISTRY,
            store,
            http,
            state_dir=Path("/nowhere"),
            stalls=NoStalls(),
            now=now,
            rng=Random(1),
            name=name,
        )
        async with run_hub(gateway, parent=parent):
            gateway.enter("ready")
            await trio.testing.wait_all_tasks_blocked()
            yield gateway


async def leave_one_of_each(store: SqliteStore, account: str) -> None:
    """What a process that was killed leaves of an account: messages before and in a turn, what turns asked, and replies."""
    bob = Peer("dm", "bob")
    keys = ("waiting", "begun", "ended")
    told = [InboundEnvelope("loopback", account, key, "message", bob, Sender("bob"), "hello", received_at=now()) for key in keys]
    _, begun, ended = [row.id for row in (await store.add_inbound(told)).rows]
    for number in (begun, ended):
        await store.start_turn([number], turn_id=f"turn-{number}", session_key=f"key-{account}")
        await store.add_approval(replace(approval(number, turn_id=f"turn-{number}"), expires_at=now() - 1))
        question = Question("Which?")
        row = QuestionRow(f"qu_{number}", f"turn-{number}", 0, "key", question, "pending", now() - DAY, now() + DAY)
        await store.add_question(row)
    await store.end_inbound([ended], state="done", reason="answered", now=now())
    draft = OutboundDraft("loopback", account, "dm:bob", SendText(bob, RichText("hi")))
    sending, *_ = await store.add_outbound([draft, draft], now=now() - 2 * DAY)
    await store.mark_sending(sending.id)


async def rows_of(store: SqliteStore) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table that a start may change; the log of events is everybody's."""

    def read(connection: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in OWNED}  # noqa: S608

    return await store._read(read)


async def states(store: SqliteStore) -> list[list[str]]:
    """Of messages, replies, requests and questions."""
    sql = "SELECT state FROM {} ORDER BY rowid"

    def read(connection: sqlite3.Connection) -> list[list[str]]:
        return [[state for (state,) in connection.execute(sql.format(table))] for table in OWNED[:4]]

    return await store._read(read)


async def reasons(store: SqliteStore) -> list[str | None]:
    rows = [await store.get_inbound(number) for number in (1, 2, 3)]
    return [row.reason for row in rows if row is not None]


LEFT = [["received", "running", "done"], ["sending", "ready"], ["pending", "pending"], ["pending", "pending"]]


async def test_the_start_of_the_second_changes_no_row_of_the_first(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with store_of(tmp_path) as store:
        await store.claim_accounts("first", [("loopback", "one")])
        await leave_one_of_each(store, "one")
        before = await rows_of(store)
        async with running(store, "second", "two") as second:
            await trio.sleep(5)
            assert second.backlog.waiting == 0
            assert second.approvals.pending_count() == 0
            assert await rows_of(store) == before
        assert await states(store) == LEFT
        async with running(store, "first", "one"):
            await trio.sleep(5)
            messages, replies, requests, questions = await states(store)
            assert messages == ["done", "done", "done"]
            assert replies[:2] == ["unknown", "parked"]
            assert requests == ["expired", "expired"]
            assert questions[1] == "withdrawn"


async def test_what_is_left_of_an_account_that_was_removed_is_ended_by_its_own_gateway(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with store_of(tmp_path) as store:
        async with running(store, "first", "one", "three"):
            pass
        async with running(store, "second", "two"):
            pass
        await leave_one_of_each(store, "one")
        async with running(store, "second", "two"):
            await trio.sleep(5)
            assert await states(store) == LEFT
        async with running(store, "first", "three"):
            await trio.sleep(5)
            assert await reasons(store) == ["account_removed", "account_removed", "answered"]
            assert (await states(store))[1:] == [["unknown", "parked"], ["expired", "expired"], ["withdrawn", "withdrawn"]]


async def test_an_account_that_moved_is_the_business_of_its_new_gateway(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with store_of(tmp_path) as store:
        async with running(store, "first", "one", "three"):
            pass
        async with running(store, "second", "one"):
            pass
        await leave_one_of_each(store, "one")
        async with running(store, "first", "three"):
            await trio.sleep(5)
            assert await states(store) == LEFT


async def test_an_account_that_came_by_a_reload_is_ended_when_it_is_gone_at_the_next_start(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with store_of(tmp_path) as store:
        async with running(store, "first", "three") as first:

            async def load() -> GatewayConfig:
                return configured("three", "one")

            async def prepare(config: GatewayConfig) -> None:
                pass

            await Reloader(first, load, prepare).reload("operator:me")
        await leave_one_of_each(store, "one")
        async with running(store, "first", "three"):
            await trio.sleep(5)
            assert await reasons(store) == ["account_removed", "account_removed", "answered"]
