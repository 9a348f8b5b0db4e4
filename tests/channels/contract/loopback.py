"""The loopback as the contract sees it: a harness with every ability."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from msgspec.structs import replace

from gatewayd.channels.loopback.platform import LoopbackPlatform, failing, platform_of
from gatewayd.channels.loopback.settings import LoopbackSettings
from gatewayd.model.errors import NeedsOperator, OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.envelope import Attachment, InboundEnvelope, Peer, Sender
from gatewayd.model.message.payload import SendFile
from gatewayd.model.secret import Secret
from gatewayd.ports.channel import AccountConfig, DeliveryReport, ReportKind
from gatewayd.testing.channel_contract import Button, Place, SendFailure, Shown

CANARY = "Kanarienvogel-0815"


class LockedSettings(LoopbackSettings, frozen=True, forbid_unknown_fields=True):
    """A loopback with something to hide."""

    password: Secret = Secret(CANARY)


ACCOUNT = AccountConfig(channel="loopback", account="main", settings=LockedSettings(beat_seconds=30))


class LoopbackHarness:
    account = ACCOUNT
    peer = Peer("dm", "alice")
    places: Mapping[Place, Peer] = {
        "other": Peer("dm", "bob"),
        "group": Peer("group", "ops"),
        "thread": Peer("group", "ops", "7"),
    }
    people = ("alice", "bob")
    unknown_message = "999999"

    def __init__(self) -> None:
        self.platform: LoopbackPlatform = platform_of("main")
        self._presses: list[InboundEnvelope] = []
        self._latest: InboundEnvelope | None = None

    @property
    def failures(self) -> Mapping[SendFailure, Callable[[], Awaitable[None]]]:
        before: dict[SendFailure, Exception] = {
            "outage": TryAgain("no route"),
            "rate limit": TryAgain("slow down", after_seconds=149),
            "pace": TryAgain("too fast", after_seconds=1, scope="sends"),
            "rejected": SendRejected("blocked"),
            "revoked": NeedsOperator("who are you?"),
        }

        async def cut() -> None:
            self.platform.after_send.next(failing(OutcomeUnknown("cut")))

        def arrange(error: Exception) -> Callable[[], Awaitable[None]]:
            async def prepare() -> None:
                self.platform.before_send.next(failing(error))
                self.platform.before_grow.next(failing(error))

            return prepare

        return {**{name: arrange(error) for name, error in before.items()}, "cut": cut}

    async def run(self) -> None:
        """What the platform does by itself."""

    async def produce(self, text: str) -> None:
        self.happen(self.platform.message(text, peer=self.peer, sender=Sender("alice")))

    async def write(self, text: str, *, peer: Peer, sender: str, mentions: bool = False) -> None:
        message = self.platform.message(text, peer=peer, sender=Sender(sender))
        self.happen(replace(message, addressed=mentions or peer.kind == "dm"))

    async def correct(self, text: str) -> None:
        assert self._latest is not None
        changed = self.platform.message(text, peer=self.peer, sender=Sender("alice"))
        self.happen(replace(changed, kind="edit", message_id=self._latest.message_id))

    async def produce_file(self, name: str, content: bytes) -> None:
        self.platform.files["file-1"] = content
        message = self.platform.message("", peer=self.peer, sender=Sender("alice"))
        self.happen(replace(message, attachments=(Attachment("document", "file-1", name, size_bytes=len(content)),)))

    async def redeliver(self) -> None:
        assert self._latest is not None
        self.happen(self._latest)

    def happen(self, envelope: InboundEnvelope) -> None:
        self._latest = envelope
        self.platform.inject(envelope)

    async def acknowledged(self) -> int:
        return len(self.platform.acknowledged)

    async def wait_acknowledged(self, count: int) -> None:
        await self.platform.wait_until(lambda: len(self.platform.acknowledged) >= count)

    async def received(self) -> Sequence[str]:
        return await self.received_in(self.peer)

    async def received_in(self, peer: Peer) -> Sequence[str]:
        return [message.text for message in self.platform.shown.values() if message.peer == peer]

    async def report(self, message_id: str, kind: ReportKind) -> None:
        self.platform.inject(DeliveryReport(message_id, kind))

    async def received_files(self) -> Sequence[tuple[str, bytes, str]]:
        files = [(payload, receipt) for payload, receipt in zip(self.platform.sent, self.platform.receipts.values(), strict=True)]
        return [
            (payload.name, self.platform.received[receipt.message_id or ""], payload.caption.text)
            for payload, receipt in files
            if isinstance(payload, SendFile)
        ]

    async def shown(self) -> Sequence[Shown]:
        return [
            Shown(
                message.id, message.text, tuple(Button(c.label, c.data) for row in message.choices for c in row), message.reply_to
            )
            for message in self.platform.shown.values()
            if message.peer == self.peer
        ]

    async def press(self, message_id: str, data: str) -> None:
        self._presses.append(self.platform.press_of(data, message_id))
        self.happen(self._presses[-1])

    async def wait_answers(self, count: int) -> Sequence[str]:
        pressed = self._presses[:count]
        await self.platform.wait_until(lambda: all(map(self.platform.answers_to, pressed)))
        return [text for press in pressed for text in self.platform.answers_to(press)]

    async def cut(self) -> None:
        self.platform.inbound.cut()

    async def heal(self) -> None:
        self.platform.inbound.heal()

    async def go_silent(self) -> None:
        self.platform.inbound.go_silent()

    async def ping(self) -> None:
        await self.platform.inbound.ping()

    async def stall(self) -> None:
        self.platform.stalled.add(self.peer)


@asynccontextmanager
async def loopback_harness() -> AsyncIterator[LoopbackHarness]:
    yield LoopbackHarness()
