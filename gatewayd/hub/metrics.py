"""The metrics at one moment, from memory: the snapshot, and values that only metrics show. web/api/metrics.py renders them."""

from collections.abc import Mapping

from msgspec import Struct

from gatewayd.hub.gateway import Gateway
from gatewayd.hub.operations.retention import RetentionStatistics
from gatewayd.hub.turns.slots import SlotStatistics
from gatewayd.model.histogram import Histogram
from gatewayd.model.status import Snapshot, StallStatistics
from gatewayd.ports.store import StoreStatistics


class Metrics(Struct, frozen=True):
    """``now`` is Unix seconds. ``events`` counts the events since the start, by kind. ``delivery`` measures from the receipt of a
    message to the delivery of its answer. ``turns`` measures attempts, by agent, including the waits for people."""

    now: float
    snapshot: Snapshot
    store: StoreStatistics
    slots: SlotStatistics
    events: Mapping[str, int]
    event_readers: int
    delivery: Histogram
    turns: Mapping[str, Histogram]
    stalls: StallStatistics
    retention: RetentionStatistics


def metrics_of(gateway: Gateway) -> Metrics:
    """No I/O."""
    return Metrics(
        now=gateway.now(),
        snapshot=gateway.snapshot(),
        store=gateway.store.statistics(),
        slots=gateway.turns.slot_statistics(),
        events=gateway.events.counts,
        event_readers=gateway.events.readers,
        delivery=gateway.outbox.delivery_times(),
        turns=gateway.agents.durations(),
        stalls=gateway.stalls.statistics(),
        retention=gateway.retention.statistics(),
    )
