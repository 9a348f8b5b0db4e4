"""``GET /metrics``: the metrics in the text format of Prometheus.

Labels are names of the configuration, states, kinds and codes, never a peer, a sender or a text, so strangers cannot create
series. Nothing is counted here: each response is made from the hub's own numbers, and so agrees with status and readiness.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate

import trio
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from quart import Blueprint, Response

from gatewayd import __version__
from gatewayd.hub.gateway import Gateway
from gatewayd.hub.metrics import Metrics, metrics_of
from gatewayd.model.histogram import Histogram
from gatewayd.model.lifecycle import (
    DECIDE,
    END_INBOUND,
    INBOUND,
    INBOUND_DEAD_LETTERS,
    OUTBOUND_DEAD_LETTERS,
    OUTBOUND_OPEN,
    OUTBOUND_OVER,
)
from gatewayd.web.access.auth import Auth
from gatewayd.web.http.connection_slots import ConnectionSlots

MESSAGES = (*INBOUND.made["add_inbound"], *END_INBOUND.targets)
REPLIES = (*OUTBOUND_OVER, *OUTBOUND_DEAD_LETTERS)
ACCOUNT_STATES = ("starting", "connected", "interrupted", "waiting", "parked", "stopped", "disabled")

Samples = Iterable[tuple[tuple[str, ...], float | None]]


class Traffic:
    """The number of HTTP responses by class of status (2xx, …), and the connection slots."""

    def __init__(self, connection_slots: ConnectionSlots) -> None:
        self.counts = dict.fromkeys(("1xx", "2xx", "3xx", "4xx", "5xx"), 0)
        self.connection_slots = connection_slots

    def note(self, status: int) -> None:
        self.counts[f"{status // 100}xx"] += 1


class HubCollector(Collector):
    """All series of a gateway, made anew for each request."""

    def __init__(self, gateway: Gateway, traffic: Traffic) -> None:
        self._gateway = gateway
        self._traffic = traffic

    def collect(self) -> Iterator[Metric]:
        metrics = metrics_of(self._gateway)
        yield from _of_daemon(metrics)
        yield from _of_accounts(metrics)
        yield from _of_messages(metrics)
        yield from _of_agents(metrics)
        yield from _of_store(metrics)
        classes = [((name,), count) for name, count in self._traffic.counts.items()]
        yield _counter("http_requests", "HTTP responses, by class of status.", ("status",), classes)
        slots = self._traffic.connection_slots
        states = [(("open",), slots.taken), (("limit",), slots.limit)]
        yield _gauge("http_connections", "HTTP connections (gateway.max_connections).", ("state",), states)
        refused = [((reason,), count) for reason, count in slots.refused.items()]
        yield _counter("http_refused", "Connections and requests that got no connection slot.", ("reason",), refused)


def blueprint(gateway: Gateway, auth: Auth, traffic: Traffic) -> Blueprint:
    routes = Blueprint("metrics", __name__)
    # A registry for each gateway instead of the library's global one: a process may have two gateways.
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(HubCollector(gateway, traffic))

    @routes.get("/metrics")
    async def metrics() -> Response:
        await auth.require("read")
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)

    return routes


def _of_daemon(metrics: Metrics) -> Iterator[Metric]:
    snapshot = metrics.snapshot
    yield _gauge("build_info", "The running release.", ("version",), [((__version__,), 1)])
    yield _gauge("ready", "1 when no problem is failing, as /readyz says.", (), [((), snapshot.ready)])
    problems = [((problem.code, problem.level, problem.subject), problem.since) for problem in snapshot.problems]
    labels = ("code", "level", "subject")
    yield _gauge(
        "problem_since_timestamp_seconds", "The present problems, and the time when each began (Unix time).", labels, problems
    )
    yield _gauge("pairings_pending", "Strangers who wait for pairing.", (), [((), snapshot.pairings_pending)])
    yield _counter("events", "Events emitted since the start.", (), [((), sum(metrics.events.values()))])
    dropped = snapshot.counters["events_dropped"]
    yield _counter("events_dropped", "Events lost because the store refused them for too long.", (), [((), dropped)])
    yield _gauge("event_readers", "Open subscriptions to the events.", (), [((), metrics.event_readers)])
    yield _gauge("tasks", "Living Trio tasks.", (), [((), trio.lowlevel.current_statistics().tasks_living)])
    stalls = metrics.stalls
    yield _counter("loop_stalls", "Stalls of the event loop.", (), [((), stalls.stalls)])
    yield _gauge("loop_longest_stall_seconds", "The longest stall of the event loop.", (), [((), stalls.longest)])
    yield _counter("process_pauses", "Pauses of the whole process.", (), [((), stalls.pauses)])


def _of_accounts(metrics: Metrics) -> Iterator[Metric]:
    accounts = metrics.snapshot.accounts
    states = [((state,), sum(account.state == state for account in accounts)) for state in ACCOUNT_STATES]
    yield _gauge("accounts", "Accounts, by state.", ("state",), states)
    labels, names = ("channel", "account"), [(account.channel, account.account) for account in accounts]

    def each(values: Iterable[float | None]) -> Samples:
        return zip(names, values, strict=True)

    yield _gauge("account_up", "1 when connected.", labels, each(account.state == "connected" for account in accounts))
    lacks = each(len(account.lacks) for account in accounts)
    yield _gauge("account_lacks", "Parts of a connected account that do not work.", labels, lacks)
    restarts = each(account.restarts for account in accounts)
    yield _counter("account_restarts", "Restarts of the account.", labels, restarts)
    waiting = each(account.inbox_waiting for account in accounts)
    yield _gauge("account_inbox_waiting", "Journaled messages without a turn.", labels, waiting)
    depth = each(account.outbox_depth for account in accounts)
    yield _gauge("account_outbox_depth", "Replies not sent yet.", labels, depth)
    oldest = each(_age(metrics, account.oldest_pending_at) for account in accounts)
    yield _gauge("account_outbox_oldest_age_seconds", "Age of the oldest reply not sent yet.", labels, oldest)
    heard = each(account.last_transport_at for account in accounts)
    yield _gauge("account_heard_timestamp_seconds", "When the platform was last heard (Unix time).", labels, heard)


def _of_messages(metrics: Metrics) -> Iterator[Metric]:
    snapshot, inbox, outbox = metrics.snapshot, metrics.snapshot.inbox, metrics.snapshot.outbox
    ends = [((outcome,), metrics.events.get(f"inbound.{outcome}", 0)) for outcome in MESSAGES]
    yield _counter("inbound", "Received messages, and their outcomes.", ("outcome",), ends)
    yield _gauge("inbox_waiting", "Journaled messages without a turn.", (), [((), inbox.waiting)])
    yield _gauge("inbox_limit", "The limit on these messages (limits.inbox_backlog).", (), [((), inbox.limit)])
    yield _gauge("inbox_oldest_age_seconds", "Age of the oldest of these messages.", (), [((), _age(metrics, inbox.oldest_at))])
    yield _gauge("inbox_limited_senders", "Senders who have reached their limit.", (), [((), inbox.limited_senders)])
    sends = [((outcome,), metrics.events.get(f"outbound.{outcome}", 0)) for outcome in REPLIES]
    yield _counter("outbound", "Replies, by outcome.", ("outcome",), sends)
    rows = [((state,), getattr(outbox, state)) for state in (*OUTBOUND_OPEN, *OUTBOUND_DEAD_LETTERS)]
    dead_letters = metrics.snapshot.dead_letters
    kinds = [("in", state) for state in INBOUND_DEAD_LETTERS] + [("out", state) for state in OUTBOUND_DEAD_LETTERS]
    kept = [(kind, getattr(dead_letters, "_".join(kind))) for kind in kinds]
    yield _gauge("dead_letters", "Dead letters: messages and replies that wait for a person.", ("direction", "state"), kept)
    yield _gauge("outbox", "Replies in the store that have not ended, by state.", ("state",), rows)
    oldest = min((at for account in snapshot.accounts if (at := account.oldest_pending_at) is not None), default=None)
    yield _gauge("outbox_oldest_age_seconds", "Age of the oldest reply not sent yet.", (), [((), _age(metrics, oldest))])
    delivery = [((), metrics.delivery)]
    yield _histogram(
        "delivery_seconds", "Time from the receipt of a message to the platform's receipt for its reply.", (), delivery
    )


def _of_agents(metrics: Metrics) -> Iterator[Metric]:
    agents, lanes, slots = metrics.snapshot.agents, metrics.snapshot.lanes, metrics.slots

    def each(values: Iterable[float | None]) -> Samples:
        return zip([(agent.agent,) for agent in agents], values, strict=True)

    labels = ("agent",)
    yield _gauge("agent_up", "1 when its core is open.", labels, each(agent.state == "open" for agent in agents))
    yield _counter("agent_turns", "Attempts of turns.", labels, each(agent.turns for agent in agents))
    yield _counter("agent_failures", "Failed attempts of turns.", labels, each(agent.failures for agent in agents))
    yield _counter("agent_restarts", "Restarts of the core.", labels, each(agent.restarts for agent in agents))
    abandoned = dict.fromkeys((agent.agent for agent in agents), 0)
    abandoned |= {task.agent: task.count for task in metrics.snapshot.abandoned_tasks}
    yield _gauge(
        "agent_abandoned_tasks",
        "Calls of its core that were cancelled and still run.",
        labels,
        [((agent,), count) for agent, count in abandoned.items()],
    )
    durations = [((name,), histogram) for name, histogram in metrics.turns.items()]
    yield _histogram("turn_seconds", "Duration of attempts of turns, including the time that people take.", labels, durations)
    states = [(("live",), lanes.live), (("running",), lanes.running)]
    yield _gauge("lanes", "Lanes in memory, and those with a running turn.", ("state",), states)
    taken = [(("used",), slots.used), (("limit",), slots.limit), (("waiting",), slots.waiting)]
    yield _gauge("turn_slots", "Slots of running turns (limits.turns), and turns that wait for one.", ("state",), taken)
    yield _gauge("approvals_pending", "Pending approvals.", (), [((), metrics.snapshot.approvals_pending)])
    ends = [((outcome,), metrics.events.get(f"approval.{outcome}", 0)) for outcome in DECIDE.targets]
    yield _counter("approvals", "Approvals, by outcome.", ("outcome",), ends)


def _of_store(metrics: Metrics) -> Iterator[Metric]:
    store = metrics.store
    yield _gauge("store_healthy", "0 from a failed commit until the next successful one.", (), [((), store.healthy)])
    yield _gauge("store_queue", "Writes that wait for a commit.", (), [((), store.queue_depth)])
    yield _counter("store_rows", "Rows written.", (), [((), store.rows)])
    yield _histogram(
        "store_commit_seconds", "Duration of commits, including the sync of the disk.", (), [((), store.commit_seconds)]
    )
    retention = metrics.retention
    last_run = [((), retention.last_run_at or 0)]
    yield _gauge("store_used_bytes", "Size of the stored data at the last retention run.", (), [((), retention.bytes_used)])
    yield _counter("retention_rows", "Rows that retention has deleted.", (), [((), retention.rows_deleted)])
    yield _gauge("retention_run_timestamp_seconds", "The last retention run (Unix time); 0: none yet.", (), last_run)


def _gauge(name: str, text: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    return _filled(GaugeMetricFamily(f"gatewayd_{name}", text, labels=labels), samples)


def _counter(name: str, text: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    return _filled(CounterMetricFamily(f"gatewayd_{name}", text, labels=labels), samples)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, samples: Samples) -> Metric:
    for values, number in samples:
        if number is not None:
            family.add_metric(values, number)
    return family


def _histogram(name: str, text: str, labels: tuple[str, ...], samples: Iterable[tuple[tuple[str, ...], Histogram]]) -> Metric:
    family = HistogramMetricFamily(f"gatewayd_{name}", text, labels=labels)
    for values, histogram in samples:
        bounds = [*map(str, histogram.bounds), "+Inf"]
        family.add_metric(values, list(zip(bounds, accumulate(histogram.counts), strict=True)), histogram.total_seconds)
    return family


def _age(metrics: Metrics, at: float | None) -> float:
    """Seconds since ``at``; 0 for None."""
    return 0.0 if at is None else max(0.0, metrics.now - at)
