"""Faults of an account's life."""

import time

import trio

from gatewayd.channels.loopback.inbound import Connection
from gatewayd.model.errors import TryAgain
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.model.message.payload import OutboundPayload, Receipt
from gatewayd.ports.channel import Deliver
from tests.channels.contract.faults.planting import fault
from tests.channels.contract.variants import Loopback, Polled, PolledContract


@fault(31, "test_closing_is_quick_in_the_middle_of_everything")
class HangsInClose(Loopback):
    """It hangs while it closes."""

    async def close(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()


@fault(None, "test_closing_is_quick_in_the_middle_of_everything")
class HangsInDeliver(Loopback):
    """It hangs in a delivery that is cancelled."""

    async def _deliver(self, connection: Connection, envelope: InboundEnvelope, deliver: Deliver) -> None:
        with trio.CancelScope(shield=True):
            await super()._deliver(connection, envelope, deliver)


@fault(None, "test_closing_is_quick_in_the_middle_of_everything")
class ClosesSlowly(Loopback):
    """It takes long to close."""

    async def close(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(9)


@fault(32, "test_opening_and_closing_leaves_nothing_behind")
class HangsInConnect(Loopback):
    """It hangs while it connects."""

    async def _connect(self) -> Connection:
        await trio.sleep_forever()
        raise AssertionError


@fault(33, "test_it_is_connected_when_the_platform_says_so")
class IsConnectedAtOnce(Loopback):
    """It says connected before the platform has answered."""

    async def listen(self, deliver: Deliver) -> None:
        self._services.connection.connected()
        await super().listen(deliver)


@fault(34, "test_a_connection_that_falls_silent_is_found")
class IsDeaf(Loopback):
    """It never says how long silence may last: deaf for ever."""

    async def _connect(self) -> Connection:
        connection = await super()._connect()
        self._services.connection.expect_silence(None)
        return connection


@fault(None, "test_a_quiet_connection_stays")
class HearsOnlyMessages(Loopback):
    """What keeps the connection alive is not heard, so a quiet night looks like an outage."""

    async def _receive(self, connection: Connection, deliver: Deliver) -> None:
        event = await connection.next_event(beat_seconds=30)
        if isinstance(event, InboundEnvelope):
            await self._deliver(connection, event, deliver)


@fault(35, "test_opening_and_closing_leaves_nothing_behind")
class LeavesATask(Loopback):
    """A task is left after it has closed."""

    async def open(self) -> None:
        await super().open()
        trio.lowlevel.spawn_system_task(trio.sleep, 86_400)


@fault(36, "test_a_cut_connection_is_an_outage")
class RaisesWhatItGets(Loopback):
    """An outage is a bare exception."""

    async def listen(self, deliver: Deliver) -> None:
        try:
            await super().listen(deliver)
        except TryAgain:
            raise ConnectionResetError("reset by peer") from None


@fault(None, "test_an_outage_is_waited_out")
class RaisesWhatItGetsInSend(Loopback):
    """An outage of a send is a bare exception."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        try:
            return await super().send(payload, key=key)
        except TryAgain:
            raise ConnectionResetError("reset by peer") from None


@fault(None, "test_a_lost_connection_is_told", PolledContract)
class ConnectsAnewInSilence(Polled):
    """It has lost its connection, and still says that it is connected."""

    async def after_cut(self, cursor: int) -> int:
        while self.side.is_down:
            await self.side.more.wait()
        return cursor


class TellsOfInterruptions(Polled):
    """Right: it connects again by itself, and says so."""

    reason = "the poll was cut"

    async def after_cut(self, cursor: int) -> int:
        self._services.connection.interrupted(self.reason)
        while self.side.is_down:
            await self.side.more.wait()
        self._services.connection.connected()
        return cursor


@fault(None, "test_a_lost_connection_is_told", PolledContract)
class TellsTheSecretOfAnInterruption(TellsOfInterruptions):
    """A secret is in the reason of an interruption."""

    async def open(self) -> None:
        await super().open()
        self.reason = f"https://example.org/{self.password.reveal()}"


@fault(37, "test_no_secret_is_told")
class TellsTheSecret(Loopback):
    """A secret is in the reason of an error."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        try:
            return await super().send(payload, key=key)
        except TryAgain as error:
            raise TryAgain(f"{error.reason}: https://example.org/{self.password.reveal()}") from None


@fault(None, "test_no_secret_is_told")
class TellsTheSecretInListen(Loopback):
    """A secret is in the reason for which it stopped listening."""

    async def listen(self, deliver: Deliver) -> None:
        try:
            await super().listen(deliver)
        except TryAgain as error:
            raise TryAgain(f"{error.reason}: https://example.org/{self.password.reveal()}") from None


@fault(None, "test_no_secret_is_told")
class LogsTheSecret(Loopback):
    """A secret is in a log line."""

    async def open(self) -> None:
        await super().open()
        self._services.log.info("opened", url=f"https://example.org/{self.password.reveal()}")


@fault(None, "test_no_secret_is_told")
class ShowsTheSecret(Loopback):
    """A secret is in a repr."""

    def __repr__(self) -> str:
        return f"Loopback({self.password.reveal()})"


# Hangs that no fake clock ends: these take real seconds.


@fault(None, "test_a_send_gives_a_receipt_and_arrives")
class Blocks(Loopback):
    """It blocks the event loop."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        time.sleep(60)  # noqa: ASYNC251
        return await super().send(payload, key=key)


@fault(None, "test_a_send_gives_a_receipt_and_arrives")
class Spins(Loopback):
    """It waits in a loop without an end."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        while True:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()


SLOW = (Blocks, Spins)
