"""Sends to many conversations: several at once, each conversation in its order, whatever the platform answers."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import cast

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.actor.backoff import Backoff
from gatewayd.actor.border import Bug
from gatewayd.actor.life import Life
from gatewayd.channels.loopback.platform import taking
from gatewayd.hub.accounts.sender import Sender
from gatewayd.hub.configured import Configured
from gatewayd.hub.events import EventLog
from gatewayd.hub.outbox.outbox import Outbox
from gatewayd.hub.outbox.outcomes import ReplyOutcomes
from gatewayd.model.config import GatewayConfig, LimitsSection, OutboxSection
from gatewayd.model.errors import OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.lifecycle import OutboundState
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import OutboundPayload, Receipt, RichText, SendText
from gatewayd.ports.channel import Deliver
from gatewayd.ports.store import NoticeRule, OutboundDraft, OutboundRow, Settled, Store
from tests.examples import examples
from tests.hub.street import configuration, now, open_street


async def test_as_many_conversations_as_allowed_are_sent_to_at_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, configuration(outbox=OutboxSection(concurrency=4))) as street:
        street.platform().before_send.always(taking(10))
        for n in range(8):
            await street.reply("1", "2", peer=Peer("dm", str(n)))
        await trio.sleep(10.5)
        assert len(street.platform().sent) == 4
        await trio.sleep(30)
        assert len(street.platform().sent) == 16


async def test_more_replies_than_the_mailbox_holds_stay_in_the_store_and_keep_their_order(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    config = configuration(limits=LimitsSection(mailbox=8), outbox=OutboxSection(concurrency=3))
    async with open_street(tmp_path, config, started=False) as street:
        peers = [Peer("dm", str(n)) for n in range(7)]
        for n in range(60):
            await street.reply(str(n), peer=peers[n % 7])
        assert street.status().mailbox_depth <= 8
        async with street.run():
            street.platform().before_send.always(taking(0.1))
            for n in range(60, 120):
                await street.reply(str(n), peer=peers[n % 7])
                await trio.sleep(0.05)
            await trio.sleep(60)
        seen: dict[Peer, list[int]] = defaultdict(list)
        for payload in street.platform().sent:
            seen[payload.peer].append(int(payload.body.text))
        assert seen == {peers[k]: list(range(k, 120, 7)) for k in range(7)}
        assert street.status().outbox_depth == 0


class MemoryRows:
    """The outbound rows of the store, in memory, with the store's guards."""

    def __init__(self) -> None:
        self.rows: dict[int, OutboundRow] = {}

    async def add_outbound(self, drafts: Sequence[OutboundDraft], *, now: float) -> list[OutboundRow]:
        await trio.lowlevel.checkpoint()
        first = len(self.rows) + 1
        rows = [
            OutboundRow(number, draft.channel, draft.account, draft.conversation, draft.payload, "ready", 0, now, queued_at=now)
            for number, draft in enumerate(drafts, first)
        ]
        self.rows.update((row.id, row) for row in rows)
        return rows

    async def ready_numbers(self, channel: str, account: str, *, after_id: int, limit: int) -> list[int]:
        await trio.lowlevel.checkpoint()
        return [row.id for row in self.rows.values() if row.state == "ready" and row.id > after_id][:limit]

    async def ready_among(self, outbound_ids: Sequence[int]) -> list[OutboundRow]:
        await trio.lowlevel.checkpoint()
        found = [row for row in self.rows.values() if row.state == "ready" and row.id in outbound_ids]
        await trio.lowlevel.checkpoint()
        return found

    async def mark_sending(self, outbound_id: int) -> bool:
        await trio.lowlevel.checkpoint()
        row = self.rows[outbound_id]
        if row.state != "ready":
            return False
        self.rows[row.id] = replace(row, state="sending", attempts=row.attempts + 1)
        return True

    async def settle_outbound(
        self,
        outbound_id: int,
        state: OutboundState,
        *,
        now: float,
        reason: str | None,
        receipt: Receipt | None,
        next_attempt_at: float | None,
        attempt_counts: bool,
        instead: SendText | None,
        in_doubt: bool | None,
        notice: NoticeRule | None,
    ) -> Settled:
        await trio.lowlevel.checkpoint()
        before = self.rows[outbound_id]
        assert before.state in ("sending", "ready")
        self.rows[outbound_id] = replace(
            before,
            state=state,
            reason=reason,
            receipt=receipt,
            next_attempt_at=next_attempt_at,
            attempts=before.attempts - (not attempt_counts and before.state == "sending"),
        )
        return Settled()


class Fickle:
    """A platform with answers drawn before the run. It records what it saw, and its receipts."""

    def __init__(self, answers: list[str]) -> None:
        self._answers = iter(answers)
        self.saw: dict[str, list[int]] = defaultdict(list)
        self.receipts: list[int] = []
        self.busy: set[str] = set()
        self.wrong: list[str] = []
        self._pauses: dict[str, float] = {}

    async def listen(self, deliver: Deliver) -> None:
        await trio.sleep_forever()

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        number, conversation = int(payload.body.text), payload.peer.id
        # Recorded: an error in here counts as the driver's, and ends only its row.
        if conversation in self.busy:
            self.wrong.append(f"two sends of {conversation} at once")
        if number in self.receipts:
            self.wrong.append(f"{number} was sent again after its receipt")
        if trio.current_time() < self._pauses.get(conversation, 0.0) - 0.001:
            self.wrong.append(f"{number} was sent before the pause of {conversation} was over")
        self.busy.add(conversation)
        try:
            await trio.sleep(0.1)
            match next(self._answers, "ok"):
                case "again":
                    self._pauses[conversation] = trio.current_time() + 3
                    raise TryAgain("429", after_seconds=3, scope="conversation")
                case "pace":
                    raise TryAgain("too fast", after_seconds=2, scope="sends")
                case "outage":
                    raise TryAgain("no route")
                case "unknown":
                    self.saw[conversation].append(number)
                    raise OutcomeUnknown("cut")
                case "rejected":
                    raise SendRejected("blocked")
                case "bug":
                    raise KeyError("x")
                case "hang":
                    self.saw[conversation].append(number)
                    await trio.sleep_forever()
            self.saw[conversation].append(number)
            self.receipts.append(number)
            return Receipt(str(number))
        finally:
            self.busy.discard(conversation)


ANSWERS = st.lists(st.sampled_from(["ok", "again", "pace", "outage", "unknown", "rejected", "bug", "hang"]), max_size=30)
POSTS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 0.0, 0.05, 1.0])), min_size=1, max_size=25)


@settings(max_examples=examples(150), deadline=None)
@given(
    ANSWERS,
    POSTS,
    st.integers(1, 9),
    st.builds(OutboxSection, concurrency=st.integers(1, 4), send_timeout_seconds=st.just(5), max_attempts=st.integers(1, 9)),
    st.lists(st.floats(0.05, 5), max_size=3),
)
def test_each_conversation_is_seen_in_order_and_nothing_twice(
    answers: list[str], posts: list[tuple[str, float]], size: int, config: OutboxSection, stops: list[float]
) -> None:
    rows, platform = MemoryRows(), Fickle(answers)

    async def one_life(sender: Sender, seconds: float) -> None:
        life = Life(connect_seconds=60, close_seconds=10, on_started=lambda: None, on_connected=lambda: None)
        life.connected()
        try:
            with trio.move_on_after(seconds):
                await sender.run(platform, life)
        except* (TryAgain, Bug):
            pass

    async def go() -> None:
        store = cast(Store, rows)
        events = EventLog(store, now=now, keep=lambda: 0)
        configured = Configured(GatewayConfig(outbox=config, limits=LimitsSection(mailbox=size)), {})
        outbox = Outbox(store, events, configured, ReplyOutcomes(), notice=lambda row, of_turn: None, now=now)
        await outbox.adopt([("loopback", "main")])
        sender = Sender("loopback", "main", outbox, Backoff(Random(1)), config, now=now, redact=str)

        async def write() -> None:
            for number, (conversation, pause) in enumerate(posts, 1):
                payload = SendText(Peer("dm", conversation), RichText(str(number)))
                await outbox.write([OutboundDraft("loopback", "main", conversation, payload)])
                await trio.sleep(pause)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            for seconds in stops:
                await one_life(sender, seconds)
        while any(row.state == "ready" for row in rows.rows.values()):
            await one_life(sender, 100)
        assert outbox.queue("loopback", "main").statistics().used == len(outbox.queue("loopback", "main")) == 0

    trio.run(go, clock=MockClock(autojump_threshold=0))
    assert not platform.wrong
    assert all(numbers == sorted(set(numbers)) for numbers in platform.saw.values())
    ended = {row.id: row.state for row in rows.rows.values()}
    assert set(ended.values()) <= {"sent", "unknown", "dead"}
    assert sorted(platform.receipts) == [number for number, state in ended.items() if state == "sent"]
