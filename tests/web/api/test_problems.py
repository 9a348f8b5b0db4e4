"""The fault matrix over HTTP: /readyz, status and /metrics name the same problems, in the same places, since the same moment."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import get_args

import pytest
import trio
import trio.testing
from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

from gatewayd.hub.operations.health import FAILED_IN_A_ROW, OLD_SECONDS, RejectedReload
from gatewayd.model.config import AccountSettings, AgentFrame, AgentSettings, GatewayConfig, LimitsSection
from gatewayd.model.errors import OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.status import AbandonedTask, ProblemCode, Stall
from gatewayd.ports.agent import CoreFacts
from tests.stores.opened_before import every_outbound
from tests.web import attached, hook
from tests.web.client import now
from tests.web.site import ACCOUNTS, AGENTS, OPEN, Site, configuration, open_site

Told = tuple[str, str, str, float]
"""Code, level, subject, since."""


class Expected(Struct, frozen=True):
    code: ProblemCode
    subject: str
    since: float


Fault = Callable[[Site], Awaitable[Expected]]
DOWN = configuration(accounts=(*ACCOUNTS, AccountSettings("hook", "down", OPEN, hook.HookSettings(down=True))))
SMALL = configuration(limits=LimitsSection(inbox_backlog=1, turns=1))
SMALL_ACCOUNT = configuration(limits=LimitsSection(account_backlog=1, turns=1))


async def tell(site: Site) -> dict[str, set[Told]]:
    """What each of the three says, and that readiness follows from it."""
    async with site.client("read") as client:
        ready = await client.get("/readyz")
        status = (await client.get("/v1/gateway/status")).json()
        metrics = (await client.get("/metrics")).text
    series = [sample for family in text_string_to_metric_families(metrics) for sample in family.samples]
    [gauge] = [sample.value for sample in series if sample.name == "gatewayd_ready"]
    name = "gatewayd_problem_since_timestamp_seconds"
    shown = {(s.labels["code"], s.labels["level"], s.labels["subject"], s.value) for s in series if s.name == name}
    told = {
        "readyz": {_told(problem) for problem in ready.json()["problems"]},
        "status": {_told(problem) for problem in status["problems"]},
        "metrics": shown,
    }
    fails = any(level == "failing" for _, level, _, _ in shown)
    assert (ready.status_code, ready.json()["ready"], status["ready"], bool(gauge)) == (
        503 if fails else 200,
        not fails,
        not fails,
        not fails,
    )
    return told


def _told(problem: dict[str, object]) -> Told:
    assert problem["text"]
    return str(problem["code"]), str(problem["level"]), str(problem["subject"]), float(str(problem["since"]))


async def say(site: Site, text: str, peer: str, *, channel: str = "loopback", account: str = "main") -> None:
    envelope = InboundEnvelope(channel, account, f"{peer}-{text}", "message", Peer("dm", peer), Sender(peer), text=text)
    await site.gateway.inbox.deliver([envelope])
    await trio.testing.wait_all_tasks_blocked()


async def settle(site: Site, error: Exception) -> float:
    """Have a reply end with this error; when it did."""
    channel = site.hook()

    async def refuse(payload: object, *, key: str) -> object:
        raise error

    channel.send = refuse  # type: ignore[assignment,method-assign]
    await say(site, "hello", "7", channel="hook")
    while site.gateway.outbox.depth("hook", "main"):
        await site.gateway.outbox.wait_settled()
    row = next(row for row in await every_outbound(site.store) if row.state in ("dead", "unknown"))  # its notice is behind it
    await trio.sleep(2)  # the dead letters are counted a moment later
    assert row.settled_at is not None
    return row.settled_at


async def starting(site: Site) -> Expected:
    site.gateway.enter("starting")
    return Expected("starting", "", now())


async def draining(site: Site) -> Expected:
    site.gateway.enter("draining")
    return Expected("draining", "", now())


async def disk_full(site: Site) -> Expected:
    site.fill_disk()
    began_at = now()
    for _ in range(50):
        site.gateway.events.emit("test.filler", filler="x" * 4000)
    await trio.sleep(0.5)
    assert not site.store.statistics().healthy
    return Expected("store_unwritable", "", began_at)


async def account_down(site: Site) -> Expected:
    [status] = [account for account in site.gateway.manager.snapshot() if account.account == "down"]
    began_at = status.since
    await trio.sleep(90)  # from starting to waiting: down since the start all the same
    status = site.gateway.manager.account("hook", "down").status
    assert (status.state, status.since > began_at) == ("waiting", True)
    return Expected("account_down", "hook/down", began_at)


async def inbox_full(site: Site) -> Expected:
    await _fill(site)
    return Expected("inbox_full", "", now())


async def account_full(site: Site) -> Expected:
    await _fill(site)
    return Expected("account_full", "loopback/main", now())


async def _fill(site: Site) -> None:
    place = site.gateway.turns.slots.of("somebody/else")
    await place.acquire()
    await say(site, "waits", "7")


async def agent_failing(site: Site) -> Expected:
    began_at = now()
    for _ in range(FAILED_IN_A_ROW):
        site.gateway.agents.note_end("assistant", 1.0, error="no key")
        await trio.sleep(30)
    return Expected("agent_failing", "assistant", began_at)


async def agent_away(site: Site) -> Expected:
    began_at = now()
    core = site.gateway.agents.open_core("assistant")
    core.facts = lambda: CoreFacts(away_since=began_at, away_reason="no route")  # type: ignore[union-attr]
    await trio.sleep(60)
    return Expected("agent_away", "assistant", began_at)


async def agent_task_abandoned(site: Site) -> Expected:
    began_at = now()
    left = AbandonedTask("assistant", 1, began_at, ("core.py:7 in agent",))
    site.gateway.turns.abandoned_tasks = lambda: (left,)  # type: ignore[method-assign]
    await trio.sleep(60)
    return Expected("agent_task_abandoned", "assistant", began_at)


async def account_degraded(site: Site) -> Expected:
    site.hook().services.connection.lacks("#ops", "banned")
    return Expected("account_degraded", "hook/main", now())


async def outbox_old(site: Site) -> Expected:
    async def refuse(payload: object, *, key: str) -> object:
        raise TryAgain("too many requests", after_seconds=900, scope="conversation")

    site.hook().send = refuse  # type: ignore[assignment,method-assign]
    await say(site, "hello", "7", channel="hook")
    began_at = now()
    assert site.gateway.outbox.depth("hook", "main") == 1
    await trio.sleep(OLD_SECONDS + 1)
    return Expected("outbox_old", "hook/main", began_at)


async def dead_letter(site: Site) -> Expected:
    return Expected("dead_letters", "", await settle(site, SendRejected("the chat is gone")))


async def unknown_send(site: Site) -> Expected:
    return Expected("unknown_sends", "", await settle(site, OutcomeUnknown("cut")))


async def loop_stalled(site: Site) -> Expected:
    began_at = now()
    site.stalls.newest = Stall(began_at, 3.0, "core.py:7 in run")
    await trio.sleep(60)
    return Expected("loop_stalled", "", began_at)


async def no_descriptors(site: Site) -> Expected:
    began_at = now()
    site.gateway.note_no_descriptors(began_at)
    await trio.sleep(60)
    return Expected("no_descriptors", "", began_at)


async def config_refused(site: Site) -> Expected:
    began_at = now()
    site.gateway.note_refused(RejectedReload(began_at, "[limits].turns is not a number"))
    await trio.sleep(60)
    return Expected("config_refused", "", began_at)


async def agent_down(site: Site) -> Expected:
    await trio.sleep(90)
    [status] = [agent for agent in site.gateway.agents.snapshot() if agent.agent == "away"]
    assert (status.state, status.down_since is not None) == ("waiting", True)
    return Expected("agent_down", "away", site.gateway.started_at)


AWAY = AgentSettings("away", AgentFrame(core="attached"), attached.AttachedSettings(down=True))
MATRIX: list[tuple[Fault, GatewayConfig]] = [
    (starting, configuration()),
    (draining, configuration()),
    (disk_full, configuration()),
    (account_down, DOWN),
    (agent_down, configuration(agents=(*AGENTS, AWAY))),
    (agent_failing, configuration()),
    (agent_away, configuration()),
    (agent_task_abandoned, configuration()),
    (inbox_full, SMALL),
    (account_full, SMALL_ACCOUNT),
    (account_degraded, configuration()),
    (outbox_old, configuration()),
    (dead_letter, configuration()),
    (unknown_send, configuration()),
    (loop_stalled, configuration()),
    (no_descriptors, configuration()),
    (config_refused, configuration()),
]


@pytest.mark.parametrize(("fault", "config"), MATRIX, ids=[fault.__name__ for fault, _ in MATRIX])
async def test_all_three_tell_the_same_and_since_the_beginning(
    tmp_path: Path, clock: trio.testing.MockClock, fault: Fault, config: GatewayConfig
) -> None:
    async with open_site(tmp_path, config, connected=config is not DOWN) as site:
        if config is not DOWN:
            assert await tell(site) == {"readyz": set(), "status": set(), "metrics": set()} or fault is agent_down
        expected = await fault(site)
        for _ in range(2):  # looking at it later changes nothing
            told = await tell(site)
            assert told["readyz"] == told["status"] == told["metrics"]
            [(code, _, subject, since)] = told["status"]
            assert (code, subject) == (expected.code, expected.subject)
            assert since == pytest.approx(expected.since, abs=0.5)
            await trio.sleep(30)


def test_the_matrix_has_every_code() -> None:
    names = {fault.__name__ for fault, _ in MATRIX}
    aliases = {"disk_full": "store_unwritable", "dead_letter": "dead_letters", "unknown_send": "unknown_sends"}
    assert {aliases.get(name, name) for name in names} == set(get_args(ProblemCode))
