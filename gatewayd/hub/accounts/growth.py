"""The calls with which a channel shows a reply that grows."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from gatewayd.actor.border import describe, sole, third_party
from gatewayd.model.errors import OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import RichText
from gatewayd.ports.channel import Channel, ShowsGrowth

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

GROW_SECONDS: Final = 5.0
"""The end of a reply waits so long at most for a call that is in progress."""


def grows_every(channel: Channel, peer: Peer, log: "FilteringBoundLogger") -> float | None:
    try:
        with third_party():
            seconds: object = channel.grows_every(peer) if isinstance(channel, ShowsGrowth) else None
            return float(seconds) if isinstance(seconds, int | float) else None
    except Exception as error:
        log.debug("growth_failed", reason=describe(sole(error)))
        return None


async def grow(
    channel: Channel,
    peer: Peer,
    message_id: str,
    text: RichText,
    *,
    key: str,
    log: "FilteringBoundLogger",
    redact: Callable[[str], str],
) -> None:
    """Show more of a message that grows.

    :raises TryAgain: nothing was shown. :raises SendRejected: it cannot be edited any more. :raises OutcomeUnknown: it was
        perhaps shown, or will be.
    """
    error: BaseException = OutcomeUnknown(f"cut after {GROW_SECONDS:g} s without an answer")
    try:
        with trio.move_on_after(GROW_SECONDS), third_party():
            if isinstance(channel, ShowsGrowth):
                await channel.grow(peer, message_id, text, key=key)
            return
    except Exception as caught:
        error = sole(caught)
    reason = describe(error, redact)
    log.debug("growth_failed", reason=reason)
    raise error if isinstance(error, TryAgain | SendRejected) else OutcomeUnknown(reason)
