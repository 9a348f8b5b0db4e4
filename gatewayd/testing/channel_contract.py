"""The contract that every channel passes. How to use it in a plugin: docs/channels/loopback.md.

A channel's test module subclasses ``ChannelContract`` with a name that begins with ``Test`` and gives it a harness: the
driver's other side, speaking the platform's own bytes. The suite opens the driver by its manifest, as the hub does.

    class TestTelegramContract(ChannelContract):
        plugin = PLUGIN
        manifest_module = "gatewayd.channels.telegram"

        def harness(self) -> AbstractAsyncContextManager[Harness]: ...
"""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from importlib.metadata import entry_points
from random import Random
from typing import ClassVar, Literal, Protocol, cast

import httpx2
import pytest
import structlog
import trio
from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from gatewayd.actor.supervisor import leaves
from gatewayd.model.envelope import InboundEnvelope, Peer
from gatewayd.model.errors import GatewayError, NeedsOperator, OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.payload import RichText, SendText
from gatewayd.ports.channel import AccountConfig, Channel, ChannelOpener, ChannelPlugin, Deliver
from gatewayd.ports.memos import Memos

PATIENCE = 10.0
"""Real seconds after which a test gives up: nothing in it takes a hundredth of that."""

SendFailure = Literal["outage", "rate limit", "rejected", "revoked", "cut"]

NAMED: Mapping[SendFailure, type[GatewayError]] = {
    "outage": TryAgain,
    "rate limit": TryAgain,
    "rejected": SendRejected,
    "revoked": NeedsOperator,
    "cut": OutcomeUnknown,
}


class Harness(Protocol):
    """One account and its platform, for one test. ``peer`` is somebody whom ``produce`` lets write and to whom we can send.

    ``failures`` are the ways in which the platform can make the next send fail, and how to arrange for each: an outage or a
    rate limit before anything was sent, a refusal of this one payload, a revoked credential, a connection that is cut after
    the request was written. A platform lists those that it knows.
    """

    @property
    def account(self) -> AccountConfig: ...

    @property
    def peer(self) -> Peer: ...

    @property
    def failures(self) -> Mapping[SendFailure, Callable[[], Awaitable[None]]]: ...

    async def produce(self, text: str) -> None:
        """``peer`` writes ``text``. Returns when it has happened on the platform, without waiting for the driver."""

    async def acknowledged(self) -> int:
        """How many of the produced messages the platform takes for received and will not offer again."""

    async def wait_acknowledged(self, count: int) -> None:
        """Returns once that many are."""

    async def received(self) -> Sequence[str]:
        """The texts that the platform shows to ``peer``, oldest first, as plain text."""


class Kit:
    """The hub's side for one driver: what it said of its transport, and its memos, in memory."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http
        self.rng = Random(1)
        self.connected_as: list[str | None] = []
        self.is_connected = trio.Event()
        self.silence: float | None = None
        self.heard_times = 0
        self.kept: dict[str, str] = {}

    @property
    def link(self) -> "Kit":
        return self

    @property
    def memos(self) -> Memos:
        return self

    @property
    def log(self) -> FilteringBoundLogger:
        log: FilteringBoundLogger = structlog.get_logger()
        return log

    def now(self) -> float:
        return 1_800_000_000.0 + trio.current_time()

    def connected(self, identity: str | None = None) -> None:
        self.connected_as.append(identity)
        self.is_connected.set()

    def heard(self) -> None:
        self.heard_times += 1

    def expect_silence(self, at_most_seconds: float | None) -> None:
        self.silence = at_most_seconds

    async def load(self, key: str) -> str | None:
        await trio.lowlevel.checkpoint()
        return self.kept.get(key)

    async def save(self, key: str, value: str) -> None:
        await trio.lowlevel.checkpoint()
        self.kept[key] = value

    async def forget(self, key: str) -> None:
        await trio.lowlevel.checkpoint()
        self.kept.pop(key, None)


class Journal:
    """A ``deliver`` that keeps what it got. ``gate`` holds it back, ``error`` makes it fail."""

    def __init__(self, kit: Kit, error: Exception | None = None) -> None:
        self.envelopes: list[InboundEnvelope] = []
        self.calls = 0
        self.gate = trio.Event()
        self.gate.set()
        self._kit = kit
        self._error = error
        self._changed = trio.Event()

    async def __call__(self, envelopes: Sequence[InboundEnvelope], *, memo: tuple[str, str] | None = None) -> None:
        self.calls += 1
        self._tell()
        await self.gate.wait()
        if self._error is not None:
            raise self._error
        if memo is not None:
            self._kit.kept[memo[0]] = memo[1]
        self.envelopes += envelopes
        self._tell()

    async def wait_called(self) -> None:
        while not self.calls:
            await self._changed.wait()

    async def wait_texts(self, *texts: str) -> None:
        """Returns once these texts, and no other, have come in this order."""
        while len(self.texts) < len(texts):
            await self._changed.wait()
        assert self.texts == list(texts)

    @property
    def texts(self) -> list[str]:
        return [envelope.text for envelope in self.envelopes if envelope.kind == "message"]

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def resolve(reference: str) -> object:
    """What ``module:attribute`` names."""
    module, _, attribute = reference.partition(":")
    found: object = getattr(import_module(module), attribute)
    return found


def count_sockets() -> int:
    """Sockets of this process (Linux)."""
    found = 0
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")
        except FileNotFoundError:
            continue
    return found


class ChannelContract:
    """Inherit, name the manifest, give a harness."""

    plugin: ClassVar[ChannelPlugin]
    manifest_module: ClassVar[str]

    def harness(self) -> AbstractAsyncContextManager[Harness]:
        """The platform, up and running. Leaving it closes everything it opened."""
        raise NotImplementedError

    # How the tests use it.

    @asynccontextmanager
    async def opened(self, harness: Harness) -> AsyncIterator[tuple[Channel, Kit]]:
        opener = cast(ChannelOpener, resolve(self.plugin.open))
        async with httpx2.AsyncClient() as http:
            kit = Kit(http)
            async with opener(harness.account, kit) as channel:
                yield channel, kit

    @asynccontextmanager
    async def listening(self, channel: Channel, kit: Kit, deliver: Deliver) -> AsyncIterator[None]:
        """Listens inside, and holds that ``listen`` does not return by itself."""

        async def listen() -> None:
            await channel.listen(deliver)
            raise AssertionError("listen returned")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await kit.is_connected.wait()
            yield
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def talking(self, harness: Harness) -> AsyncIterator[Channel]:
        """Open and listening, for tests of the other direction."""
        async with self.opened(harness) as (channel, kit), self.listening(channel, kit, Journal(kit)):
            yield channel

    def text(self, harness: Harness, text: str) -> SendText:
        return SendText(peer=harness.peer, body=RichText(text))

    # The manifest.

    def test_the_manifest_imports_no_driver(self) -> None:
        driver = self.plugin.open.partition(":")[0]
        program = (
            "import sys, importlib\n"
            f"plugin = importlib.import_module({self.manifest_module!r}).PLUGIN\n"
            f"print(plugin.id, *sorted({{{driver!r}, 'trio', 'anyio', 'httpx2', 'quart'}} & sys.modules.keys()))\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
        assert (done.stdout.split(), done.stderr) == ([self.plugin.id], "")

    def test_the_manifest_is_registered_and_names_what_exists(self) -> None:
        [entry] = entry_points(group="gatewayd.channels", name=self.plugin.id)
        assert entry.load() == self.plugin
        assert callable(resolve(self.plugin.open))
        settings = resolve(self.plugin.settings)
        assert isinstance(settings, type)
        assert issubclass(settings, Struct)
        assert settings.__struct_config__.frozen
        assert settings.__struct_config__.forbid_unknown_fields

    # Opening and closing.

    async def test_opening_and_closing_leaves_nothing_behind(self) -> None:
        with trio.fail_after(PATIENCE):
            async with self.harness():
                # The first use may load what stays for good (resolvers, caches).
                pass
            before = trio.lowlevel.current_statistics().tasks_living, count_sockets()
            async with self.harness() as harness:
                for _ in range(3):
                    async with self.talking(harness) as channel:
                        await harness.produce("hello")
                        await channel.send(self.text(harness, "hello yourself"))
            assert (trio.lowlevel.current_statistics().tasks_living, count_sockets()) == before

    async def test_closing_is_quick_in_the_middle_of_everything(self) -> None:
        with trio.fail_after(PATIENCE):
            async with self.harness() as harness, self.opened(harness) as (channel, kit):
                journal = Journal(kit)
                journal.gate = trio.Event()
                async with self.listening(channel, kit, journal):
                    await harness.produce("hello")
                    await journal.wait_called()
                closing_at = trio.current_time()
            assert trio.current_time() - closing_at < 5

    # Receiving.

    async def test_messages_are_delivered_in_order(self) -> None:
        with trio.fail_after(PATIENCE):
            async with self.harness() as harness, self.opened(harness) as (channel, kit):
                journal = Journal(kit)
                async with self.listening(channel, kit, journal):
                    for text in ("one", "two", "three"):
                        await harness.produce(text)
                    await journal.wait_texts("one", "two", "three")
                    await harness.wait_acknowledged(3)
                for envelope in journal.envelopes:
                    assert (envelope.channel, envelope.account) == (harness.account.channel, harness.account.account)
                    assert envelope.peer == harness.peer
                assert len({envelope.event_key for envelope in journal.envelopes}) == len(journal.envelopes)

    async def test_the_platform_is_told_after_the_commit_and_not_before(self) -> None:
        with trio.fail_after(PATIENCE):
            async with self.harness() as harness, self.opened(harness) as (channel, kit):
                journal = Journal(kit)
                journal.gate = trio.Event()
                async with self.listening(channel, kit, journal):
                    await harness.produce("hello")
                    await journal.wait_called()
                    await channel.send(self.text(harness, "meanwhile, on another wire"))
                    assert await harness.acknowledged() == 0
                    journal.gate.set()
                    await harness.wait_acknowledged(1)
                assert journal.texts == ["hello"]

    async def test_what_could_not_be_journaled_is_not_acknowledged_and_comes_again(self) -> None:
        refused = RuntimeError("the disk is full")
        with trio.fail_after(PATIENCE):
            async with self.harness() as harness:
                async with self.opened(harness) as (channel, kit):
                    await harness.produce("hello")
                    with pytest.raises(Exception) as caught:
                        await channel.listen(Journal(kit, refused))
                    assert leaves(caught.value) == [refused]
                assert await harness.acknowledged() == 0
                async with self.opened(harness) as (channel, kit):
                    journal = Journal(kit)
                    async with self.listening(channel, kit, journal):
                        await journal.wait_texts("hello")

    # Sending.

    async def test_a_send_gives_a_receipt_and_arrives(self) -> None:
        with trio.fail_after(PATIENCE):
            async with self.harness() as harness, self.talking(harness) as channel:
                for text in ("one", "two"):
                    await channel.send(self.text(harness, text))
                assert list(await harness.received()) == ["one", "two"]

    async def test_the_longest_text_arrives_whole(self) -> None:
        limit = self.plugin.text_limit
        if limit is None:
            longest = "😀" * 20_000
        elif limit.unit == "chars":
            longest = "😀" * limit.size
        elif limit.unit == "utf16":
            longest = "😀" * (limit.size // 2) + "x" * (limit.size % 2)
        else:
            longest = "é" * (limit.size // 2) + "x" * (limit.size % 2)
        with trio.fail_after(PATIENCE):
            async with self.harness() as harness, self.talking(harness) as channel:
                await channel.send(self.text(harness, longest))
                assert list(await harness.received()) == [longest]
                if limit is not None:
                    await self._send_too_much(harness, channel, longest + "x")

    async def _send_too_much(self, harness: Harness, channel: Channel, text: str) -> None:
        """Refused or sent in pieces: but never cut short."""
        before = list(await harness.received())
        try:
            await channel.send(self.text(harness, text))
        except SendRejected:
            assert list(await harness.received()) == before
        else:
            assert "".join(list(await harness.received())[len(before) :]) == text

    async def test_failures_have_the_name_of_their_cure(self) -> None:
        with trio.fail_after(PATIENCE):
            async with self.harness() as harness:
                known = list(harness.failures)
            # A platform of its own for each: some slow down who comes back again and again.
            for failure in known:
                async with self.harness() as harness, self.talking(harness) as channel:
                    await harness.failures[failure]()
                    with pytest.raises(NAMED[failure]) as caught:
                        await channel.send(self.text(harness, f"into the {failure}"))
                    assert caught.value.reason
                    if failure == "rate limit":
                        assert cast(TryAgain, caught.value).after_seconds is not None
