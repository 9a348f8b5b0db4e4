"""What Slack has to tell the app: payloads in order, each tried, tried again as Slack does, then given up.

Facts (docs.slack.dev/apis/events-api/#retries): an event that is not answered with 2xx within 3 seconds is sent again nearly at
once, after 1 minute, and after 5 minutes; then it is lost. Interactive payloads and commands are never sent again.
"""

import uuid
from collections.abc import Awaitable, Callable
from typing import Literal

import trio
from msgspec import Struct, field

from tests.fakes.bot_api.bot import Signal
from tests.fakes.slack_platform.errors import Json

DeliveryKind = Literal["events_api", "interactive", "slash_commands"]
Outcome = Literal["waiting", "delivered", "lost"]
ACK_SECONDS = 3.0
RETRY_PAUSES: tuple[float, ...] = (0.0, 60.0, 300.0)


class Delivery(Struct):
    """One payload on its way. ``tried`` names the failures so far; ``answer`` is what the app put into its acknowledgement."""

    kind: DeliveryKind
    payload: Json
    accepts_response_payload: bool = False
    tried: list[str] = field(default_factory=list)
    outcome: Outcome = "waiting"
    answer: Json | None = None
    envelope_ids: list[str] = field(default_factory=list)

    def new_envelope_id(self) -> str:
        self.envelope_ids.append(str(uuid.uuid4()))
        return self.envelope_ids[-1]


Attempt = Callable[[Delivery], Awaitable[str | None]]
"""Tries once; None: acknowledged, else Slack's name of the failure (``http_timeout``, ``connection_failed`` …)."""


class Deliveries:
    """Every payload from its event to its end. While ``dropping``, new events vanish, as in Slack's own outages."""

    def __init__(self, nursery: trio.Nursery, attempt: Attempt, changed: Signal) -> None:
        self._nursery = nursery
        self._attempt = attempt
        self.all: list[Delivery] = []
        self._changed = changed
        self.dropping = False
        self.retrying = True

    def add(self, delivery: Delivery) -> Delivery:
        """Begin to deliver."""
        self.all.append(delivery)
        if self.dropping:
            delivery.outcome = "lost"
        else:
            self._nursery.start_soon(self._deliver, delivery)
        return delivery

    async def _deliver(self, delivery: Delivery) -> None:
        pauses = RETRY_PAUSES if delivery.kind == "events_api" and self.retrying else ()
        for pause in (0.0, *pauses):
            if delivery.tried:
                await trio.sleep(pause)
            failure = await self._attempt(delivery)
            if failure is None:
                delivery.outcome = "delivered"
                break
            delivery.tried.append(failure)
            self._changed.notify()
            if failure == "no_retry":
                break
        if delivery.outcome == "waiting":
            delivery.outcome = "lost"
        self._changed.notify()
