"""The driver passes the contract. Its other side is a user with a client."""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import anyio
import trio
import trio.testing
from anyio.streams.buffered import BufferedByteReceiveStream
from linechat import PLUGIN
from linechat.settings import LineSettings

from gatewayd.actor.wakeup import Wakeup
from gatewayd.model.message.envelope import Peer
from gatewayd.ports.channel import AccountConfig, Channel, Deliver
from gatewayd.testing.channel_contract import ChannelContract, Harness, SendFailure, Services, Shown


class User:
    """A user whose client says a line again, after it has connected again, until the line is acknowledged."""

    unknown_message = None

    def __init__(self, path: Path) -> None:
        self.account = AccountConfig("linechat", "main", LineSettings(str(path)))
        self.peer = Peer("dm", str(os.getuid()))
        self.failures: Mapping[SendFailure, Callable[[], Awaitable[None]]] = {"outage": self._leave, "cut": self._be_rude}
        self.is_there = trio.Event()
        self._path = path
        self._stream: anyio.abc.ByteStream | None = None
        self._unsaid: dict[str, str] = {}
        self._acknowledged = 0
        self._shown: dict[str, str] = {}
        self._is_rude = False
        self._changed = Wakeup()

    async def run(self, listening: trio.Event) -> None:
        """The client, from the moment at which the driver listens."""
        self.is_there = trio.Event()
        await listening.wait()
        with suppress(anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError):
            async with await anyio.connect_unix(self._path) as self._stream:
                for line_id, text in self._unsaid.items():
                    await self._write(type="say", id=line_id, text=text)
                lines = BufferedByteReceiveStream(self._stream)
                while True:
                    await self._take(json.loads(await lines.receive_until(b"\n", 1_000_000)))

    async def _take(self, frame: dict[str, str]) -> None:
        match frame["type"]:
            case "hello":
                self.is_there.set()
            case "got":
                self._acknowledged += self._unsaid.pop(frame["id"], None) is not None
            case "message" if self._is_rude:
                await self._leave()
            case "message":
                self._shown[frame["id"]] = frame["text"]
                await self._write(type="got", id=frame["id"])
        self._changed.notify()

    async def _write(self, **frame: str) -> None:
        if self._stream is not None:
            await self._stream.send(json.dumps(frame).encode() + b"\n")

    async def _leave(self) -> None:
        assert self._stream is not None
        await self._stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.01)

    async def _be_rude(self) -> None:
        self._is_rude = True

    async def produce(self, text: str) -> None:
        line_id = uuid4().hex
        self._unsaid[line_id] = text
        await self._write(type="say", id=line_id, text=text)

    async def acknowledged(self) -> int:
        return self._acknowledged

    async def wait_acknowledged(self, count: int) -> None:
        while self._acknowledged < count:
            await self._changed.wait()

    async def received(self) -> Sequence[str]:
        return list(self._shown.values())

    async def shown(self) -> Sequence[Shown]:
        return [Shown(message_id, text) for message_id, text in self._shown.items()]


class TestLineChat(ChannelContract):
    plugin = PLUGIN
    manifest_module = "linechat"

    @asynccontextmanager
    async def harness(self) -> AsyncIterator[Harness]:
        with TemporaryDirectory() as directory:
            self.user = User(Path(directory) / "chat.sock")
            yield self.user

    @asynccontextmanager
    async def opened(self, harness: Harness) -> AsyncIterator[tuple[Channel, Services]]:
        async with super().opened(harness) as (channel, services), trio.open_nursery() as nursery:
            nursery.start_soon(self.user.run, services.is_connected)
            yield channel, services
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def listening(self, channel: Channel, services: Services, deliver: Deliver) -> AsyncIterator[None]:
        async with super().listening(channel, services, deliver):
            await self.user.is_there.wait()
            yield
