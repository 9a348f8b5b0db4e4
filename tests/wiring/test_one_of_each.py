"""The hub as it is wired does one of each thing from end to end: what contrib/wiring-holes leaves out is missed here."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, cast

import anyio
import httpx2
import trio
import trio.testing
from msgspec.structs import replace
from structlog.testing import capture_logs
from trio.testing import MockClock

from gatewayd.channels import loopback
from gatewayd.channels.loopback.platform import LoopbackPlatform, failing, platform_of
from gatewayd.channels.loopback.settings import LoopbackSettings
from gatewayd.hub.gateway import Gateway
from gatewayd.hub.outbox.files import SWEEP_EVERY_SECONDS
from gatewayd.model.config import (
    AccountFrame,
    AccountSettings,
    AgentApprovals,
    AgentFrame,
    AgentSettings,
    ApprovalsSection,
    ApproverGroup,
    GatewayConfig,
)
from gatewayd.model.errors import SendRejected
from gatewayd.model.message.envelope import Peer, Sender
from gatewayd.model.message.payload import RichText, SendText, Typing
from gatewayd.model.records.event import Event
from gatewayd.model.records.question import Question, QuestionRow
from gatewayd.plugins import Registry
from gatewayd.ports.store import EventDraft, OutboundDraft, TokenRow
from gatewayd.stores.sqlite import SqliteStore, open_store, run_inline
from gatewayd.wiring import build_gateway, drain, run_hub
from tests.hub.house import EPOCH, NoStalls
from tests.wiring import core

REGISTRY = Registry.of([loopback.PLUGIN], [core.PLUGIN])
FORGETS_PRESSES = Registry.of([replace(loopback.PLUGIN, repeats_presses=False)], [core.PLUGIN])
OPEN = AccountFrame(dm_policy="open", group_policy="open", require_mention=False)
ASKS = AgentApprovals(ask=("owner",))
DAY = 86_400.0


def configuration() -> GatewayConfig:
    owner = ApproverGroup(people=("loopback:alice",), chats=("origin",))
    return GatewayConfig(
        agents=(AgentSettings("assistant", AgentFrame(core=core.PLUGIN.id, approvals=ASKS), core.Settings()),),
        accounts=(
            AccountSettings("loopback", "main", OPEN, LoopbackSettings()),
            AccountSettings("loopback", "strict", AccountFrame(), LoopbackSettings()),
        ),
        approvals=ApprovalsSection(groups={"owner": owner}),
    )


class Hub:
    """A hub that runs, and the other side of its account."""

    def __init__(self, gateway: Gateway, store: SqliteStore) -> None:
        self.gateway = gateway
        self.store = store
        self.main: LoopbackPlatform = platform_of("main")

    async def see(self, *texts: str) -> None:
        """Returns when these were sent, since the last look."""
        await self.main.wait_until(lambda: self.main.texts == list(texts))
        self.main.sent.clear()

    async def kinds(self) -> list[str]:
        """The events of all that has happened."""
        await trio.testing.wait_all_tasks_blocked()
        await self.gateway.events.wait_flushed()
        return [event.kind for event in await self.store.events_after(0, limit=1000)]


def now() -> float:
    return EPOCH + trio.current_time()


@asynccontextmanager
async def store_of(state_dir: Path, *, ago: float = 0.0) -> AsyncIterator[SqliteStore]:
    async with open_store(state_dir, now=lambda: now() - ago, run_blocking=run_inline) as store:
        yield store


@asynccontextmanager
async def hub_over(
    store: SqliteStore, *, ago: float = 0.0, state_dir: Path = Path("/nowhere"), registry: Registry = REGISTRY
) -> AsyncIterator[Hub]:
    """Leaving it is an end without a drain."""
    with trio.fail_after(2 * SWEEP_EVERY_SECONDS):
        async with anyio.create_task_group() as parent:
            gateway = build_gateway(
                configuration(),
                registry,
                store,
                cast(httpx2.AsyncClient, None),
                state_dir=state_dir,
                stalls=NoStalls(),
                now=lambda: now() - ago,
                rng=Random(1),
            )
            async with run_hub(gateway, parent=parent):
                gateway.enter("ready")
                await trio.testing.wait_all_tasks_blocked()
                yield Hub(gateway, store)


@asynccontextmanager
async def open_hub(state_dir: Path, *, ago: float = 0.0, registry: Registry = REGISTRY) -> AsyncIterator[Hub]:
    async with store_of(state_dir, ago=ago) as store, hub_over(store, ago=ago, registry=registry) as hub:
        yield hub


async def test_a_message_is_answered_and_told_in_events(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_hub(tmp_path) as hub:
        await hub.main.say("hello")
        await hub.see("re: hello")
        await hub.gateway.backlog.wait_ended(1)
        assert hub.gateway.backlog.waiting == 0
        kinds = await hub.kinds()
        assert {"channels.state", "agent.state", "inbound.received", "inbound.done", "outbound.ready", "outbound.sent"} <= {
            *kinds
        }


async def test_a_tool_is_allowed_by_a_press(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_hub(tmp_path) as hub:
        await hub.main.say("use a tool")
        await hub.main.wait_until(lambda: bool(hub.main.shown))
        press = await hub.main.press("Allow once")
        await hub.main.wait_until(lambda: "allowed by loopback:alice" in hub.main.texts)
        assert hub.main.answers_to(press) == ["Allowed."]
        assert hub.gateway.snapshot().approvals_pending == 0


async def test_a_prompt_that_cannot_be_shown_refuses_the_tool(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_hub(tmp_path) as hub:
        hub.main.before_send.next(failing(SendRejected("the chat is gone")))
        await hub.main.say("use a tool")
        await hub.see("undeliverable by gatewayd")


async def test_a_question_is_answered_by_a_press(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_hub(tmp_path) as hub:
        await hub.main.say("ask me")
        await hub.main.wait_until(lambda: bool(hub.main.shown))
        await hub.main.press("Blue")
        await hub.main.wait_until(lambda: "answers: ('Blue',)" in hub.main.texts)


async def test_a_question_that_cannot_be_shown_is_not_waited_for(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_hub(tmp_path) as hub:
        hub.main.before_send.next(failing(SendRejected("the chat is gone")))
        await hub.main.say("ask me")
        await hub.see("answers: None")


async def test_what_is_said_later_and_aloud_is_shown(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_hub(tmp_path) as hub:
        await hub.main.say("say it later")
        await hub.main.wait_until(lambda: sorted(hub.main.texts) == ["begun", "the job is done"])
        hub.main.sent.clear()
        await hub.main.say("think aloud")
        await hub.see("hm", "thought")
        assert any(isinstance(signal, Typing) for signal in hub.main.signals)


async def test_a_command_acts_on_the_turn_that_runs(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_hub(tmp_path) as hub:
        await hub.main.say("think long")
        await trio.sleep(1)
        await hub.main.say("/stop")
        await hub.main.wait_until(lambda: len(hub.main.texts) == 1)
        row = await hub.gateway.backlog.wait_ended(1)
        assert (row.state, row.reason) == ("done", "stopped")
        await hub.main.say("/new")
        await hub.main.wait_until(lambda: hub.main.texts[-1] == "A new session has begun.")
        session = await hub.store.get_session(row.session_key or "")
        assert session is not None
        assert session.generation == 2


async def test_a_stranger_is_let_in(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_hub(tmp_path) as hub:
        strict = platform_of("strict")
        await strict.say("hello", account="strict", sender=Sender("bob"))
        await strict.wait_until(lambda: len(strict.texts) == 1)
    async with open_hub(tmp_path) as hub:
        assert hub.gateway.snapshot().pairings_pending == 1, "also after a restart"
        [pairing] = await hub.gateway.access.pending()
        await hub.gateway.let_in(pairing.code, by="operator:me")
        await strict.say("and now", account="strict", sender=Sender("bob"))
        await strict.wait_until(lambda: strict.texts[-1] == "re: and now")


async def test_a_dead_message_is_counted_and_put_back(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_hub(tmp_path) as hub:
        await hub.main.say("fail")
        await hub.gateway.backlog.wait_ended(1)
        await trio.sleep(5)
        assert hub.gateway.snapshot().dead_letters.in_dead == 1
        await hub.gateway.dead_letters.act("in-1", "retry", by="operator:me")
        await trio.sleep(5)
        assert "in-1" in (await hub.gateway.tracer.trace("in-1")).found


async def test_an_id_that_cannot_be_kept_is_the_fault_of_its_driver(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_hub(tmp_path) as hub:
        told = hub.main.inject(replace(hub.main.message("hello"), event_key="a\0b"))
        await trio.sleep(600)
        status = next(account for account in hub.gateway.snapshot().accounts if account.account == "main")
        assert status.state == "parked"
        assert "event_key has a NUL character" in str(status.reason)
        assert not told.is_set()
        assert await hub.store.get_inbound(1) is None


async def test_another_configuration_is_in_force_everywhere(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_hub(tmp_path) as hub:
        config = configuration()
        limits = replace(config.limits, inbox_backlog=7)
        hub.gateway.configured.replace(replace(config, accounts=config.accounts[:1], limits=limits))
        await hub.gateway.manager.wait_reconciled()
        assert [account.account for account in hub.gateway.manager.snapshot()] == ["main"]
        assert hub.gateway.snapshot().inbox.limit == 7


class SlowEvents:
    """A store that takes its time for events: who does not wait for them loses the last ones."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def add_events(self, drafts: Sequence[EventDraft]) -> list[Event]:
        await trio.sleep(0.1)
        return await self._store.add_events(drafts)


async def test_a_drain_lets_the_turn_end_and_says_so(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with store_of(tmp_path) as store:
        async with hub_over(cast(SqliteStore, SlowEvents(store))) as hub:
            await hub.main.say("think long")
            await trio.sleep(1)
            with capture_logs() as logs:
                await drain(hub.gateway)
            assert hub.main.texts == ["thought long"]
            assert hub.gateway.state == "draining"
            assert {account.state for account in hub.gateway.manager.snapshot()} == {"stopped"}
            assert {"event": "stopping", "within_seconds": 20.0, "log_level": "info"} in logs
        kinds = [event.kind for event in await store.events_after(0, limit=1000)]
        assert "gateway.draining" in kinds
        assert kinds[-1] == "gateway.stopped"


async def test_what_was_cut_is_taken_up(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_hub(tmp_path) as hub:
        await hub.main.say("think long")
        await trio.sleep(1)
    with capture_logs() as logs:
        async with open_hub(tmp_path) as hub:
            await hub.see("thought long")
    assert {"event": "messages_recovered", "count": 1, "log_level": "info"} in logs
    with capture_logs() as logs:
        async with open_hub(tmp_path):
            pass
    assert not [log for log in logs if log["event"] == "messages_recovered"]


async def test_a_request_is_answered_after_a_restart(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_hub(tmp_path) as hub:
        await hub.main.say("use a tool")
        await hub.main.wait_until(lambda: bool(hub.main.shown))
        await trio.sleep(1)
    async with open_hub(tmp_path) as hub:
        await trio.sleep(1)
        await hub.main.press("Allow once")
        await hub.main.wait_until(lambda: "allowed by loopback:alice" in hub.main.texts)


async def test_what_waits_for_a_press_is_shown_anew_after_a_gap(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_hub(tmp_path, registry=FORGETS_PRESSES) as hub:
        await hub.main.say("use a tool")
        await hub.main.wait_until(lambda: bool(hub.main.shown))
        await trio.sleep(1)
    async with open_hub(tmp_path, registry=FORGETS_PRESSES) as hub:
        await hub.main.wait_until(lambda: len([message for message in hub.main.shown.values() if message.choices]) == 2)
        await hub.main.press("Allow once")
        await hub.main.wait_until(lambda: "allowed by loopback:alice" in hub.main.texts)


async def test_what_a_turn_that_is_gone_has_asked_is_void(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_hub(tmp_path) as hub:
        await hub.main.say("use a tool")
        await hub.main.wait_until(lambda: bool(hub.main.shown))
    question = QuestionRow("qu_1", "turn-9", 0, "key", Question("Which?"), "pending", now(), now() + DAY)
    async with store_of(tmp_path) as store:
        await store.end_inbound([1], state="done", reason="stopped", now=now())
        await store.add_question(question)
        await store.put_token(TokenRow("digest", "login_code", "alice", "operator", (), now() - 9, now() - 1))
        async with hub_over(store) as hub:
            assert [row.state for row in await store.list_approvals(None, limit=9)] == ["withdrawn"]
            assert [row.state for row in await store.questions_of("turn-9")] == ["withdrawn"]
            assert await store.get_token("digest") is None


async def test_a_reply_of_unknown_fate_is_told_and_shown_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_hub(tmp_path) as hub:
        hub.main.before_send.next(trio.sleep_forever)
        await hub.main.say("hello")
        await trio.sleep(1)
        assert hub.gateway.snapshot().outbox.sending == 1
    async with open_hub(tmp_path) as hub:
        await hub.main.wait_until(lambda: len(hub.main.texts) == 1)
        await trio.sleep(5)
        snapshot = hub.gateway.snapshot()
        assert (snapshot.outbox.unknown, snapshot.dead_letters.out_unknown) == (1, 1)
        code = hub.main.texts[0].partition("/show ")[2].split()[0].strip("`")
        await hub.main.say(f"/show {code}")
        await hub.main.wait_until(lambda: hub.main.texts[-1] == "re: hello")


async def test_what_was_being_sent_at_a_crash_is_counted(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Recovery makes it a dead letter, of which no event tells."""
    peer = Peer("dm", "alice")
    async with store_of(tmp_path) as store:
        payload = SendText(peer, RichText("half sent"))
        [row] = await store.add_outbound([OutboundDraft("loopback", "main", "dm:alice", payload)], now=now())
        assert await store.mark_sending(row.id)
        async with hub_over(store) as hub:
            await trio.sleep(5)
            snapshot = hub.gateway.snapshot()
            assert (snapshot.outbox.unknown, snapshot.dead_letters.out_unknown) == (1, 1)


async def test_what_is_over_and_old_goes(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_hub(tmp_path, ago=100 * DAY) as hub:
        await hub.main.say("hello")
        await hub.see("re: hello")
        await hub.gateway.backlog.wait_ended(1)
        await trio.sleep(1)
    async with open_hub(tmp_path) as hub:
        assert await hub.store.get_inbound(1) is not None
        await trio.sleep(120)
        assert await hub.store.get_inbound(1) is None


async def test_a_file_that_no_row_names_goes(tmp_path: Path, autojump_clock: MockClock) -> None:
    orphan = tmp_path / "files" / ("0" * 32)
    orphan.parent.mkdir()
    orphan.touch()
    os.utime(orphan, (0, 0))
    async with store_of(tmp_path) as store, hub_over(store, state_dir=tmp_path):
        await trio.sleep(SWEEP_EVERY_SECONDS)
        for _ in range(10_000):
            if orphan.exists():
                await trio.to_thread.run_sync(lambda: None)  # the files are deleted in threads, which have no part in the clock
        assert not orphan.exists()
