"""A channel and an agent that raise what a test wants, where it wants it."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import anyio
from msgspec import Struct

from gatewayd.model.config import GatewaySection
from gatewayd.model.message.envelope import Attachment, InboundEnvelope, Peer, Sender
from gatewayd.model.message.payload import OutboundPayload, Receipt, Signal
from gatewayd.ports.agent import AgentConfig, AgentPlugin, AgentServices, CoreFacts, CoreTurnState, Final, Turn
from gatewayd.ports.channel import AccountConfig, ChannelPlugin, ChannelServices, Deliver, WebhookReply, WebhookRequest

HERE = "tests.third_party.traps"
FILE = Attachment(kind="document", ref="f")
CHANNEL = ChannelPlugin(
    id="trap", label="Trap", settings="tests.third_party.importing:Settings", open=f"{HERE}:open_channel", webhook=True
)
AGENT = AgentPlugin(id="trap", label="Trap", settings=f"{HERE}:AgentSettings", open=f"{HERE}:open_agent")

Make = Callable[[], BaseException]
armed: dict[str, Make] = {}
"""What is raised next, by place; it is raised once."""


def spring(place: str) -> None:
    if place in armed:
        raise armed.pop(place)()


class AgentSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """No keys of its own."""


class ChannelSettings(Struct, frozen=True, forbid_unknown_fields=True):
    def __post_init__(self) -> None:
        spring("settings")

    def problems(self, gateway: GatewaySection) -> Iterator[str]:
        yield from ()
        spring("problems")

    def warnings(self) -> Iterator[str]:
        yield from ()
        spring("warnings")


class Core:
    async def new_session(self, session_key: str) -> str:
        spring("new_session")
        return "s"

    async def run(self, turn: Turn) -> Final:
        await anyio.sleep(1)
        spring("run")
        for attachment in turn.request.attachments:
            await turn.fetch(attachment, at_most_bytes=10)
        return Final(f"re: {turn.request.text}")

    async def turn_state(self, session_id: str, turn_id: str) -> CoreTurnState:
        spring("turn_state")
        return "running"

    async def resume(self, turn: Turn) -> Final:
        spring("resume")
        return Final("resumed")

    async def stop_turn(self, session_id: str, turn_id: str) -> None:
        spring("stop_turn")

    def facts(self) -> CoreFacts:
        spring("facts")
        return CoreFacts(version="1")


@asynccontextmanager
async def open_agent(agent: AgentConfig, services: AgentServices) -> AsyncIterator[Core]:
    await anyio.lowlevel.checkpoint()
    spring("agent open")
    try:
        yield Core()
    finally:
        spring("agent close")


class Channel:
    def __init__(self, services: ChannelServices) -> None:
        self._services = services

    async def listen(self, deliver: Deliver) -> None:
        self._services.connection.connected("trap")
        await anyio.sleep(0.1)
        spring("listen")
        await anyio.sleep_forever()

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        await anyio.lowlevel.checkpoint()
        spring("send")
        return Receipt("m")

    async def signal(self, signal: Signal) -> None:
        spring("signal")

    async def fetch(self, attachment: Attachment, *, at_most_bytes: int) -> bytes:
        spring("fetch")
        return b"x"

    def receive(self, request: WebhookRequest) -> WebhookReply:
        spring("receive")
        return WebhookReply()

    async def received(self, request: WebhookRequest, reply: WebhookReply) -> None:
        spring("received")


@asynccontextmanager
async def open_channel(account: AccountConfig, services: ChannelServices) -> AsyncIterator[Channel]:
    await anyio.lowlevel.checkpoint()
    spring("open")
    try:
        yield Channel(services)
    finally:
        spring("close")


def message(text: str, *, channel: str = "trap", attachments: tuple[Attachment, ...] = ()) -> InboundEnvelope:
    return InboundEnvelope(
        channel=channel,
        account="main",
        event_key=text,
        kind="message",
        peer=Peer("dm", "alice"),
        sender=Sender("alice"),
        text=text,
        addressed=True,
        attachments=attachments,
    )
