"""What a channel is: a manifest that imports no driver, an opener, and an open account with two methods.

A driver is one folder: ``__init__.py`` (the manifest ``PLUGIN``), ``wire.py`` (pure: the platform's bytes to structs and back)
and ``channel.py`` (I/O). The kind of error that it raises says what to do next, see ``gatewayd.model.errors``. How to write
one: docs/how-to/write-a-channel.md.
"""

from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.report import DeliveryReport, ReportKind
from gatewayd.ports.channel.channel import (
    Channel,
    ChannelOpener,
    FetchesMedia,
    LimitsText,
    RecallsThreads,
    Reconciles,
    ShowsGrowth,
    ShowsSignals,
)
from gatewayd.ports.channel.http import (
    RESERVED,
    GreetsOperators,
    HttpDesk,
    HttpProblem,
    HttpReply,
    HttpRequest,
    Logins,
    ServesHttp,
    unusable_routes,
)
from gatewayd.ports.channel.manifest import API, ChannelPlugin, HttpRoute, TextFormat, TextLimit, TextUnit, WebhookMethod
from gatewayd.ports.channel.services import NO_STATE, AccountConfig, ChannelServices, ConnectionReporter, Deliver, OutgoingFile
from gatewayd.ports.channel.webhooks import ChecksHeaders, ReceivesWebhooks, WebhookReply, WebhookRequest

__all__ = [
    "API",
    "NO_STATE",
    "RESERVED",
    "AccountConfig",
    "Channel",
    "ChannelOpener",
    "ChannelPlugin",
    "ChannelServices",
    "ChecksHeaders",
    "ConnectionReporter",
    "Deliver",
    "DeliveryReport",
    "Earlier",
    "FetchesMedia",
    "GreetsOperators",
    "HttpDesk",
    "HttpProblem",
    "HttpReply",
    "HttpRequest",
    "HttpRoute",
    "LimitsText",
    "Logins",
    "OutgoingFile",
    "RecallsThreads",
    "ReceivesWebhooks",
    "Reconciles",
    "ReportKind",
    "ServesHttp",
    "ShowsGrowth",
    "ShowsSignals",
    "TextFormat",
    "TextLimit",
    "TextUnit",
    "WebhookMethod",
    "WebhookReply",
    "WebhookRequest",
    "unusable_routes",
]
