"""The contract that every channel passes: the promises of ``gatewayd.ports.channel``. How to use it:
docs/how-to/write-a-channel.md.
"""

from gatewayd.testing.channel_contract.harness import (
    Button,
    ButtonsHarness,
    EditsHarness,
    Harness,
    Journal,
    SendFailure,
    Services,
    Shown,
)
from gatewayd.testing.channel_contract.tests import ChannelContract, Choices

__all__ = [
    "Button",
    "ButtonsHarness",
    "ChannelContract",
    "Choices",
    "EditsHarness",
    "Harness",
    "Journal",
    "SendFailure",
    "Services",
    "Shown",
]
