"""One account: what its driver may do, and what its status shows."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from gatewayd.channels.loopback.platform import (
    crashing_in_a_task,
    failing,
    hanging,
    ignoring_cancellation,
    lingering,
    platform_of,
    returning_from_listen,
    taking,
)
from gatewayd.hub.accounts.account import DELIVERIES, DELIVERIES_WAITING
from gatewayd.model.config import OutboxSection
from gatewayd.model.errors import Conflict, NeedsOperator, Overloaded, StoreRefused, TryAgain
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import OutboundPayload, Receipt, Typing
from gatewayd.ports.channel import AccountConfig, Channel, ChannelOpener, ChannelServices, Deliver, TextLimit
from tests.hub.street import ALICE, EPOCH, configuration, open_street

Listen = Callable[[ChannelServices, Deliver], Awaitable[None]]


class Custom:
    """A channel whose ``listen`` is a function of the test, with the ``send`` of loopback."""

    def __init__(self, account: str, services: ChannelServices, listen: Listen) -> None:
        self._account = account
        self._services = services
        self._listen = listen

    async def listen(self, deliver: Deliver) -> None:
        await self._listen(self._services, deliver)

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        await trio.lowlevel.checkpoint()
        return platform_of(self._account).accept(payload)


def custom(listen: Listen) -> ChannelOpener:
    @asynccontextmanager
    async def opener(account: AccountConfig, services: ChannelServices) -> AsyncIterator[Channel]:
        yield Custom(account.account, services, listen)

    return opener


# The healthy account.


async def test_a_connected_account_says_so_and_since_when(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        await trio.sleep(5)
        await street.platform().say("hello")
        [row] = await street.reply("hello yourself")
        await trio.sleep(5)
        status = street.status()
        assert (status.channel, status.account, status.state, status.since) == ("loopback", "main", "connected", EPOCH)
        assert (status.identity, status.reason, status.restarts, status.attempt) == ("@main", None, 0, 0)
        assert (status.last_inbound_at, status.last_outbound_at, status.last_transport_at) == (EPOCH + 5,) * 3
        assert (status.mailbox_depth, status.outbox_depth, status.oldest_pending_at) == (0, 0, None)
        assert street.platform().texts == ["hello yourself"]
        assert await street.state_of(row) == "sent"


async def test_the_platform_is_told_after_the_commit(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        street.journal.gate = trio.Event()
        acknowledged = street.platform().inject(street.platform().message("hello"))
        await trio.sleep(3600)
        assert not acknowledged.is_set()
        street.journal.gate.set()
        await acknowledged.wait()
        assert street.journal.texts == ["hello"]


async def test_state_is_committed_with_its_messages_and_belongs_to_the_account(tmp_path: Path, autojump_clock: MockClock) -> None:
    found: list[str | None] = []

    async def listen(services: ChannelServices, deliver: Deliver) -> None:
        services.connection.connected()
        found.append(await services.state.load("offset"))
        await deliver([], state={"offset": "42"})
        found.append(await services.state.load("offset"))
        await services.state.save("secret", "s")
        await trio.sleep_forever()

    async with open_street(tmp_path, configuration("a", "b"), opener=lambda plugin: custom(listen)) as street:
        await trio.sleep(1)
        assert found == [None, None, "42", "42"]
        assert await street.store.load_state("loopback", "a", "offset") == "42"
        assert await street.store.load_state("loopback", "b", "secret") == "s"


async def test_the_limit_of_an_open_account_holds_for_its_texts(tmp_path: Path, autojump_clock: MockClock) -> None:
    class Limiting(Custom):
        def limit_of(self, peer: Peer) -> TextLimit:
            return TextLimit(len(peer.id), "chars")

    async def listen(services: ChannelServices, deliver: Deliver) -> None:
        services.connection.connected()
        await trio.sleep_forever()

    @asynccontextmanager
    async def opener(account: AccountConfig, services: ChannelServices) -> AsyncIterator[Channel]:
        yield Limiting(account.account, services, listen)

    async with open_street(tmp_path, opener=lambda plugin: opener) as street:
        await trio.sleep(1)
        assert street.configured.plugin_for("loopback", "main", ALICE).text_limit == TextLimit(5, "chars")
        await street.manager.stop("loopback", "main")
        assert street.configured.plugin_for("loopback", "main", ALICE).text_limit == TextLimit(4096, "chars")


async def test_signals_are_shown_while_connected_and_fail_without_harm(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        await trio.sleep(1)
        await street.actor().signal(Typing(ALICE))
        assert len(street.platform().signals) == 1
        await street.manager.stop("loopback", "main")
        await street.actor().signal(Typing(ALICE))
        assert len(street.platform().signals) == 1


@pytest.mark.parametrize("how", ["raises", "hangs"])
async def test_a_signal_that_goes_wrong_is_nobodys_problem(how: str, tmp_path: Path, autojump_clock: MockClock) -> None:
    class Signalling(Custom):
        async def signal(self, signal: Typing) -> None:
            await trio.sleep_forever() if how == "hangs" else await crashing_in_a_task(KeyError("x"))()

    async def listen(services: ChannelServices, deliver: Deliver) -> None:
        services.connection.connected()
        await trio.sleep_forever()

    @asynccontextmanager
    async def opener(account: AccountConfig, services: ChannelServices) -> AsyncIterator[Channel]:
        yield Signalling(account.account, services, listen)

    async with open_street(tmp_path, opener=lambda plugin: opener) as street:
        await trio.sleep(1)
        await street.actor().signal(Typing(ALICE))
        assert trio.current_time() <= 11
        assert street.status().restarts == 0


# Drivers that fail.


@pytest.mark.parametrize("place", ["on_open", "on_listen"])
async def test_a_hang_while_connecting_is_an_outage(place: str, tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, started=False) as street:
        getattr(street.platform(), place).next(hanging)
        async with street.run():
            await trio.sleep(59.9)
            assert street.status().state == "starting"
            await trio.sleep(0.2)
            status = street.status()
            assert (status.state, status.since, status.attempt) == ("waiting", EPOCH + 60, 1)
            assert status.reason == "did not connect within 60 s"
            assert status.next_attempt_at is not None
            await trio.sleep(60)
            assert street.status().state == "connected"
            assert street.platform().open_now == 1


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (returning_from_listen, "bug: UnexpectedReturn: listen returned"),
        (crashing_in_a_task(KeyError("chat")), "bug: KeyError: 'chat'"),
        (failing(ValueError("GET /bothunter2/getUpdates")), "bug: ValueError: GET /bot***/getUpdates"),
    ],
)
async def test_a_driver_that_ends_or_crashes_is_restarted_then_parked(
    act: Callable[[], Awaitable[None]], reason: str, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_street(tmp_path, configuration("bad", "good")) as street:
        street.platform("bad").on_connected.always(act)
        await street.manager.restart("loopback", "bad")
        await trio.sleep(300)
        status = street.status("bad")
        assert status.state == "parked"
        assert status.reason is not None
        assert status.reason.startswith(reason)
        assert (street.status("good").state, street.status("good").restarts) == ("connected", 0)
        assert street.platform("bad").open_now == 0
        await street.reply("kept", account="bad")
        assert street.status("bad").outbox_depth == 1
        street.platform("bad").on_connected.always(None)
        await street.manager.start("loopback", "bad")
        await trio.sleep(1)
        assert street.platform("bad").texts == ["kept"], "what was written while it was parked is sent afterwards"


async def test_an_operators_problem_parks_at_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, started=False) as street:
        street.platform().on_listen.always(failing(NeedsOperator("401: the token hunter2 was revoked")))
        async with street.run():
            await trio.sleep(3600)
            status = street.status()
            assert (status.state, status.since, status.restarts) == ("parked", EPOCH, 0)
            assert status.reason == "401: the token *** was revoked"


async def test_a_hang_in_close_is_cut_and_the_outage_stays_one(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        street.platform().on_close.next(hanging)
        street.platform().on_connected.next(failing(TryAgain("the line went dead")))
        await street.manager.restart("loopback", "main")
        await trio.sleep(20.1)
        assert (street.status().state, street.status().reason) in [("waiting", "the line went dead"), ("connected", None)]
        await trio.sleep(60)
        assert street.status().state == "connected"


async def test_a_hang_in_close_before_it_ever_connected_is_cut_as_soon(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, started=False) as street:
        street.platform().on_listen.always(failing(TryAgain("no route", after_seconds=1000)))
        street.platform().on_close.next(hanging)
        async with street.run():
            await trio.sleep(9.9)
            assert street.status().state == "starting"
            await trio.sleep(0.2)
            assert (street.status().state, street.status().reason) == ("waiting", "no route")


async def test_the_driver_can_be_reached_while_it_is_open_only(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, started=False) as street:
        street.platform().on_listen.next(taking(5))
        assert street.actor().channel is None
        async with street.run():
            await trio.sleep(1)
            assert street.actor().channel is not None
            street.platform().on_close.next(lingering(5))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(street.manager.stop, "loopback", "main")
                await trio.sleep(1)
                assert street.actor().channel is None


async def test_a_driver_that_does_not_close_is_abandoned_parked_and_counted(tmp_path: Path, autojump_clock: MockClock) -> None:
    release = trio.Event()
    async with open_street(tmp_path, configuration("stuck", "good")) as street:
        await trio.sleep(1)
        street.platform("stuck").on_close.next(ignoring_cancellation(release))
        await street.manager.restart("loopback", "stuck")
        assert trio.current_time() == 11
        status = street.status("stuck")
        assert (status.state, status.reason) == ("parked", "did not close within 10 s of its cancellation")
        assert street.manager.statistics().supervisor.abandoned == 1
        await street.platform("good").say("still here?")
        assert street.status("good").restarts == 0
        release.set()
        await trio.sleep(1)
        assert street.manager.statistics().supervisor.abandoned == 0
        await street.manager.start("loopback", "stuck")
        await trio.sleep(1)
        assert street.status("stuck").state == "connected"


async def test_an_abandoned_driver_changes_nothing(tmp_path: Path, autojump_clock: MockClock) -> None:
    release = trio.Event()
    refused: list[type[Exception]] = []

    async def listen(services: ChannelServices, deliver: Deliver) -> None:
        services.connection.connected("first")
        with trio.CancelScope(shield=True):
            await release.wait()
            services.connection.connected("ghost")
            services.connection.heard()
            services.connection.expect_silence(1)
            try:
                await deliver([platform_of().message("from the grave")])
            except Conflict:
                refused.append(Conflict)

    async with open_street(tmp_path, opener=lambda plugin: custom(listen)) as street:
        await trio.sleep(1)
        await street.manager.stop("loopback", "main")
        release.set()
        await trio.sleep(100)
        status = street.status()
        assert (status.state, status.identity, status.last_transport_at) == ("parked", "first", EPOCH)
        assert refused == [Conflict]
        assert street.journal.texts == []


async def test_a_driver_that_floods_is_held_back_then_found(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def listen(services: ChannelServices, deliver: Deliver) -> None:
        services.connection.connected()
        async with trio.open_nursery() as nursery:
            for _ in range(100_000):
                nursery.start_soon(deliver, [platform_of().message("spam")])
                await trio.lowlevel.checkpoint()

    async with open_street(tmp_path, opener=lambda plugin: custom(listen)) as street:
        street.journal.gate = trio.Event()
        await trio.sleep(0.001)
        assert street.journal.most_at_once == DELIVERIES
        assert street.status().state == "waiting"
        assert street.status().reason == f"bug: Overloaded: more than {DELIVERIES_WAITING} deliveries wait for the inbox"
        assert street.actor().statistics().deliveries == 0, "nothing of the flood is left"


async def test_webhooks_beyond_the_bound_are_refused_in_words(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        street.journal.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            for _ in range(DELIVERIES + DELIVERIES_WAITING):
                nursery.start_soon(street.actor().deliver, [street.platform().message("hook")])
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(Overloaded, match="wait for the inbox"):
                await street.actor().deliver([street.platform().message("one more")])
            street.journal.gate.set()
        assert len(street.journal.texts) == DELIVERIES + DELIVERIES_WAITING


# Liveness: inbound transport only.


def polling(*, seconds: float, hangs_after: float) -> Listen:
    async def listen(services: ChannelServices, deliver: Deliver) -> None:
        services.connection.connected()
        services.connection.expect_silence(1.5 * seconds)
        began_at = trio.current_time()
        while trio.current_time() - began_at < hangs_after:
            await trio.sleep(seconds)
            services.connection.heard()
        await trio.sleep_forever()

    return listen


async def test_a_hung_poll_is_found_within_twice_its_time_out_while_sends_succeed(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_street(tmp_path, opener=lambda plugin: custom(polling(seconds=30, hangs_after=600))) as street:
        await trio.sleep(600)
        assert street.status().restarts == 0
        for n in range(60):
            await street.reply(f"{n}")
            await trio.sleep(1)
        assert len(street.platform().texts) >= 45
        assert street.status().restarts >= 1 or street.status().state == "waiting"
        assert street.status().since <= EPOCH + 660


async def test_a_poll_that_the_drain_has_ended_is_not_missed(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, opener=lambda plugin: custom(polling(seconds=30, hangs_after=86_400))) as street:
        await trio.sleep(100)

        async def turns_end() -> None:
            await trio.sleep(200)
            assert (street.status().state, street.status().restarts) == ("connected", 0)
            await street.reply("the last words")
            await trio.sleep(1)

        await street.manager.drain(turns_end, within_seconds=400)
        assert street.platform().texts == ["the last words"]


async def test_a_quiet_account_is_never_restarted_in_seventeen_days(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        await trio.sleep(17 * 86_400)
        assert street.status().restarts == 0
        assert street.status().since == EPOCH
        assert await street.told() == ["starting", "connected"]


async def test_a_poll_that_returns_empty_is_alive(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, opener=lambda plugin: custom(polling(seconds=30, hangs_after=86_400))) as street:
        await trio.sleep(86_000)
        assert street.status().restarts == 0
        assert EPOCH + 86_000 - 30 <= (street.status().last_transport_at or 0) <= EPOCH + 86_000


async def test_a_full_inbox_is_not_held_against_the_driver(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def listen(services: ChannelServices, deliver: Deliver) -> None:
        services.connection.connected()
        services.connection.expect_silence(45)
        await deliver([platform_of().message("hello")])
        while True:
            await trio.sleep(30)
            services.connection.heard()

    async with open_street(tmp_path, opener=lambda plugin: custom(listen), started=False) as street:
        street.journal.gate = trio.Event()
        async with street.run():
            await trio.sleep(7200)
            assert (street.status().state, street.status().restarts) == ("connected", 0)
            street.journal.gate.set()
            await trio.sleep(7200)
            assert street.status().restarts == 0
            assert street.journal.texts == ["hello"]


async def test_a_store_that_refuses_is_an_outage_and_nothing_is_acknowledged(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        street.journal.refusal = StoreRefused("the disk is full")
        acknowledged = street.platform().inject(street.platform().message("hello"))
        await trio.sleep(3600)
        assert not acknowledged.is_set()
        status = street.status()
        assert (status.state, status.reason) == ("waiting", "the store does not take messages: the disk is full")
        street.journal.refusal = None
        await acknowledged.wait()
        assert street.journal.texts == ["hello"]


async def test_an_account_that_paces_itself_keeps_its_connection_and_sends_all_in_order(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_street(tmp_path, configuration(outbox=OutboxSection(max_attempts=2))) as street:
        await trio.sleep(1)
        street.platform().pace_seconds = 1.0
        peers = [Peer("dm", name) for name in "abcd"]
        rows = [row for peer in peers for row in await street.reply("first", "second", peer=peer)]
        await trio.sleep(0.5)
        held = street.status()
        assert held.state == "connected"
        assert (held.sends_held_since, held.sends_held_until) == (EPOCH + 1, EPOCH + 2)
        assert held.sends_held_reason == "the platform takes no more at the moment"
        await trio.sleep(7)
        assert [await street.state_of(row) for row in rows] == ["sent"] * 8
        for peer in peers:
            assert [payload.body.text for payload in street.platform().sent if payload.peer == peer] == ["first", "second"]
        assert (street.platform().opened, street.status().restarts) == (1, 0)
        for row in rows:
            found = await street.store.get_outbound(row.id)
            assert found is not None
            assert found.attempts == 1
        await street.reply("one more")
        await trio.sleep(1.5)
        assert street.status().sends_held_since is None


async def test_a_pause_without_a_time_grows_and_survives_a_new_connection(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        await trio.sleep(1)
        street.platform().before_send.always(failing(TryAgain("slower", scope="sends")))
        [row] = await street.reply("hello")
        await trio.sleep(600)
        assert street.status().sends_held_since == EPOCH + 1
        await street.manager.restart("loopback", "main")
        await trio.sleep(1)
        assert street.status().sends_held_since == EPOCH + 1
        street.platform().before_send.always(None)
        await trio.sleep(600)
        assert await street.state_of(row) == "sent"
        assert street.status().sends_held_since is None


async def test_a_stop_that_was_ordered_is_no_failed_attempt(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        await trio.sleep(1)
        for _ in range(3):
            await street.manager.stop("loopback", "main")
            assert street.status().attempt == 0
            await street.manager.start("loopback", "main")
            await trio.sleep(1)
        street.platform().on_listen.always(failing(TryAgain("no route")))
        await street.manager.restart("loopback", "main")
        await trio.sleep(0.01)
        assert street.status().attempt == 1
