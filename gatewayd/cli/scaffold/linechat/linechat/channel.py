"""The driver: it listens at the socket, and each user has one connection."""

import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import anyio
import anyio.abc
import msgspec
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from gatewayd.kit.network.lines import LineReader, LineTooLong
from gatewayd.model.errors import NeedsOperator, OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.message.payload import EditText, OutboundPayload, Receipt
from gatewayd.ports.channel import AccountConfig, Channel, ChannelServices, Deliver

from .settings import Settings
from .wire import Got, Hello, Message, Say, decode, encode

LONGEST_LINE = 1_000_000
GOT_SECONDS = 10.0
GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)
STRANGE = (LineTooLong, msgspec.DecodeError)


class Connection:
    """The connection of one user. ``waiting`` are the messages that the client has not acknowledged."""

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self.waiting: dict[str, anyio.Event] = {}
        self._stream = stream
        self._lock = anyio.Lock()

    async def write(self, frame: Got | Hello | Message) -> None:
        async with self._lock:
            await self._stream.send(encode(frame))

    def end(self) -> None:
        """Nothing more will be acknowledged."""
        for event in self.waiting.values():
            event.set()


class LineChannel:
    def __init__(self, account: AccountConfig, settings: Settings, services: ChannelServices) -> None:
        self._account = account
        self._path = settings.path
        self._services = services
        self._connections: dict[str, Connection] = {}

    async def listen(self, deliver: Deliver) -> None:
        """Yours: connect to the network, say so to ``connection``, and receive until you are cancelled. A connection that
        breaks is ``TryAgain``: gatewayd calls ``listen`` again after a pause."""
        try:
            listener = await anyio.create_unix_listener(self._path, mode=0o660)
        except OSError as error:
            raise NeedsOperator(f"cannot listen at {self._path}: {error.strerror}", retries_slowly=True) from error
        try:
            async with listener:
                self._services.connection.connected(self._path)
                await listener.serve(partial(self._serve, deliver))
        finally:
            with suppress(FileNotFoundError):
                os.unlink(self._path)

    async def _serve(self, deliver: Deliver, stream: anyio.abc.SocketStream) -> None:
        """One connection, from its beginning to its end. It reads on while a message is journaled."""
        user, connection = user_of(stream), Connection(stream)
        self._connections[user] = connection
        said, to_deliver = anyio.create_memory_object_stream[Say](100)
        try:
            async with stream, said, to_deliver, anyio.create_task_group() as tasks:
                tasks.start_soon(self._deliver, deliver, user, connection, to_deliver)
                await connection.write(Hello(user))
                await self._read(connection, LineReader(stream, at_most_bytes=LONGEST_LINE), said)
        except* GONE:
            pass
        except* STRANGE as strange:
            log = self._services.log.bind(user=user)
            log.warning("linechat_line_malformed", reason=str(strange.exceptions[0]))
        finally:
            connection.end()
            if self._connections.get(user) is connection:
                del self._connections[user]

    async def _read(self, connection: Connection, lines: LineReader, said: ObjectSendStream[Say]) -> None:
        while True:
            frame = decode(await lines.receive())
            if isinstance(frame, Say):
                await said.send(frame)
            elif (event := connection.waiting.pop(frame.id, None)) is not None:
                event.set()

    async def _deliver(self, deliver: Deliver, user: str, connection: Connection, to_deliver: ObjectReceiveStream[Say]) -> None:
        """Acknowledge each message after its commit, and not before."""
        async for frame in to_deliver:
            await deliver([self._envelope(user, frame)])
            await connection.write(Got(frame.id))

    def _envelope(self, user: str, frame: Say) -> InboundEnvelope:
        """Yours: who wrote, where, and a key that is the same when the network sends the message again."""
        return InboundEnvelope(
            channel=self._account.channel,
            account=self._account.account,
            event_key=f"{user}:{frame.id}",
            kind="message",
            peer=Peer("dm", user),
            sender=Sender(user),
            text=frame.text,
            message_id=frame.id,
            addressed=True,
            received_at=self._services.now(),
        )

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        """Yours: send, and return when the network has it. The kind of error says whether it may be sent again."""
        message_id = payload.message_id if isinstance(payload, EditText) else key
        if message_id is None:
            raise SendRejected("the message that is to change has no id")
        if (connection := self._connections.get(payload.peer.id)) is None:
            raise TryAgain("the user is not connected", scope="conversation")
        arrived = connection.waiting[message_id] = anyio.Event()
        with suppress(*GONE), anyio.move_on_after(GOT_SECONDS):
            await connection.write(Message(message_id, payload.body.text))
            await arrived.wait()
        if connection.waiting.pop(message_id, None) is None:
            return Receipt(message_id)
        raise OutcomeUnknown("the client did not acknowledge the message")


def user_of(stream: anyio.abc.SocketStream) -> str:
    """The number of the user at the other end. The kernel says it: struct ucred of unix(7) is pid, uid and gid."""
    raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
    _, uid, _ = struct.unpack("3i", raw.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return str(uid)


@asynccontextmanager
async def open_account(account: AccountConfig, services: ChannelServices) -> AsyncIterator[Channel]:
    """Named in the manifest. What can fail or take long is in ``listen``, which is called again after an error."""
    assert isinstance(account.settings, Settings)
    yield LineChannel(account, account.settings, services)
