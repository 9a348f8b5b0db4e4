"""What was said in a thread before a message, for ``ports.channel.RecallsThreads``."""

from collections.abc import Sequence

from gatewayd.channels.slack.api import SlackApi
from gatewayd.channels.slack.receiving.inbound import Receiver
from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.envelope import InboundEnvelope


async def earlier_in_thread(api: SlackApi, receiver: Receiver, envelope: InboundEnvelope, *, at_most: int) -> Sequence[Earlier]:
    """As ``RecallsThreads.earlier`` says.

    :raises TryAgain, SendRejected: they cannot be read.
    """
    return ()
