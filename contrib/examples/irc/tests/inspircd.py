"""A real InspIRCd on this machine alone, and a friend of the bot who speaks with a client of a few lines."""

import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from gatewayd_irc.wire import Malformed, Message, parse, render

PROGRAM = shutil.which("inspircd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
MODULES = (
    "botmode cap chanhistory chghost ircv3 ircv3_accounttag ircv3_batch ircv3_capnotify ircv3_chghost ircv3_ctctags "
    "ircv3_echomessage ircv3_labeledresponse ircv3_msgid ircv3_servertime monitor services_account ssl_gnutls"
)
SECONDS = 60.0
CONFIG = """
<server name="irc.test" description="test" network="TestNet">
<admin name="test" nick="test" email="test@irc.test">
<bind address="127.0.0.1" port="{port}" type="clients">
<bind address="127.0.0.1" port="{tls_port}" type="clients" sslprofile="Clients">
<sslprofile name="Clients" provider="gnutls" certfile="{folder}/cert.pem" keyfile="{folder}/key.pem">
<connect name="main" allow="*" timeout="10" pingfreq="2m" hardsendq="1M" softsendq="10240" recvq="10K" threshold="{threshold}"
         commandrate="1000" fakelag="{fakelag}" localmax="100" globalmax="100" resolvehostnames="no" limit="5000" {connect}>
<class name="all" commands="*" privs="*" usermodes="*" chanmodes="*">
<type name="all" classes="all">
<oper name="root" password="root" host="*" type="all">
<options casemapping="rfc1459" defaultmodes="not">
<security maxtargets="20">
<limits maxnick="30" maxchan="60" maxuser="10" maxhost="64">
<files motd="{folder}/motd">
<pid file="{folder}/pid">
<log method="file" type="* -USERINPUT -USEROUTPUT" level="default" target="{folder}/log">
"""


class InspIrcd:
    """``start`` and ``stop`` as often as needed, at the same ports."""

    def __init__(self, folder: Path, **own: str) -> None:
        self.folder = folder
        self.port, self.tls_port = _free_port(), _free_port()
        self._process: trio.Process | None = None
        _certificate(folder)
        (folder / "motd").write_text("Welcome\n")
        values = {"threshold": "10", "fakelag": "yes", "connect": "", **own}
        text = CONFIG.format(port=self.port, tls_port=self.tls_port, folder=folder, **values)
        modules = "".join(f'<module name="{name}">\n' for name in MODULES.split())
        (folder / "inspircd.conf").write_text(modules + text)

    async def start(self) -> None:
        assert PROGRAM is not None
        root = ["--runasroot"] if os.geteuid() == 0 else []
        command = [PROGRAM, *root, "--nofork", f"--config={self.folder / 'inspircd.conf'}"]
        with (self.folder / "out").open("wb") as out:
            self._process = await trio.lowlevel.open_process(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        with trio.fail_after(SECONDS):
            while not _answers(self.port):
                assert self._process.poll() is None, (self.folder / "out").read_text()
                await trio.sleep(0.05)

    async def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None


@asynccontextmanager
async def inspircd(folder: Path, **own: str) -> AsyncIterator[InspIrcd]:
    if PROGRAM is None or shutil.which("openssl") is None:
        pytest.skip("inspircd or openssl is not installed")
    server = InspIrcd(folder, **own)
    try:
        await server.start()
        yield server
    finally:
        with trio.CancelScope(shield=True):
            await server.stop()


class Friend:
    """A person with a client. ``lines`` is what it was sent."""

    def __init__(self, stream: trio.SocketStream, nick: str) -> None:
        self.nick = nick
        self.lines: list[Message] = []
        self.raw: list[bytes] = []
        self._stream = stream
        self._changed = trio.Event()

    async def write(self, *words: str) -> None:
        await self._stream.send_all(render(*words))

    async def say(self, target: str, text: str) -> None:
        await self.write("PRIVMSG", target, text)

    async def read(self) -> None:
        rest = b""
        while piece := await self._stream.receive_some():
            *lines, rest = (rest + piece).split(b"\r\n")
            for line in lines:
                await self._take(line)

    async def _take(self, line: bytes) -> None:
        try:
            message = parse(line)
        except Malformed:
            return
        if message.command == "PING":
            await self.write("PONG", message.text)
        self.lines.append(message)
        self.raw.append(line)
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, condition: Callable[[], object]) -> None:
        with trio.fail_after(SECONDS):
            while not condition():
                await self._changed.wait()

    def texts(self, target: str | None = None) -> list[str]:
        """What was said to this person, or in a channel."""
        return [
            message.text for message in self.lines if message.command == "PRIVMSG" and message.target == (target or self.nick)
        ]

    def heard(self, command: str, *params: str) -> list[Message]:
        return [message for message in self.lines if message.command == command and message.params[: len(params)] == params]


@asynccontextmanager
async def friend(server: InspIrcd, nick: str, *channels: str) -> AsyncIterator[Friend]:
    async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream, trio.open_nursery() as nursery:
        person = Friend(stream, nick)
        nursery.start_soon(person.read)
        await person.write("NICK", nick)
        await person.write("USER", nick, "0", "*", nick)
        await person.until(lambda: person.heard("376"))
        for channel in channels:
            await person.write("JOIN", channel)
            await person.until(lambda channel=channel: person.heard("366", nick, channel))  # type: ignore[misc]
        yield person
        nursery.cancel_scope.cancel()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _certificate(folder: Path) -> None:
    """One that vouches for itself, for 127.0.0.1. It is the CA file of the account, too."""
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=irc.test "
        "-addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
