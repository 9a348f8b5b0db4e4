"""Answers to a slash command, a shortcut or a press by its ``response_url`` ("Handling user interaction", "Message responses").

There are at most five, within 30 minutes, and they reach channels where the app is no member. Slack does not say which message
such an answer became.
"""

from collections.abc import Mapping
from typing import Any, Final

import anyio
from msgspec import Struct

from gatewayd.channels.slack.api import SlackApi
from gatewayd.model.errors import AnswerExpired

MOST_USES: Final = 5
USABLE_SECONDS: Final = 1800.0
MOST_URLS: Final = 1000


class _Use(Struct):
    until: float
    left: int


class Answers:
    """Knows what is used up. What an earlier life has used, Slack itself refuses."""

    def __init__(self, api: SlackApi) -> None:
        self._api = api
        self._uses: dict[str, _Use] = {}

    async def send(self, url: str, message: Mapping[str, Any], *, private: bool) -> None:
        """Show a message with the arguments of chat.postMessage: to the person who asked (``private``), or to all in the channel.
        It never replaces what was pressed.

        :raises AnswerExpired: the URL is used up. :raises TryAgain, OutcomeUnknown: as SlackApi.answer.
        """
        self._count(url)
        kind = "ephemeral" if private else "in_channel"
        await self._api.answer(url, {"response_type": kind, "replace_original": False, **message})

    def _count(self, url: str) -> None:
        now = anyio.current_time()
        if len(self._uses) >= MOST_URLS:
            self._uses = {other: use for other, use in self._uses.items() if use.until > now}
            while len(self._uses) >= MOST_URLS:
                del self._uses[next(iter(self._uses))]
        use = self._uses.setdefault(url, _Use(now + USABLE_SECONDS, MOST_USES))
        if use.left == 0 or now >= use.until:
            raise AnswerExpired(f"a response_url takes {MOST_USES} answers within {USABLE_SECONDS / 60:.0f} minutes")
        use.left -= 1
