"""The contract that every channel passes: the promises of ``gatewayd.ports.channel``. How to use it:
docs/how-to/write-a-channel.md.

    class TestMyChannel(ChannelContract):
        plugin = PLUGIN
        manifest_module = "my_package"
        excuses = {"group": "the network has none"}

        def harness(self) -> AbstractAsyncContextManager[Harness]: ...

The suite opens the driver by its manifest and runs it as the daemon does: what ``listen`` raises is judged, the account is opened
again after an outage, and its state is kept. A test that hangs fails within seconds, with the task tree.
"""

from gatewayd.testing.channel_contract.account import Account
from gatewayd.testing.channel_contract.buttons import ButtonsContract
from gatewayd.testing.channel_contract.edits import EditsContract
from gatewayd.testing.channel_contract.fixtures import Choices, Rig
from gatewayd.testing.channel_contract.growing import GrowingContract
from gatewayd.testing.channel_contract.harness import (
    AcknowledgesHarness,
    ArrivesHarness,
    BreaksHarness,
    Button,
    ButtonsHarness,
    CallsHarness,
    EditsHarness,
    EditsInHarness,
    FilesHarness,
    FilesInHarness,
    Harness,
    PingsHarness,
    Place,
    PlacesHarness,
    RedeliversHarness,
    ReportsHarness,
    SendFailure,
    Shown,
    ShowsHarness,
    SilenceHarness,
    StallsHarness,
    WebhooksHarness,
)
from gatewayd.testing.channel_contract.hub import Journal, Services
from gatewayd.testing.channel_contract.life import LifeContract
from gatewayd.testing.channel_contract.promises import PromisesContract
from gatewayd.testing.channel_contract.receiving import ReceivingContract
from gatewayd.testing.channel_contract.sending import SendingContract
from gatewayd.testing.channel_contract.webhooks import WebhooksContract

__all__ = [
    "Account",
    "AcknowledgesHarness",
    "ArrivesHarness",
    "BreaksHarness",
    "Button",
    "ButtonsHarness",
    "CallsHarness",
    "ChannelContract",
    "Choices",
    "EditsHarness",
    "EditsInHarness",
    "FilesHarness",
    "FilesInHarness",
    "Harness",
    "Journal",
    "PingsHarness",
    "Place",
    "PlacesHarness",
    "RedeliversHarness",
    "ReportsHarness",
    "Rig",
    "SendFailure",
    "Services",
    "Shown",
    "ShowsHarness",
    "SilenceHarness",
    "StallsHarness",
    "WebhooksHarness",
]


class ChannelContract(
    PromisesContract,
    LifeContract,
    ReceivingContract,
    WebhooksContract,
    SendingContract,
    ButtonsContract,
    EditsContract,
    GrowingContract,
):
    """Inherit, name the manifest, give a harness."""
