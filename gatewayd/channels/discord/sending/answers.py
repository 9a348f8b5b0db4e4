"""Answers to interactions ("Receiving and Responding"): within three seconds that one will come, and within 15 minutes itself."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import anyio
from msgspec import Struct

from gatewayd.channels.discord.api import DiscordApi, route
from gatewayd.channels.discord.errors import DiscordError, reason_of
from gatewayd.channels.discord.ids import MessageId
from gatewayd.channels.discord.wire.answers import Posted
from gatewayd.kit.json import Malformed, decode
from gatewayd.model.errors import AnswerExpired, GatewayError, NeedsOperator, TryAgain
from gatewayd.model.message.payload import Receipt

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

DEFERRED_MESSAGE, DEFERRED_UPDATE = 5, 6
"""Types of the first answer ("Interaction Callback Type"): the person sees that an answer will come; nothing is to be seen."""
FIRST_SECONDS: Final = 3.0
USABLE_SECONDS: Final = 14 * 60.0
"""A token is good for 15 minutes."""
MOST: Final = 2_000

_EPHEMERAL: Final = 1 << 6
_TAKEN: Final = 40060


class _Open(Struct):
    application: str
    token: str
    until: float


class Answers:
    """The interactions of one account that can be answered. An earlier life's are known by ``answer_with`` alone."""

    def __init__(self, api: DiscordApi, log: "FilteringBoundLogger") -> None:
        self._api = api
        self._log = log
        self._presses: dict[str, _Open] = {}

    def note(self, interaction: str, application: str, token: str) -> None:
        """A press has come; it may be answered in words, which only who pressed sees."""
        while len(self._presses) >= MOST:
            del self._presses[next(iter(self._presses))]
        self._presses[interaction] = _Open(application, token, anyio.current_time() + USABLE_SECONDS)

    async def defer(self, interaction: str, token: str, kind: int) -> None:
        """The first answer. Best effort: what is too late, or was answered before, is so."""
        to = route("POST /interactions/{interaction_id}/{token}/callback", interaction_id=interaction, token=token)
        try:
            await self._api.call(to, body={"type": kind}, repeatable=True, timeout_seconds=FIRST_SECONDS)
        except DiscordError as refused:
            if refused.code != _TAKEN:
                self._log.warning("discord_interaction_not_answered", reason=reason_of(refused))
        except GatewayError as error:
            self._log.warning("discord_interaction_not_answered", reason=error.reason)

    async def fill(self, answer_with: str, message: Mapping[str, Any]) -> Receipt:
        """Fill the deferred answer. The same twice is as good as once.

        :raises AnswerExpired: the interaction is over. :raises TryAgain: an outage, or too many calls.
        """
        application, _, token = answer_with.partition(":")
        to = route("PATCH /webhooks/{webhook_id}/{token}/messages/@original", webhook_id=application, token=token)
        try:
            answer = await self._api.call(to, body=message, repeatable=True)
        except DiscordError as refused:
            raise AnswerExpired(reason_of(refused)) from None
        except (TryAgain, NeedsOperator):
            raise
        try:
            posted = decode(answer, Posted)
        except Malformed:
            return Receipt()
        found = MessageId.parse(f"{posted.channel_id}:{posted.id}")
        return Receipt(None if found is None else str(found))

    async def tell(self, interaction: str, text: Mapping[str, Any]) -> None:
        """In words to who pressed. Best effort."""
        known = self._presses.get(interaction)
        if known is None or anyio.current_time() >= known.until:
            return
        to = route("POST /webhooks/{webhook_id}/{token}", webhook_id=known.application, token=known.token)
        try:
            await self._api.call(to, body={**text, "flags": _EPHEMERAL}, repeatable=False, timeout_seconds=FIRST_SECONDS)
        except DiscordError as refused:
            self._log.info("discord_press_not_answered", reason=reason_of(refused))
        except GatewayError as error:
            self._log.info("discord_press_not_answered", reason=error.reason)
