"""docs/reference/third-party-errors.md, cell by cell: what becomes of everything that may be raised anywhere, and that all the
rest of the daemon goes on."""

import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import cast

import anyio
import httpx2
import pytest
import trio
import trio.testing

from gatewayd.agents import echo
from gatewayd.channels import loopback
from gatewayd.cli.gatewayd import _machine_warnings
from gatewayd.config import load_config
from gatewayd.hub.gateway import Gateway
from gatewayd.hub.inbox.routing import resolve_route
from gatewayd.model.config import GatewayConfig
from gatewayd.model.errors import ConfigError
from gatewayd.plugins import Registry
from gatewayd.ports.channel import WebhookRequest
from gatewayd.ports.store import InboundRow, SessionRow
from gatewayd.stores.sqlite import SqliteStore, run_inline
from gatewayd.web.http.errors import HttpError
from gatewayd.web.webhooks import WebhookDesk
from gatewayd.wiring import build_gateway, run_hub
from tests.hub.house import NoStalls
from tests.stores.opened_before import open_store
from tests.third_party import traps
from tests.third_party.kinds import KINDS

PAGE = Path(__file__).parents[2] / "docs/reference/third-party-errors.md"
REGISTRY = Registry.of([loopback.PLUGIN, traps.CHANNEL], [echo.PLUGIN, traps.AGENT])
CONFIG = """
[agents.trap]
core = "trap"
[agents.echo]
core = "echo"
[channels.trap.accounts.main]
dm_policy = "open"
[channels.loopback.accounts.main]
dm_policy = "open"
[[bindings]]
match = { channel = "loopback" }
agent = "echo"
"""


QUICK = ("ValueError", "KeyboardInterrupt", "a group that cannot be split")


def cells() -> Iterator[tuple[str, str, str]]:
    """Kind, place and outcome of every cell of the page."""
    for table in re.findall(r"(?:^\|.*\|\n)+", PAGE.read_text(), re.M):
        head, _, *rows = [[cell.strip().strip("`") for cell in line.strip("|\n").split("|")] for line in table.splitlines(True)]
        if head[0] == "what is raised":
            yield from ((row[0], place, outcome) for row in rows for place, outcome in zip(head[1:], row[1:], strict=True))


class Hub:
    """The joined hub with the trap in it, and a neighbour who must notice nothing."""

    def __init__(self, gateway: Gateway, store: SqliteStore) -> None:
        self.gateway = gateway
        self.store = store

    async def tell(self, text: str, *, channel: str = "trap", file: bool = False) -> InboundRow:
        """A message, when it has ended."""
        attachments = (traps.FILE,) if file else ()
        [row] = await self.gateway.inbox.deliver([traps.message(text, channel=channel, attachments=attachments)])
        return await self.gateway.backlog.wait_ended(row.id)

    def state(self) -> str:
        """What has become of the account's life, in the word of the page."""
        account = self.gateway.manager.account("trap", "main").status
        return _word(account.state, account.reason, account.restarts)

    def agent_state(self) -> str:
        agent = self.gateway.agents.status("trap")
        return _word(agent.state, agent.reason, agent.restarts)


def _word(state: str, reason: str | None, restarts: int) -> str:
    if state == "parked":
        return "park"
    if state == "waiting":
        return "restart" if (reason or "").startswith("bug: ") else "wait"
    return state


@asynccontextmanager
async def open_hub(state_dir: Path, config: GatewayConfig) -> AsyncIterator[Hub]:
    async with open_store(state_dir, now=_now, run_blocking=run_inline) as store, anyio.create_task_group() as parent:
        http = cast(httpx2.AsyncClient, None)
        gateway = build_gateway(config, REGISTRY, store, http, state_dir=state_dir, now=_now, rng=Random(1), stalls=NoStalls())
        if _left_running is not None:
            await _left_running(store, config)
        gateway.enter("ready")
        async with run_hub(gateway, parent=parent):
            yield Hub(gateway, store)


_left_running: Callable[[SqliteStore, GatewayConfig], Awaitable[None]] | None = None


def _now() -> float:
    return 1_800_000_000.0 + trio.current_time()


async def leave_running(store: SqliteStore, config: GatewayConfig, *, attempts: int) -> None:
    """What the last process left: a turn that its agent was at work on."""
    [row] = (await store.add_inbound([traps.message("left")])).rows
    key = _session_key(config)
    for _ in range(attempts):
        await store.start_turn([row.id], turn_id="turn-1", session_key=key)
    await store.put_session(SessionRow(key, "trap", "s", 1, _now(), _now(), "trap"))


def _session_key(config: GatewayConfig) -> str:
    return resolve_route(traps.message("left"), config).session_key


# One scenario for each place: it gives the word of what was seen.


async def _turn(hub: Hub) -> str:
    return _turn_word(await hub.tell("hello"))


async def _turn_with_file(hub: Hub) -> str:
    return _turn_word(await hub.tell("hello", file=True))


async def _left_turn(hub: Hub) -> str:
    return _turn_word(await hub.gateway.backlog.wait_ended(1))


def _turn_word(row: InboundRow) -> str:
    begun_before = row.envelope.text == "left"
    if row.reason == "answered":
        return "again" if row.attempts > 1 + begun_before else "logged"
    return "failed" if row.reason == "agent_failed" else str(row.reason)


async def _worn_out_turn(hub: Hub) -> str:
    row = await hub.gateway.backlog.wait_ended(1)
    session = await hub.store.get_session(_session_key(hub.gateway.config))
    assert row.reason == "attempts_exhausted"
    assert session is not None
    return "noted" if session.left_over == "turn-1" else "lost"


async def _facts(hub: Hub) -> str:
    await trio.sleep(1)
    traps.armed["facts"] = _armed["facts"]
    [status, _] = hub.gateway.snapshot().agents
    return "empty" if status.version is None and status.state == "open" else "wrong"


async def _agent_life(hub: Hub) -> str:
    await trio.testing.wait_all_tasks_blocked()
    return hub.agent_state()


async def _agent_close(hub: Hub) -> str:
    await trio.sleep(1)
    await hub.gateway.agents.restart("trap")
    await trio.sleep(1)
    return "logged" if hub.agent_state() == "open" and not traps.armed else "wrong"


async def _life(hub: Hub) -> str:
    await trio.sleep(0.10001)
    return hub.state()


async def _close(hub: Hub) -> str:
    await trio.sleep(1)
    await hub.gateway.manager.restart("trap", "main")
    await trio.sleep(1)
    return "logged" if hub.state() == "connected" and not traps.armed else "wrong"


async def _send(hub: Hub) -> str:
    await hub.tell("hello")
    await trio.testing.wait_all_tasks_blocked()
    row, *_ = await hub.store.outbound_by("turn_id", "turn-1")  # of unknown outcome, it has a notice behind it
    state = hub.state()
    return row.state if state == "connected" else f"{row.state}, {state}"


async def _webhook(hub: Hub) -> str:
    await trio.sleep(1)
    try:
        await WebhookDesk(hub.gateway).answer("trap", "main", WebhookRequest("POST", {}, "", b""))
    except HttpError as error:
        return str(error.status)
    return "logged"


async def _after_webhook(hub: Hub) -> str:
    await trio.sleep(1)
    desk = WebhookDesk(hub.gateway)
    async with trio.open_nursery() as nursery:
        await nursery.start(desk.run)
        desk.afterwards(await desk.answer("trap", "main", WebhookRequest("POST", {}, "", b"")))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return "wrong" if traps.armed else "logged"


SCENARIOS: dict[str, Callable[[Hub], Awaitable[str]]] = {
    "agent open": _agent_life,
    "new_session": _turn,
    "run": _turn,
    "turn_state": _left_turn,
    "resume": _left_turn,
    "stop_turn": _worn_out_turn,
    "facts": _facts,
    "agent close": _agent_close,
    "open": _life,
    "listen": _life,
    "send": _send,
    "signal": _turn,
    "fetch": _turn_with_file,
    "receive": _webhook,
    "received": _after_webhook,
    "close": _close,
    "import": _life,
    "settings": _life,
    "problems": _life,
    "warnings": _life,
}
LEFT = {"turn_state": 1, "resume": 1, "stop_turn": 10}
_armed: dict[str, Callable[[], BaseException]] = {}


@pytest.fixture(autouse=True)
def _disarm(monkeypatch: pytest.MonkeyPatch) -> None:
    traps.armed.clear()
    monkeypatch.delitem(sys.modules, "tests.third_party.importing", raising=False)


def test_the_page_has_every_kind_at_every_place() -> None:
    found = [(kind, place) for kind, place, _ in cells()]
    assert sorted(found) == sorted((kind, place) for kind in KINDS for place in SCENARIOS)


def rows() -> Iterator[object]:
    """A test for each cell. Quick are a few kinds at each place, and the first that ends in a way of its own there."""
    seen: set[tuple[str, str]] = set()
    for kind, place, outcome in cells():
        quick = kind in QUICK or (place, outcome) not in seen
        seen.add((place, outcome))
        yield pytest.param(kind, place, outcome, id=f"{place}-{kind}", marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize(("kind", "place", "outcome"), [*rows()])
def test_what_is_raised_ends_as_the_page_says(tmp_path: Path, kind: str, place: str, outcome: str) -> None:
    traps.armed[place] = _armed[place] = KINDS[kind]
    if place == "facts":
        del traps.armed[place]
    file = tmp_path / "gatewayd.toml"
    file.write_text(CONFIG)
    try:
        config = load_config(file, REGISTRY, {})
    except ConfigError:
        assert outcome == "refused"
        return
    if place == "warnings":
        [warning] = _machine_warnings(config)
        assert "the check of the plug-in failed" in warning
        assert outcome == "told"
        return
    global _left_running
    _left_running = partial(leave_running, attempts=LEFT[place]) if place in LEFT else None

    async def go() -> None:
        async with open_hub(tmp_path, config) as hub:
            assert await SCENARIOS[place](hub) == outcome
            assert not traps.armed
            neighbour = await hub.tell("are you there?", channel="loopback")
            assert neighbour.reason == "answered"

    trio.run(go, clock=trio.testing.MockClock(autojump_threshold=0))
