"""The call with which a channel tells what was said in a thread before."""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from gatewayd.actor.border import describe, sole, third_party
from gatewayd.hub.accounts.checked import checked
from gatewayd.kit.text import sanitise
from gatewayd.model.errors import SendRejected, TryAgain
from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.ports.channel import Channel, RecallsThreads


async def recall(channel: Channel, envelope: InboundEnvelope, at_most: int, *, redact: Callable[[str], str]) -> Sequence[Earlier]:
    """The newest ``at_most`` messages of the thread before this one.

    :raises TryAgain: an outage. :raises SendRejected: they cannot be read, or the driver has a bug.
    """
    try:
        with third_party():
            if not isinstance(channel, RecallsThreads):
                raise SendRejected("this channel cannot read its threads")
            found = await channel.earlier(envelope, at_most=at_most)
        told = [checked(item, Earlier) for item in found]
    except Exception as group:
        error = sole(group)
        raise error if isinstance(error, TryAgain | SendRejected) else SendRejected(describe(error, redact)) from None
    return [replace(item, text=sanitise(item.text)) for item in told[-at_most:]]
