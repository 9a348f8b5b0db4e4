"""The driver passes the contract of channels. Run ``pytest -rs`` to see what is skipped, and why.

Yours: the other side of your network, as a harness. ``gatewayd.testing.channel_contract.harness`` says what each part is.
"""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Literal
from uuid import uuid4

import anyio
import trio
import trio.testing
from anyio.streams.buffered import BufferedByteReceiveStream
from gatewayd.actor.wakeup import Wakeup
from gatewayd.model.message.envelope import Peer
from gatewayd.ports.channel import AccountConfig
from gatewayd.testing.channel_contract import ChannelContract, Harness, SendFailure, Shown

from linechat import PLUGIN
from linechat.settings import Settings


class User:
    """A user whose client connects again and again, and says a line until it is acknowledged."""

    unknown_message = None

    def __init__(self, path: Path) -> None:
        self.account = AccountConfig("linechat", "main", Settings(str(path)))
        self.peer = Peer("dm", str(os.getuid()))
        self.failures: Mapping[SendFailure, Callable[[], Awaitable[None]]] = {"outage": self.cut, "cut": self._be_rude}
        self._path = path
        self._stream: anyio.abc.ByteStream | None = None
        self._unsaid: dict[str, str] = {}
        self._latest = {"type": "say", "id": "", "text": ""}
        self._acknowledged = 0
        self._shown: dict[str, str] = {}
        self._manners: Literal["polite", "rude", "mute"] = "polite"
        self._is_away = False
        self._changed = Wakeup()

    async def run(self) -> None:
        """The client: connection after connection."""
        while True:
            with suppress(OSError, anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError):
                if not self._is_away:
                    await self._connect()
            self._stream = None
            await trio.sleep(0.05)

    async def _connect(self) -> None:
        async with await anyio.connect_unix(self._path) as stream:
            lines = BufferedByteReceiveStream(stream)
            while True:
                frame = json.loads(await lines.receive_until(b"\n", 1_000_000))
                match frame["type"]:
                    case "hello":
                        self._stream = stream
                        for line_id, text in self._unsaid.items():
                            await self._write(type="say", id=line_id, text=text)
                    case "got":
                        self._acknowledged += self._unsaid.pop(frame["id"], None) is not None
                    case "message" if self._manners == "rude":
                        return
                    case "message" if self._manners == "polite":
                        self._shown[frame["id"]] = frame["text"]
                        await self._write(type="got", id=frame["id"])
                self._changed.notify()

    async def _write(self, **frame: str) -> None:
        if self._stream is not None:
            await self._stream.send(json.dumps(frame).encode() + b"\n")

    async def wait_there(self) -> None:
        while self._stream is None:
            await self._changed.wait()

    async def produce(self, text: str) -> None:
        self._latest = {"type": "say", "id": uuid4().hex, "text": text}
        self._unsaid[self._latest["id"]] = text
        await self._write(**self._latest)

    async def redeliver(self) -> None:
        await self._write(**self._latest)

    async def acknowledged(self) -> int:
        return self._acknowledged

    async def wait_acknowledged(self, count: int) -> None:
        while self._acknowledged < count:
            await self._changed.wait()

    async def received(self) -> Sequence[str]:
        return list(self._shown.values())

    async def shown(self) -> Sequence[Shown]:
        return [Shown(message_id, text) for message_id, text in self._shown.items()]

    async def cut(self) -> None:
        self._is_away = True
        if self._stream is not None:
            await self._stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.01)

    async def heal(self) -> None:
        self._is_away = False

    async def stall(self) -> None:
        self._manners = "mute"

    async def _be_rude(self) -> None:
        self._manners = "rude"


class TestContract(ChannelContract):
    """``excuses``: what the network does not have, and why. What is neither in the harness nor excused is red."""

    plugin = PLUGIN
    manifest_module = "linechat"
    excuses: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("rate limit", "pace", "rejected", "revoked"), "nobody refuses a line"),
        "half": "a text is one line of JSON",
        "other": "the kernel says who a user is, so a test is one user",
        **dict.fromkeys(("group", "thread", "replies", "reports", "edits in", "files in"), "a chat is lines of one user"),
        **dict.fromkeys(("pings", "silence"), "the kernel says when a client is gone"),
        "secrets": "no setting is secret",
    }

    @asynccontextmanager
    async def harness(self) -> AsyncIterator[Harness]:
        with TemporaryDirectory() as directory:
            async with trio.open_nursery() as nursery:
                user = User(Path(directory) / "chat.sock")
                nursery.start_soon(user.run)
                yield user
                nursery.cancel_scope.cancel()
