"""What was said in a thread before the agent was spoken to there: for the first turn of a session, from the channel."""

from collections.abc import Sequence
from typing import Final, Protocol

import anyio
import structlog
from msgspec.structs import replace

from gatewayd.hub.configured import Configured
from gatewayd.hub.inbox.group_access import judge_group
from gatewayd.model.errors import NotFound, SendRejected, TryAgain
from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.ports.store import SessionRow

RECALL_SECONDS: Final = 5.0
"""A turn waits so long at most for what was said before it: also for an account that is still connecting after a start."""
_PAUSE_SECONDS: Final = 0.5


class RecallingAccounts(Protocol):
    """The accounts, as the recall of threads needs them."""

    async def earlier(self, channel: str, account: str, envelope: InboundEnvelope, at_most: int) -> Sequence[Earlier]: ...


async def recall(
    asked: InboundEnvelope, session: SessionRow, configured: Configured, accounts: RecallingAccounts
) -> tuple[Earlier, ...] | None:
    """The messages of the thread that are older than ``asked``, the oldest first, if its session has just begun. Those of people
    who may not talk to the agent there are left out. None: they could not be read.

    A turn that runs again after a crash gets them again.
    """
    config = configured.config
    at_most = config.sessions.thread_context
    frame = config.frame_of(asked.channel, asked.account)
    if asked.peer.thread is None or asked.via is not None or not at_most or frame is None:
        return ()
    plugin = configured.plugin_for(asked.channel, asked.account, asked.peer)
    if not plugin.recalls or session.created_at < asked.received_at:
        return ()
    found = await _ask(asked, accounts, at_most)
    if found is None:
        return None
    return tuple(
        item for item in found if item.ours or judge_group(replace(asked, sender=item.sender, addressed=True), frame).allowed
    )


async def _ask(asked: InboundEnvelope, accounts: RecallingAccounts, at_most: int) -> Sequence[Earlier] | None:
    why = f"no answer within {RECALL_SECONDS:g} s"
    with anyio.move_on_after(RECALL_SECONDS):
        while True:
            try:
                return await accounts.earlier(asked.channel, asked.account, asked, at_most)
            except (NotFound, SendRejected) as error:
                why = error.reason
                break
            except TryAgain as error:
                why = error.reason
                await anyio.sleep(error.after_seconds or _PAUSE_SECONDS)
    structlog.get_logger("gatewayd.turns").warning("thread_not_recalled", reason=why)
    return None
