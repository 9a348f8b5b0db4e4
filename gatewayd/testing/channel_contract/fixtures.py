"""What every part of the contract uses: the platform, the account, and what the author excuses."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from inspect import iscoroutinefunction
from math import inf
from typing import ClassVar, Literal, TypeVar, cast

import httpx2
import pytest
import trio
import trio.testing

from gatewayd.actor.border import sole
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import Choice, EditText, OutboundPayload, Receipt, RichText, SendText
from gatewayd.ports.channel import ChannelOpener, ChannelPlugin
from gatewayd.testing.channel_contract.account import Account
from gatewayd.testing.channel_contract.harness import (
    AcknowledgesHarness,
    ButtonsHarness,
    EditsHarness,
    Harness,
    Place,
    PlacesHarness,
    SendFailure,
    ShowsHarness,
)
from gatewayd.testing.channel_contract.hub import Journal, Secrets, Services
from gatewayd.testing.manifest import ManifestContract, resolve
from gatewayd.testing.watchdog import deadline

Choices = tuple[tuple[Choice, ...], ...]
Flag = Literal["acknowledges", "buttons", "edits", "files", "grows", "recalls", "reconciles", "webhook"]
T = TypeVar("T")

PATIENCE_SECONDS = 30.0
"""How long a test waits for what should come, on Trio's clock."""
SETTLE_SECONDS = 0.02
"""Real seconds in which nothing happens any more, when nothing will happen."""


def run_on_a_clock_that_jumps(main: Callable[..., object], **options: object) -> object:
    """As ``trio.run``. Nobody waits for what only time ends; see ``ChannelFixtures.idle_seconds``."""
    try:
        return trio.run(main, clock=trio.testing.MockClock(rate=1.0))  # type: ignore[arg-type]
    except BaseExceptionGroup as group:
        # One thing went wrong, in some task group: that is all that an author wants to see.
        if (error := sole(group)) is group:
            raise
        raise error from error.__cause__


async def settle() -> None:
    """Returns when every task waits."""
    await trio.testing.wait_all_tasks_blocked(SETTLE_SECONDS)


class Rig:
    """One platform, for one test. ``kept`` is the account's state, which outlives the driver."""

    def __init__(self, opener: ChannelOpener, harness: Harness, secrets: Secrets) -> None:
        self.harness = harness
        self.kept: dict[str, str] = {}
        self.secrets = secrets
        self._opener = opener

    @asynccontextmanager
    async def account(
        self, *, error: Exception | None = None, full: bool = False, connected: bool = True, quietly: bool = True
    ) -> AsyncIterator[Account]:
        """The account, as long as the block lasts. The next one is a restart: the platform goes on, and so does the state.

        ``error``: nothing can be journaled. ``full``: the inbox is full until ``journal.gate`` is set. ``connected``: wait for
        that. ``quietly``: at the end it stops listening and then closes; otherwise it is cancelled, whatever it does.
        """
        async with httpx2.AsyncClient() as http:
            services = Services(http, self.kept)
            journal = Journal(services, error, patience=PATIENCE_SECONDS)
            if full:
                journal.gate = trio.Event()
            account = Account(self._opener, self.harness, services, journal, self.secrets)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(account.run)
                if connected:
                    await account.wait_connected()
                yield account
                if quietly:
                    account.stop()
                else:
                    nursery.cancel_scope.cancel()
            account.check_words()


class ChannelFixtures(ManifestContract):
    """``excuses`` says what a network does not have, and why: a failure of sends, a place, an ability, or the name of a test,
    with the reason. The tests that need it are skipped with that reason.

    ``idle_seconds``: Trio's clock jumps to the next deadline when nothing has happened for so many real seconds. It has to be
    ``math.inf``, so that time is real, where the other side runs in another process.
    """

    group = "gatewayd.channels"
    plugin: ClassVar[ChannelPlugin]
    excuses: ClassVar[Mapping[str, str]] = {}
    idle_seconds: ClassVar[float] = 0.01

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, test in vars(cls).items():
            if name.startswith("test_") and iscoroutinefunction(test):
                pytest.mark.trio(run=run_on_a_clock_that_jumps)(test)

    def harness(self) -> AbstractAsyncContextManager[Harness]:
        """The platform, up and running. Leaving it closes everything it opened."""
        raise NotImplementedError

    def opener(self) -> ChannelOpener:
        return cast(ChannelOpener, resolve(self.plugin.open))

    # What the hub does around a send.

    def text(self, harness: Harness, text: str, choices: Choices = (), *, peer: Peer | None = None) -> SendText:
        return SendText(peer=peer or harness.peer, body=RichText(text), choices=choices)

    def edit(self, harness: Harness, message_id: str | None, text: str, choices: Choices = ()) -> EditText:
        """An edit of the first message that was sent."""
        return EditText(peer=harness.peer, body=RichText(text), of=1, message_id=message_id, choices=choices)

    async def send(self, rig: Rig, account: Account, payload: OutboundPayload, *, key: str | None = None) -> Receipt:
        """A send that must succeed. For what the hub does before and after it, override this."""
        return await account.send(payload, key=key)

    # What a test needs.

    @asynccontextmanager
    async def rig(self, seconds: float = 60.0) -> AsyncIterator[Rig]:
        """The platform. What the driver says meanwhile must have no secret in it, and nothing may hang."""
        async with deadline(seconds):
            if isinstance(clock := trio.lowlevel.current_clock(), trio.testing.MockClock) and clock.rate:
                clock.autojump_threshold = self.idle_seconds
            async with self.harness() as harness:
                secrets = Secrets(harness.account.settings)
                secrets.check("the repr of the settings", repr(harness.account))
                with secrets.watch_logs():
                    yield Rig(self.opener(), harness, secrets)

    @pytest.fixture(autouse=True)
    def _excused(self, request: pytest.FixtureRequest) -> None:
        self.excuse(getattr(request.node, "originalname", ""))

    def need(self, flag: Flag) -> None:
        """Skip the test where the manifest does not promise it."""
        if not getattr(self.plugin, flag):
            pytest.skip(f"{self.plugin.id} has no {flag}" if flag != "acknowledges" else f"{self.plugin.id} acknowledges nothing")

    def has(self, harness: Harness, protocol: type[T], ability: str | None = None) -> T:
        """The harness as this protocol. Skips the test where the author excuses the ability."""
        if ability is not None:
            self.excuse(ability)
        if not isinstance(harness, protocol):
            hint = f", or excuses says why there is nothing of the kind: excuses = {{{ability!r}: …}}" if ability else ""
            pytest.fail(f"the harness of {self.plugin.id} has to be a {protocol.__name__}{hint}", pytrace=False)
        return harness

    def excuse(self, what: str) -> None:
        """Skip the test where the author excuses this."""
        if what in self.excuses:
            pytest.skip(f"{what}: {self.excuses[what]}")

    def acks(self, rig: Rig) -> AcknowledgesHarness:
        self.need("acknowledges")
        return self.has(rig.harness, AcknowledgesHarness)

    def shows(self, rig: Rig) -> ShowsHarness:
        return self.has(rig.harness, ShowsHarness)

    def with_edits(self, rig: Rig) -> EditsHarness:
        self.need("edits")
        return self.has(rig.harness, EditsHarness)

    def with_buttons(self, rig: Rig) -> ButtonsHarness:
        self.need("buttons")
        return self.has(rig.harness, ButtonsHarness)

    def place(self, rig: Rig, place: Place) -> tuple[PlacesHarness, Peer]:
        """One of the places. Skips the test where the author excuses it."""
        harness = self.has(rig.harness, PlacesHarness, place)
        if place not in harness.places:
            pytest.fail(
                f"the harness of {self.plugin.id} has no {place} in its places, and excuses does not say why", pytrace=False
            )
        return harness, harness.places[place]

    async def arrange(self, rig: Rig, failure: SendFailure) -> None:
        """Let the next send fail. Skips the test where the author excuses this failure."""
        self.excuse(failure)
        if failure not in rig.harness.failures:
            pytest.fail(
                f"the harness of {self.plugin.id} cannot make a send fail by {failure!r}, and excuses does not say why",
                pytrace=False,
            )
        await rig.harness.failures[failure]()

    @property
    def time_is_real(self) -> bool:
        return self.idle_seconds == inf
