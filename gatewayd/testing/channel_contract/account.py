"""One account, opened and listening again and again, as the daemon's supervisor does it."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import NoReturn

import trio

from gatewayd.actor.border import leaves
from gatewayd.actor.life import UnexpectedReturn
from gatewayd.actor.supervisor import Verdict, classify_failure
from gatewayd.model.errors import GatewayError, TryAgain
from gatewayd.model.message.payload import OutboundPayload, Receipt
from gatewayd.ports.channel import Channel, ChannelOpener, ReceivesWebhooks, WebhookReply, WebhookRequest
from gatewayd.testing.channel_contract.harness import ArrivesHarness, CallsHarness, Harness
from gatewayd.testing.channel_contract.hub import Journal, Leak, Secrets, Services

_LONGEST_PAUSE_SECONDS = 5.0
_UNAVAILABLE = WebhookReply(status=503, body=b"this account is not connected")


class Account:
    """``endings`` says of each life that has ended by an error what the daemon would do about it. A bug ends the test."""

    def __init__(self, opener: ChannelOpener, harness: Harness, services: Services, journal: Journal, secrets: Secrets) -> None:
        self.services = services
        self.journal = journal
        self.endings: list[Verdict] = []
        self.refusals = 0
        self._opener = opener
        self._harness = harness
        self._secrets = secrets
        self._channel: Channel | None = None
        self._listening = trio.CancelScope()
        self._calls: set[trio.CancelScope] = set()
        self._changed = services.changed
        self._is_stopped = False
        self._sends = 0

    @property
    def channel(self) -> Channel:
        """The driver of the present life."""
        assert self._channel is not None, "the account is not open"
        return self._channel

    @property
    def is_parked(self) -> bool:
        """Whether the operator is needed."""
        return bool(self.endings) and self.endings[-1].action == "park"

    async def run(self) -> None:
        """Life after life, until the account is stopped or parked."""
        pause = 0.1
        while not self._is_stopped:
            try:
                await self._live()
            except Leak:
                raise
            except Exception as error:
                for leaf in leaves(error):
                    self._secrets.check_error(leaf)
                if self._is_refusal(error):
                    self.refusals += 1
                    self._changed.notify()
                    return
                self._end(classify_failure(error), error)
            self.services.end_life()
            if not self._is_stopped:
                await trio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def stop(self) -> None:
        """Stop listening, and close in peace."""
        self._is_stopped = True
        self._listening.cancel()

    async def wait_connected(self) -> None:
        """Returns once a life is connected, and a send would arrive."""
        while not self.services.is_connected.is_set():
            assert not self._is_stopped, f"parked: {self.endings[-1].reason}" if self.endings else "it has ended"
            await self._changed.wait()
        if isinstance(self._harness, ArrivesHarness):
            await self._harness.wait_there()

    async def wait_ended(self, count: int = 1) -> Verdict:
        """Returns once so many lives have ended by an error, with what follows after the last of them."""
        while len(self.endings) < count:
            await self._changed.wait()
        return self.endings[-1]

    async def wait_away(self) -> None:
        """Returns once the driver has said that its connection is lost."""
        while not self.endings and not self.services.interruptions:
            await self._changed.wait()

    async def wait_parked(self) -> None:
        while not self.is_parked:
            await self._changed.wait()

    async def wait_refused(self) -> None:
        """Returns once the driver has met the journal's error."""
        while not self.refusals:
            await self._changed.wait()

    async def send(self, payload: OutboundPayload, *, key: str | None = None) -> Receipt:
        """What must succeed."""
        receipt = await self.outcome(payload, key=key)
        assert isinstance(receipt, Receipt), f"a send that should succeed ended with {receipt!r}"
        return receipt

    async def outcome(self, payload: OutboundPayload, *, key: str | None = None) -> Receipt | GatewayError:
        """What becomes of a send: a receipt, or an error that says what to do. Anything else is a bug. A ``key`` of its own is
        made for each send that brings none."""
        self._sends += 1
        try:
            receipt = await self.channel.send(payload, key=key or f"{id(self):x}{self._sends}"[-25:])
        except Exception as error:
            for leaf in leaves(error):
                self._secrets.check_error(leaf)
            if len(found := leaves(error)) == 1 and isinstance(found[0], GatewayError):
                assert found[0].reason, f"{found[0]!r} has no reason for an operator"
                return found[0]
            raise
        assert isinstance(receipt, Receipt), f"send returned {receipt!r}, and no Receipt"
        return receipt

    async def webhook(self, request: WebhookRequest) -> WebhookReply:
        """A request of the platform, answered as the daemon does: after the commit."""
        channel = self._channel
        if channel is None:
            return _UNAVAILABLE
        assert isinstance(channel, ReceivesWebhooks), "the platform calls a webhook, and the channel does not implement it"
        reply = channel.receive(request)
        self._secrets.check("the answer to a webhook", repr(reply.body))
        if reply.status < 400:
            if not await self.call(partial(self.journal, reply.envelopes, state=reply.state, reports=reply.reports)):
                return _UNAVAILABLE
            await channel.received(request, reply)
        return reply

    async def call(self, work: Callable[[], Awaitable[object]]) -> bool:
        """What the daemon's HTTP server does for a request. False: it could not be done, or the account has closed meanwhile."""
        with trio.CancelScope() as scope:
            self._calls.add(scope)
            try:
                await work()
            except Exception:
                self.refusals += 1
                self._changed.notify()
                return False
            finally:
                self._calls.remove(scope)
        return not scope.cancelled_caught

    def check_words(self) -> None:
        """What the driver says of its connection is shown to operators."""
        self._secrets.check("what it says of its connection", f"{self.services.interruptions} {self.services.lacking}")

    async def _live(self) -> None:
        with self.services.begin_life() as life:
            async with self._opener(self._harness.account, self.services) as self._channel:
                self._secrets.check("the repr of the channel", f"{self._channel!r} {self._channel}")
                with trio.CancelScope() as self._listening:
                    if self._is_stopped:
                        return
                    try:
                        self._reach(self)
                        await self._listen(self._channel)
                    finally:
                        self._reach(None)
                        self._channel = None
                        for call in self._calls:
                            call.cancel()
        if life.cancelled_caught:
            raise TryAgain("it was silent, or interrupted, for longer than it said")

    async def _listen(self, channel: Channel) -> NoReturn:
        await channel.listen(self.journal)
        raise UnexpectedReturn("listen returned")

    def _reach(self, account: "Account | None") -> None:
        if isinstance(self._harness, CallsHarness):
            self._harness.reach(account)

    def _is_refusal(self, error: Exception) -> bool:
        """Whether it is the journal's own error: the daemon calls it a bug of ours, and the driver has done right."""
        return self.journal.error is not None and all(leaf is self.journal.error for leaf in leaves(error))

    def _end(self, verdict: Verdict, error: Exception) -> None:
        if verdict.action == "restart":
            raise AssertionError(f"the daemon would call this a {verdict.reason}") from error
        self.endings.append(verdict)
        self._is_stopped = self._is_stopped or verdict.action == "park"
        self._changed.notify()
