"""The driver and a real InspIRCd, and at last the whole gatewayd. SASL needs services: it is tested with the fake server."""

import os
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from gatewayd_irc.channel import open_irc
from gatewayd_irc.history import CURSOR
from gatewayd_irc.inbound import written
from gatewayd_irc.settings import IrcSettings
from inspircd import SECONDS, Friend, InspIrcd, friend, inspircd

from gatewayd.model.errors import GatewayError, NeedsOperator, OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import RichText, SendText, Span
from gatewayd.model.secret import Secret
from gatewayd.ports.channel import NO_STATE, AccountConfig, Channel
from gatewayd.testing.channel_contract import Journal, Services

pytestmark = pytest.mark.slow
ROOM = Peer("group", "#room")
ALICE = Peer("dm", "alice")


class TimedServices(Services):
    """With the time of the real server."""

    def __init__(self, http: httpx2.AsyncClient, now: float) -> None:
        super().__init__(http)
        self._now = now

    def now(self) -> float:
        return self._now


class Life:
    def __init__(self, channel: Channel, services: Services) -> None:
        self.channel = channel
        self.services = services
        self.journal = Journal(services)
        self.end: GatewayError | None = None
        self.ended = trio.Event()

    async def listen(self) -> None:
        try:
            await self.channel.listen(self.journal)
        except GatewayError as error:
            self.end = error
        self.ended.set()

    async def say(self, text: str, peer: Peer = ROOM, *spans: Span) -> str | None:
        return (await self.channel.send(SendText(peer, RichText(text, spans)), key="k1")).message_id

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await trio.sleep(0.02)


@asynccontextmanager
async def begun(
    server: InspIrcd, *, now: float | None = None, kept: Mapping[str, str] = NO_STATE, **settings: Any
) -> AsyncIterator[Life]:
    tls = {"port": server.tls_port, "ca_file": str(server.folder / "cert.pem")}
    own = {**tls, "channels": ("#room",), "seconds_per_line": 0.0, **settings}
    account = AccountConfig("irc", "main", IrcSettings("127.0.0.1", "bot", **own))
    async with httpx2.AsyncClient() as http:
        services = TimedServices(http, time.time() if now is None else now)
        services.kept.update(kept)
        async with open_irc(account, services) as channel, trio.open_nursery() as nursery:
            life = Life(channel, services)
            nursery.start_soon(life.listen)
            with trio.fail_after(SECONDS):
                yield life
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def connected(server: InspIrcd, **settings: Any) -> AsyncIterator[Life]:
    async with begun(server, **settings) as life:
        await life.services.is_connected.wait()
        await life.until(lambda: [one for one in life.journal.envelopes if one.kind == "membership"])
        yield life


async def test_it_talks_over_tls_and_is_asked_by_name(tmp_path: Path) -> None:
    async with inspircd(tmp_path) as server, friend(server, "alice", "#room") as alice, connected(server) as life:
        await alice.say("#room", "just so")
        await alice.say("#Room", "BOT: hello")
        await alice.say("bot", "in secret")
        await alice.say("#room", "\x01ACTION waves at @bot\x01")
        await life.journal.wait_texts("just so", "hello", "in secret", "* alice waves at @bot")
        messages = [envelope for envelope in life.journal.envelopes if envelope.kind == "message"]
        assert [one.addressed for one in messages] == [False, True, True, True]
        assert [one.peer for one in messages] == [ROOM, ROOM, ALICE, ROOM]
        assert {one.sender.id for one in messages} == {"nick:alice@127.0.0.1"}
        assert len({one.message_id for one in messages} - {None}) == 4
        assert await life.say("hello, alice", ROOM, Span("bold", 0, 5))
        assert await life.say("you, too", ALICE)
        await alice.until(lambda: alice.texts("#room") and alice.texts())
        assert (alice.texts("#room"), alice.texts()) == (["\x02hello\x02, alice"], ["you, too"])
        assert alice.heard("JOIN", "#room")


async def test_a_certificate_of_nobody_known_is_refused(tmp_path: Path) -> None:
    async with inspircd(tmp_path) as server, begun(server, ca_file=None) as life:
        await life.ended.wait()
        assert isinstance(life.end, NeedsOperator)
        assert "certificate" in life.end.reason


async def test_a_wrong_password_of_the_server(tmp_path: Path) -> None:
    async with inspircd(tmp_path, connect='password="pass-word"') as server:
        async with begun(server, password=Secret("wrong-canary")) as life:
            await life.ended.wait()
            assert isinstance(life.end, GatewayError)
            assert "canary" not in life.end.reason
        async with connected(server, password=Secret("pass-word")) as life:
            assert life.services.connected_as == ["bot"]


async def test_receipts_come_by_label_and_refusals_too(tmp_path: Path) -> None:
    async with inspircd(tmp_path) as server, friend(server, "alice", "#room") as alice, connected(server) as life:
        await alice.write("AWAY", "asleep")
        await alice.until(lambda: alice.heard("306"))
        first, second = await life.say("one", ALICE), await life.say("two", ALICE)
        assert first is not None
        assert first != second
        with pytest.raises(SendRejected, match="401"):
            await life.say("hello", Peer("dm", "nobody"))
        with pytest.raises(SendRejected, match=r"403|404"):
            await life.say("hello", Peer("group", "#elsewhere"))
        await alice.write("MODE", "#room", "+m")
        await alice.until(lambda: alice.heard("MODE", "#room", "+m"))
        with pytest.raises(SendRejected, match="404"):
            await life.say("hello")


async def test_lines_are_counted_in_bytes_with_our_name(tmp_path: Path) -> None:
    text = " ".join(f"😀é{number}" for number in range(250))
    async with inspircd(tmp_path) as server, friend(server, "alice", "#room") as alice, connected(server) as life:
        await life.say(text)
        await alice.until(lambda: " ".join(alice.texts("#room")).endswith("249"))
        assert " ".join(alice.texts("#room")) == text
        sizes = [len(line) + 2 for line in alice.raw if b"PRIVMSG" in line]
        assert 500 < max(sizes) <= 512


async def test_the_nick_is_taken_back(tmp_path: Path) -> None:
    async with inspircd(tmp_path) as server, friend(server, "bot") as other, begun(server) as life:
        await life.services.is_connected.wait()
        assert life.services.connected_as == ["bot_"]
        await other.write("QUIT")
        await life.until(lambda: life.services.connected_as[-1] == "bot")
        async with friend(server, "alice", "#room") as alice:
            await alice.say("#room", "bot: hello")
            await life.journal.wait_texts("hello")


async def test_it_comes_back_after_a_kick(tmp_path: Path) -> None:
    async with inspircd(tmp_path) as server, friend(server, "alice", "#room") as alice, connected(server) as life:
        await alice.write("KICK", "#room", "bot", "out")
        await alice.until(lambda: alice.heard("KICK", "#room", "bot"))
        with pytest.raises(TryAgain, match="kicked by alice: out"):
            await life.say("hello")
        await alice.until(lambda: len(alice.heard("JOIN", "#room")) == 3)  # her own, the first, and this one
        await life.until(lambda: len(life.journal.envelopes) == 3)
        await life.say("back")
        await alice.until(lambda: alice.texts("#room") == ["back"])


async def test_a_channel_with_a_key(tmp_path: Path) -> None:
    async with inspircd(tmp_path) as server, friend(server, "alice", "#room", "#closed") as alice:
        await alice.write("MODE", "#closed", "+k", "sesame")
        await alice.until(lambda: alice.heard("MODE", "#closed"))
        async with connected(server, channels=("#room", "#closed")) as life:
            await life.until(lambda: "475" in (life.services.lacking.get("#closed") or ""))
            with pytest.raises(TryAgain, match="475"):
                await life.say("hello", Peer("group", "#closed"))
        async with connected(server, channels=("#closed",), keys={"#closed": Secret("sesame")}) as life:
            await life.say("hello", Peer("group", "#closed"))


async def test_who_is_too_fast_is_thrown_out_and_the_account_is_not(tmp_path: Path) -> None:
    async with inspircd(tmp_path, fakelag="no") as server, friend(server, "alice", "#room") as alice:
        async with connected(server, burst_lines=1000) as life:
            with pytest.raises((OutcomeUnknown, TryAgain)):
                await life.say("\n".join(f"line {number}" for number in range(200)))
            await life.ended.wait()
            assert isinstance(life.end, TryAgain)
            assert life.end.after_seconds == 60.0
            assert "Flood" in life.end.reason
        async with connected(server, burst_lines=5, seconds_per_line=1.1) as life:
            await life.say("\n".join(f"line {number}" for number in range(14)))
            await alice.until(lambda: "line 13" in alice.texts("#room"))
            assert not life.ended.is_set()


async def test_what_was_said_meanwhile_is_heard_where_the_server_keeps_it(tmp_path: Path) -> None:
    """InspIRCd's chanhistory plays it at each JOIN, in a batch. What was said before the account was there is not answered."""
    async with inspircd(tmp_path) as server, friend(server, "alice", "#room") as alice:
        await alice.write("MODE", "#room", "+H", "50:1d")
        await alice.until(lambda: alice.heard("MODE", "#room"))
        await alice.say("#room", "long ago")
        for now, kept, heard in ((time.time() + 60, {}, []), (time.time(), {CURSOR: written(time.time() - 60)}, ["long ago"])):
            async with begun(server, now=now, kept=kept) as life:
                await alice.until(lambda: alice.heard("JOIN", "#room"))
                await life.until(lambda: [one for one in life.journal.envelopes if one.kind == "membership"])
                await alice.say("#room", "now")
                await life.until(lambda: "now" in life.journal.texts)
                assert life.journal.texts == [*heard, "now"]


async def test_a_server_that_ends_is_an_outage(tmp_path: Path) -> None:
    async with inspircd(tmp_path) as server:
        async with connected(server) as life:
            await server.stop()
            await life.ended.wait()
            assert isinstance(life.end, TryAgain)
        async with begun(server) as life:
            await life.ended.wait()
            assert isinstance(life.end, TryAgain)
        await server.start()
        async with connected(server) as life:
            await life.say("back")


CONFIG = """
[agents.assistant]
core = "echo"

[channels.irc.accounts.main]
server = "127.0.0.1"
port = {port}
ca_file = "{folder}/cert.pem"
nick = "bot"
channels = ["#room"]
groups = ["#room"]
allow_from = ["nick:alice@127.0.0.1"]
"""


@asynccontextmanager
async def gatewayd(server: InspIrcd, folder: Path) -> AsyncIterator[Callable[[], str]]:
    """The program, as an operator runs it. What it logs."""
    config = folder / "gatewayd.toml"
    config.write_text(CONFIG.format(port=server.tls_port, folder=server.folder))
    kept = {
        name: value for name, value in os.environ.items() if not re.match("GATEWAYD_|XDG_|STATE_DIRECTORY|NOTIFY_SOCKET", name)
    }
    command = [str(Path(sys.executable).parent / "gatewayd"), "--config", str(config), "--bind", "127.0.0.1:0"]
    with (folder / "gatewayd.log").open("w") as log:
        process = await trio.lowlevel.open_process(command, cwd=folder, env={**kept, "HOME": str(folder)}, stdout=log, stderr=log)
        try:
            yield (folder / "gatewayd.log").read_text
        finally:
            process.terminate()
            with trio.CancelScope(shield=True):
                await process.wait()


def is_there(nick: str, friend: Friend) -> bool:
    """Whether it was in the channel when the friend came, or has come since. What is said before that, nobody keeps."""
    present = [name.lstrip("@+") for names in friend.heard("353") for name in names.params[-1].split()]
    return nick in present or any(joined.nick == nick for joined in friend.heard("JOIN", "#room"))


async def test_somebody_talks_with_an_agent_by_irc(tmp_path: Path) -> None:
    """Also after the server was away: gatewayd connects again by itself."""
    (tmp_path / "irc").mkdir()
    async with inspircd(tmp_path / "irc") as server, gatewayd(server, tmp_path) as log:
        async with friend(server, "alice", "#room") as alice:
            with trio.fail_after(60):
                while not (is_there("bot", alice) and "connected" in log()):
                    await trio.sleep(0.1)
                await alice.say("#room", "nothing for you")
                await alice.say("#room", "bot: **hello**")
                await alice.until(lambda: alice.texts("#room"))
                await alice.say("bot", "one")
                await alice.say("bot", "secret")
                await alice.until(lambda: len(alice.texts()) >= 2)
            assert alice.texts("#room") == ["\x02hello\x02"]
            assert sorted(alice.texts()) == ["one", "secret"]
        await server.stop()
        await trio.sleep(1)
        await server.start()
        async with friend(server, "alice", "#room") as alice:
            with trio.fail_after(60):
                await alice.until(lambda: [one for one in alice.heard("JOIN", "#room") if one.nick == "bot"])
                await alice.say("#room", "bot: again")
                await alice.until(lambda: alice.texts("#room") == ["again"])
