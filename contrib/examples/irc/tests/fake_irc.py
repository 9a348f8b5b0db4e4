"""An IRC server for one bot and its friends, with bytes on a socket. It does what it is told, also what no good server does."""

from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import trio
from gatewayd_irc.inbound import written
from gatewayd_irc.wire import Message, parse, render

HOST = "irc.example"
EVERYTHING = (
    "account-tag batch chghost draft/chathistory echo-message extended-join account-notify labeled-response message-tags "
    "server-time sasl=PLAIN,EXTERNAL"
)
LINE_MAX = 512


class Client:
    """The bot's connection."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.nick = "*"
        self.user = ""
        self.caps: set[str] = set()
        self.negotiating = False
        self.is_silent = False
        self.stream = stream
        self.lock = trio.Lock()
        self.registered = False
        self.account: str | None = None
        self.rooms: set[str] = set()
        self.sasl = ""
        self.password: str | None = None

    @property
    def name(self) -> str:
        return f"{self.nick}!~{self.user}@host.example"

    async def write(self, line: str, **tags: str) -> None:
        known = {"time": "server-time", "msgid": "message-tags", "account": "account-tag", "batch": "batch"}
        if self.is_silent:
            return
        kept = {key: value for key, value in tags.items() if known.get(key, "labeled-response") in self.caps}
        head = render("X", tags=kept).removesuffix(b"X\r\n") if kept else b""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with self.lock:
                await self.stream.send_all(head + line.encode()[: LINE_MAX - 2] + b"\r\n")


class FakeIrc:
    """``said`` are the texts of the bot as others see them, with their targets, and ``shown`` the same with the id and with what
    is answered. ``instead`` takes the place of the usual answer to the next PRIVMSG. ``lines`` is everything that was heard."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.offers = EVERYTHING
        self.isupport = "CASEMAPPING=rfc1459 CHANTYPES=#& NICKLEN=30 MONITOR=100 BOT=B LINELEN=512"
        self.refused_caps: set[str] = set()
        self.taken: set[str] = set()
        self.closed_rooms: dict[str, str] = {}
        self.passwords = {"botaccount": "correct horse"}
        self.lines: list[Message] = []
        self.said: list[tuple[str, str]] = []
        self.history: list[tuple[str, str, dict[str, str]]] = []
        self.plays_history_at_join = False
        self.is_cut = False
        self.is_silent = False
        self.stalls: set[str] = set()
        self.shown: list[tuple[str, str, str, str | None]] = []
        self.instead: Callable[[Client, Message], Awaitable[None]] | None = None
        self.greeting: str | None = None
        self.client: Client | None = None
        self.clients = 0
        self.changed = trio.Event()
        self._count = 0

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await self.changed.wait()

    def note(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    def heard(self, command: str) -> list[Message]:
        return [message for message in self.lines if message.command == command]

    def tags(self) -> dict[str, str]:
        self._count += 1
        return {"msgid": f"m{self._count}", "time": written(1_800_000_000.0 + trio.current_time())}  # as the contract's services

    # What others do.

    async def from_user(self, text: str, target: str | None = None, *, who: str = "Alice!a@Home.example", **tags: str) -> None:
        """Somebody writes to the bot or to a channel, where the history keeps it."""
        is_there = self.client is not None and self.client.registered
        name = target or (self.client.nick if self.client is not None and is_there else "bot")
        all_tags = {**self.tags(), **tags}
        self.history.append((name, f":{who} PRIVMSG {name} :{text}", all_tags))
        if self.client is not None and is_there:
            await self.client.write(self.history[-1][1], **all_tags)

    async def line(self, line: str, **tags: str) -> None:
        assert self.client is not None
        await self.client.write(line, **tags)

    async def again(self) -> None:
        """The latest message comes once more."""
        _, line, tags = self.history[-1]
        await self.line(line, **tags)

    async def silence(self) -> None:
        """Nothing comes any more, neither in this connection nor in another."""
        self.is_silent = True
        if self.client is not None:
            self.client.is_silent = True

    async def hang_up(self) -> None:
        assert self.client is not None
        await self.client.stream.aclose()

    # The server.

    async def serve(self, stream: trio.SocketStream) -> None:
        if self.is_cut:
            await trio.aclose_forcefully(stream)
            return
        client = self.client = Client(stream)
        self.clients += 1
        client.is_silent = self.is_silent
        rest = b""
        try:
            if self.greeting is not None:
                await client.write(self.greeting)
                return
            async with stream:
                while piece := await stream.receive_some():
                    *lines, rest = (rest + piece).split(b"\n")
                    for line in lines:
                        await self.take(client, parse(line.rstrip(b"\r")))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(stream)
            if self.client is client:
                self.client = None
            self.note()

    async def take(self, client: Client, message: Message) -> None:
        self.lines.append(message)
        handler = getattr(self, f"on_{message.command.lower()}", None)
        if handler is not None:
            await handler(client, message)
        self.note()

    async def on_cap(self, client: Client, message: Message) -> None:
        match message.target:
            case "LS":
                client.negotiating = True
                first, _, second = self.offers.partition(" ")
                await client.write(f":{HOST} CAP * LS * :{first}")
                await client.write(f":{HOST} CAP * LS :{second}")
            case "REQ":
                names = message.text.split()
                refused = bool(self.refused_caps & set(names))
                client.caps |= set() if refused else set(names)
                await client.write(f":{HOST} CAP * {'NAK' if refused else 'ACK'} :{message.text}")
            case "END":
                client.negotiating = False
                await self.welcome(client)

    async def on_authenticate(self, client: Client, message: Message) -> None:
        if message.text in ("PLAIN", "EXTERNAL"):
            await client.write("AUTHENTICATE +")
            return
        client.sasl += "" if message.text == "+" else message.text
        if len(message.text) == 400:
            return
        _, account, password = b64decode(client.sasl).decode().split("\0")
        if self.passwords.get(account) != password:
            await client.write(f":{HOST} 904 {client.nick} :SASL authentication failed")
            return
        client.account = account
        await client.write(f":{HOST} 900 {client.nick} {client.name} {account} :You are now logged in as {account}")
        await client.write(f":{HOST} 903 {client.nick} :SASL authentication successful")

    async def on_pass(self, client: Client, message: Message) -> None:
        client.password = message.text

    async def on_nick(self, client: Client, message: Message) -> None:
        if message.target.lower() in self.taken:
            await client.write(f":{HOST} 433 {client.nick} {message.target} :Nickname is already in use.")
            return
        if client.registered:
            await client.write(f":{client.name} NICK :{message.target}")
        client.nick = message.target
        await self.welcome(client)

    async def on_user(self, client: Client, message: Message) -> None:
        client.user = message.target
        await self.welcome(client)

    async def welcome(self, client: Client) -> None:
        if client.registered or client.negotiating or client.nick == "*" or not client.user:
            return
        client.registered = True
        for line in (
            f"001 {client.nick} :Welcome to IRC {client.name}",
            f"005 {client.nick} {self.isupport} :are supported",
            f"422 {client.nick} :No MOTD",
        ):
            await client.write(f":{HOST} {line}")

    async def on_monitor(self, client: Client, message: Message) -> None:
        numeric = "730" if message.text.lower() in self.taken else "731"
        await client.write(f":{HOST} {numeric} {client.nick} :{message.text}")

    async def on_join(self, client: Client, message: Message) -> None:
        channel = message.target
        if (refusal := self.closed_rooms.get(channel)) is not None:
            await client.write(f":{HOST} {refusal} {client.nick} {channel} :Cannot join channel")
            return
        client.rooms.add(channel)
        extended = f" {client.account or '*'} :real" if "extended-join" in client.caps else ""
        await client.write(f":{client.name} JOIN {channel}{extended}", **self.tags())
        if self.plays_history_at_join:
            await self.play(client, channel, [entry for entry in self.history if entry[0] == channel])

    async def on_chathistory(self, client: Client, message: Message) -> None:
        subcommand, target, *rest = message.params
        if subcommand == "TARGETS":
            await client.write(f":{HOST} BATCH +targets draft/chathistory-targets")
            names = {line.partition("!")[0][1:] for name, line, _ in self.history if name == client.nick}
            for name in sorted(names):
                await client.write(f":{HOST} CHATHISTORY TARGETS {name} 2027-01-15T08:00:00.000Z", batch="targets")
            await client.write(f":{HOST} BATCH -targets")
            return
        kind, _, value = rest[0].partition("=")
        entries = [
            entry
            for entry in self.history
            if entry[0] == target or (entry[0] == client.nick and entry[1].startswith(f":{target}!"))
        ]
        if kind == "msgid":
            ids = [tags["msgid"] for _, _, tags in entries]
            entries = entries[ids.index(value) + 1 :]
        else:
            entries = [entry for entry in entries if entry[2]["time"] > value]
        await self.play(client, target, entries[: int(rest[1])])

    async def play(self, client: Client, target: str, entries: list[tuple[str, str, dict[str, str]]]) -> None:
        await client.write(f":{HOST} BATCH +h{len(self.lines)} chathistory {target}")
        for _, line, tags in entries:
            await client.write(line, **tags, batch=f"h{len(self.lines)}")
        await client.write(f":{HOST} BATCH -h{len(self.lines)}")

    async def on_ping(self, client: Client, message: Message) -> None:
        await client.write(f":{HOST} PONG {HOST} :{message.text}", **labels(message))

    async def on_quit(self, client: Client, message: Message) -> None:
        await client.stream.aclose()

    async def on_privmsg(self, client: Client, message: Message) -> None:
        if message.target in self.stalls:
            return
        if self.instead is not None:
            todo, self.instead = self.instead, None
            await todo(client, message)
            return
        relayed = parse(f":{client.name} PRIVMSG {message.target} :{message.text}".encode()[: LINE_MAX - 2])
        self.said.append((message.target, relayed.text))
        tags = self.tags()
        self.shown.append((message.target, tags["msgid"], relayed.text, message.tags.get("+reply")))
        if "echo-message" in client.caps:
            await client.write(f":{client.name} PRIVMSG {message.target} :{relayed.text}", **tags, **labels(message))
        elif "labeled-response" in client.caps:
            await client.write(f":{HOST} ACK", **labels(message))


def labels(message: Message) -> dict[str, str]:
    return {"label": message.tags["label"]} if "label" in message.tags else {}


@asynccontextmanager
async def fake_irc() -> AsyncIterator[FakeIrc]:
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server = FakeIrc(listener.socket.getsockname()[1])
        nursery.start_soon(trio.serve_listeners, server.serve, [listener])
        yield server
        nursery.cancel_scope.cancel()
