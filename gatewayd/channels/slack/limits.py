"""How fast the Web API may be called.

Slack counts for each method and workspace, and for chat.postMessage for each channel, too ("Rate limits"). No answer says what
is left. So calls are paced by what the pages of the methods promise, and a 429 pauses what it is about.
"""

from typing import Final

import anyio
from msgspec import Struct

from gatewayd.kit.network.rate import Pace
from gatewayd.model.errors import Scope, TryAgain

PATIENCE_SECONDS: Final = 10.0
"""A call waits so long for its turn. When it has to wait longer, its caller is told, so that it can be seen who waits."""

KEPT: Final = 1_000
"""Paces in memory. When there are more, those that limit nothing now are forgotten."""

POST: Final = "chat.postMessage"


class Rate(Struct, frozen=True):
    """So many calls at once, and so many in the long run."""

    burst: int
    per_second: float


_IN_CHANNEL: Final = Rate(3, 1.0)
"""One message a second to a channel, and short bursts of more ("Rate limits", "Posting messages")."""

_TIER_2, _TIER_3, _TIER_4 = (Rate(calls // 2, calls / 60) for calls in (20, 50, 100))
"""Calls a minute, "with occasional bursts" ("Rate limits", "Overview")."""

_UNTOLD: Final = Rate(100, 20.0)
"""Of auth.test, assistant.threads.setStatus and chat.postMessage to all channels together, Slack says "special rate limits apply"
without a number."""

_RATES: Final = {
    "apps.connections.open": _TIER_3,
    "bots.info": _TIER_3,
    "chat.appendStream": _TIER_4,
    "chat.delete": _TIER_3,
    "chat.postEphemeral": _TIER_4,
    "chat.startStream": _TIER_2,
    "chat.stopStream": _TIER_2,
    "chat.update": _TIER_3,
    "conversations.history": _TIER_3,
    "conversations.info": _TIER_3,
    "conversations.open": _TIER_3,
    "conversations.replies": _TIER_3,
    "files.completeUploadExternal": _TIER_4,
    "files.delete": _TIER_3,
    "files.getUploadURLExternal": _TIER_4,
    "files.info": _TIER_4,
    "users.conversations": _TIER_3,
    "users.info": _TIER_4,
}
"""As the page of each method says. conversations.history and .replies have one call a minute in an app that is distributed
outside of Slack's marketplace; what such an app may do, its 429s tell."""


class CallLimits:
    """The limits of one account. Times are those of the event loop's clock."""

    def __init__(self) -> None:
        self._paces: dict[tuple[str, str], tuple[Rate, Pace]] = {}
        self._paused: dict[tuple[str, str], float] = {}

    def seconds_until(self, method: str, channel: str = "", *, leave: int = 0) -> float:
        """How long a call would have to wait now; 0 for not at all. ``leave``: with room for so many calls after it, which matter
        more."""
        now = anyio.current_time()
        ready = (pace.ready_at() + leave / rate.per_second for rate, pace in self._of(method, channel))
        return max(0.0, self._paused_until(method, channel) - now, *(at - now for at in ready))

    async def wait(self, method: str, channel: str = "") -> None:
        """Wait for the turn of a call, which comes in the order in which they ask.

        :raises TryAgain: it would take longer than ``PATIENCE_SECONDS``.
        """
        seconds = self.seconds_until(method, channel)
        if seconds <= PATIENCE_SECONDS:
            now = anyio.current_time()
            for _, pace in self._of(method, channel):
                pace.take(now)
            await anyio.sleep(seconds)
            # Slack may have refused another call meanwhile.
            seconds = self._paused_until(method, channel) - anyio.current_time()
        if seconds > 0:
            raise TryAgain(f"Slack {method}: too many calls", after_seconds=seconds, scope="conversation")

    def refused(self, method: str, channel: str, seconds: float) -> Scope:
        """Note that Slack takes no such call for so long. Returns what has to wait.

        A 429 of chat.postMessage does not say whether it is about the channel or the workspace. What is said of two channels at
        the same time is no limit of a channel.
        """
        now = anyio.current_time()
        self._paused = {key: until for key, until in self._paused.items() if until > now}
        several = any(other == method and it != channel for other, it in self._paused)
        key = (method, channel if method == POST and not several else "")
        self._paused[key] = max(self._paused.get(key, now), now + seconds)
        return "sends" if method == POST and several else "conversation"

    def _paused_until(self, method: str, channel: str) -> float:
        return max(self._paused.get((method, it), 0.0) for it in ("", channel))

    def _of(self, method: str, channel: str) -> list[tuple[Rate, Pace]]:
        found = [self._pace((method, ""), _RATES.get(method, _UNTOLD))]
        if method == POST and channel:
            found.append(self._pace((method, channel), _IN_CHANNEL))
        return found

    def _pace(self, key: tuple[str, str], rate: Rate) -> tuple[Rate, Pace]:
        if key not in self._paces:
            if len(self._paces) >= KEPT:
                now = anyio.current_time()
                self._paces = {it: (of, pace) for it, (of, pace) in self._paces.items() if pace.ready_at() > now - of.burst}
            self._paces[key] = (rate, Pace(rate.burst, rate.per_second))
        return self._paces[key]
