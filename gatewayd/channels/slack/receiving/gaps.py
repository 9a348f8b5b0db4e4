"""Fetches what was not received, after each gap."""

from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import anyio

from gatewayd.actor.wakeup import Wakeup
from gatewayd.model.errors import TryAgain
from gatewayd.ports.channel import ChannelServices

RATE_LIMITED_SECONDS: Final = 60.0
"""Slack leaves events out for the rest of a minute (Slack, "app_rate_limited event": minute_rate_limited)."""
AGAIN_SECONDS: Final = 60.0
"""The least pause after an outage."""

_LEFT_OUT: Final = "events"


class Gaps:
    """Notes gaps, from anywhere. :meth:`run` fetches what they hid, one at a time."""

    def __init__(self, services: ChannelServices, noted: Callable[[], None]) -> None:
        """``noted`` is called at each gap, before anything that comes after it is read."""
        self._services = services
        self._tell = noted
        self._noted = Wakeup()
        self._not_before = 0.0
        self._is_limited = False

    def note(self) -> None:
        """Something was perhaps not received."""
        self._tell()
        self._noted.notify()

    def note_rate_limit(self) -> None:
        """Slack leaves events out: more than 30,000 an hour in one workspace, or too many requests of it failed (Slack,
        "app_rate_limited event")."""
        reason = "Slack leaves events of this app out (app_rate_limited); they are fetched from the history"
        if not self._is_limited:
            self._services.log.warning("slack_rate_limited")
        self._is_limited = True
        self._services.connection.lacks(_LEFT_OUT, reason)
        self._not_before = anyio.current_time() + RATE_LIMITED_SECONDS
        self.note()

    async def run(self, fetch: Callable[[], Awaitable[None]]) -> NoReturn:
        """Call ``fetch`` after each gap. An outage of it is no reason to end: it is called again.

        :raises GatewayError: any other error of ``fetch``.
        """
        while True:
            await self._noted.take()
            await anyio.sleep_until(self._not_before)
            was_limited, self._is_limited = self._is_limited, False
            try:
                await fetch()
            except TryAgain as error:
                self._services.log.warning("slack_gap_not_fetched", reason=error.reason)
                self._is_limited = self._is_limited or was_limited
                self._not_before = anyio.current_time() + max(error.after_seconds or 0.0, AGAIN_SECONDS)
                self._noted.notify()
            else:
                if was_limited and not self._is_limited:
                    self._services.connection.lacks(_LEFT_OUT, None)
