"""The outbox: what is written with the end of its turn, what the last process left, and what is too old to send."""

from pathlib import Path

import anyio
import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.hub.configured import Configured
from gatewayd.hub.outbox.addressed import Addressed
from gatewayd.hub.outbox.drafts import draft_replies
from gatewayd.hub.outbox.outbox import Outbox
from gatewayd.hub.outbox.outcomes import ReplyOutcomes
from gatewayd.model.config import OutboxSection
from gatewayd.model.ids import PeerKind
from gatewayd.model.lifecycle import DoneReason, SendOutcome
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import EditText, Receipt, RichText, SendText
from gatewayd.ports.agent import Turn
from gatewayd.ports.channel import ChannelPlugin, TextLimit
from gatewayd.ports.store import OutboundDraft
from gatewayd.testing.store_contract.rows import ready
from tests.hub.house import configuration, message, now, open_house


async def test_rows_are_counted_until_they_are_settled(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        await house.ended(await house.say("hello"))
        [row] = house.handed
        assert (house.outbox.depth("chat", "main"), house.outbox.queue("chat", "main").oldest_at) == (1, row.created_at)
        assert await house.outbox.mark_sending(row)
        assert (house.outbox.status().ready, house.outbox.status().sending) == (0, 1)
        await house.outbox.settle(row, "sent", receipt=Receipt("99"))
        assert (house.outbox.depth("chat", "main"), house.outbox.sent()) == (0, 1)
        assert not await house.outbox.mark_sending(row)


async def test_a_send_cut_by_a_crash_is_unknown_and_is_not_handed_out_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        await house.ended(await house.say("cut"))
        await house.ended(await house.say("waiting"))
        await house.outbox.mark_sending(house.handed[0])
    async with open_house(tmp_path) as house:
        assert (house.outbox.status().unknown, house.outbox.status().ready) == (1, 2)
        waiting, notice = await ready(house.store, "chat")
        assert waiting.payload.body.text == "re: waiting"
        assert "may not have arrived" in notice.payload.body.text


async def test_old_replies_are_parked_at_the_start_and_during_a_long_outage(tmp_path: Path, autojump_clock: MockClock) -> None:
    config = configuration(outbox=OutboxSection(stale_after_seconds=3600))
    async with open_house(tmp_path, config=config) as house:
        await house.ended(await house.say("one"))
        await house.ended(await house.say("two"))
        await anyio.sleep(3601)
        assert not await house.outbox.mark_sending(house.handed[0])
        assert house.outbox.status().parked == 1
    async with open_house(tmp_path, config=config) as house:
        assert (house.outbox.status().parked, house.outbox.depth("chat", "main")) == (2, 0)


async def test_a_wall_clock_that_is_set_forwards_makes_no_reply_old(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        ahead = 0.0
        outbox = Outbox(
            house.store,
            house.events,
            Configured(configuration(outbox=OutboxSection(stale_after_seconds=60)), {}),
            ReplyOutcomes(),
            notice=lambda row, of_turn: None,
            now=lambda: now() + ahead,
        )
        await outbox.adopt([("chat", "main")])
        drafts = draft_replies(message(), "hello", ChannelPlugin(id="chat", label="", settings="", open=""))
        young, old = [(await outbox.write(drafts))[0] for _ in range(2)]
        ahead = 100_000.0
        await anyio.sleep(59)
        assert await outbox.mark_sending(young)
        await anyio.sleep(2)
        assert not await outbox.mark_sending(old), "its minute is over by the timer"


async def test_what_is_written_for_an_account_that_is_not_configured_is_kept_and_not_counted(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Nobody sends it: a stop that waited for it would wait for nothing."""
    async with open_house(tmp_path) as house:
        drafts = draft_replies(message(account="gone"), "hello", ChannelPlugin(id="chat", label="", settings="", open=""))
        await house.outbox.write(drafts)
        assert (house.outbox.status().ready, house.outbox.due("chat", "gone"), house.outbox.depth("chat", "gone")) == (0, 0, 0)
        await house.outbox.adopt([("chat", "gone")])
        assert (house.outbox.status().ready, house.outbox.due("chat", "gone"), house.outbox.depth("chat", "gone")) == (1, 1, 1)


async def test_what_is_not_counted_leaves_nothing_in_memory(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        row = await house.say("hello")
        house.outbox.forget("chat", "main")
        await house.ended(row)
        kept = {name: value for name, value in vars(house.outbox).items() if isinstance(value, dict | set) and value}
        assert kept.keys() <= {"_counts", "_queues"}
        assert not any(map(len, house.outbox._queues.values()))


def test_a_long_reply_is_rows_in_order_and_only_the_first_answers_the_message() -> None:
    plugin = ChannelPlugin(id="chat", label="", settings="", open="", text_format="plain", text_limit=TextLimit(100, "chars"))
    drafts = draft_replies(message(peer=Peer("group", "9"), message_id="m1"), "word " * 50, plugin, turn_id="turn-1")
    assert len(drafts) > 2
    payloads = [draft.payload for draft in drafts if isinstance(draft.payload, SendText)]
    assert [payload.part for payload in payloads] == list(range(1, len(drafts) + 1))
    assert {payload.parts for payload in payloads} == {len(drafts)}
    assert [payload.reply_to for payload in payloads] == ["m1"] + [None] * (len(drafts) - 1)
    assert all(len(draft.payload.body.text) <= 100 for draft in drafts)


@pytest.mark.parametrize("peer", [Peer("dm", "7"), Peer("group", "9")])
def test_only_the_first_part_of_an_answer_has_what_its_platform_wants_with_it(peer: Peer) -> None:
    plugin = ChannelPlugin(id="chat", label="", settings="", open="", text_format="plain", text_limit=TextLimit(100, "chars"))
    drafts = draft_replies(message(peer=peer, answer_with="token"), "word " * 50, plugin)
    ways = [draft.payload.answer_with for draft in drafts if isinstance(draft.payload, SendText)]
    assert ways == ["token"] + [None] * (len(drafts) - 1)


async def test_rows_are_handed_over_although_their_writer_goes_away_during_the_commit(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_house(tmp_path) as house:
        drafts = draft_replies(message(), "notice", ChannelPlugin(id="chat", label="", settings="", open=""))
        house.flaky.holds["add_outbound"] = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(house.outbox.write, drafts)
            await trio.testing.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
            house.flaky.holds["add_outbound"].set()
        assert house.texts == ["notice"]
        assert house.outbox.depth("chat", "main") == 1


async def test_a_row_that_has_to_wait_is_not_due_after_a_restart_either(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        await house.ended(await house.say("hello"))
        [row] = house.handed
        await house.outbox.mark_sending(row)
        await house.outbox.settle(row, "ready", reason="slow down", next_attempt_at=now() + 149)
        assert house.outbox.due("chat", "main") == 0
    async with open_house(tmp_path) as house:
        assert (house.outbox.depth("chat", "main"), house.outbox.due("chat", "main")) == (1, 0)


def about(text: str, subject: str | None) -> OutboundDraft:
    return OutboundDraft("tg", "main", "tg:main:dm:1", SendText(Peer("dm", "1"), RichText(text)), subject=subject)


async def test_an_edit_learns_its_messages_id_when_its_turn_has_come(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        [row] = await house.outbox.write([about("one", "ap_1")])
        edit = EditText(row.payload.peer, RichText("two"), of=row.id)
        [edited] = await house.outbox.write([replace(about("", "ap_1"), payload=edit)])
        assert (await house.outbox.addressed(edited)).payload is None
        await house.outbox.mark_sending(row)
        await house.outbox.settle(row, "sent", receipt=Receipt("m7"))
        assert await house.outbox.addressed(edited) == Addressed(replace(edit, message_id="m7"))
        assert await house.outbox.addressed(row) == Addressed(row.payload)


@pytest.mark.parametrize("of", ["unknown", "no id", "nothing"])
async def test_an_edit_of_what_has_no_id_is_rejected(tmp_path: Path, autojump_clock: MockClock, of: str) -> None:
    async with open_house(tmp_path) as house:
        [row] = await house.outbox.write([about("one", "ap_1")])
        await house.outbox.mark_sending(row)
        if of == "unknown":
            await house.outbox.settle(row, "unknown", reason="interrupted")
        elif of == "no id":
            await house.outbox.settle(row, "sent", receipt=Receipt())
        edit = EditText(row.payload.peer, RichText("two"), of=row.id if of != "nothing" else 999)
        [edited] = await house.outbox.write([replace(about("", "ap_1"), payload=edit)])
        assert (await house.outbox.addressed(edited)).payload is None


@pytest.mark.parametrize(
    ("state", "heard"), [("dead", True), ("parked", True), ("unknown", False), ("sent", False), ("ready", False)]
)
async def test_whom_it_concerns_hears_that_a_row_is_given_up(
    tmp_path: Path, autojump_clock: MockClock, state: SendOutcome, heard: bool
) -> None:
    async with open_house(tmp_path) as house:
        sent: list[str] = []
        lost: list[str] = []
        with house.gateway.outcomes.subscribe("ap_1", sent=sent.append, lost=lambda: lost.append("ap_1")):
            rows = await house.outbox.write([about("one", "ap_1"), about("two", None), about("three", "ap_2")])
            receipt = Receipt("m1") if state == "sent" else None
            due = now() + 9 if state == "ready" else None
            for row in rows:
                if state != "parked":
                    assert await house.outbox.mark_sending(row)
                await house.outbox.settle(row, state, reason="because", receipt=receipt, next_attempt_at=due)
        assert (lost, sent) == (["ap_1"] if heard else [], ["m1"] if state == "sent" else [])
        for row in rows:
            await house.outbox.settle(row, "dead", reason="because")
        assert len(lost) == heard, "nobody hears of it any more"


async def test_a_prompt_that_has_become_stale_is_given_up_and_heard_of(tmp_path: Path, autojump_clock: MockClock) -> None:
    config = configuration(outbox=OutboxSection(stale_after_seconds=60))
    async with open_house(tmp_path, config=config) as house:
        lost: list[str] = []
        with house.gateway.outcomes.subscribe("ap_1", sent=lambda message_id: None, lost=lambda: lost.append("ap_1")):
            [row] = await house.outbox.write([about("one", "ap_1")])
            await anyio.sleep(61)
            assert not await house.outbox.mark_sending(row)
        assert lost == ["ap_1"]


async def test_a_call_that_outlives_its_account_leaves_its_row_with_the_account_that_came_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_house(tmp_path) as house:
        await house.ended(await house.say("hello"))
        [row] = house.handed
        assert await house.outbox.mark_sending(row)
        house.outbox.forget("chat", "main")
        await house.outbox.adopt([("chat", "main")])
        assert house.outbox.depth("chat", "main") == 0
        await house.outbox.settle(row, "ready", reason="not now")
        assert house.outbox.depth("chat", "main") == 1, "it waits in the store, and nobody sends it"


@pytest.mark.parametrize("ephemeral", [True, False])
@pytest.mark.parametrize("reason", ["command_refused", "command"])
@pytest.mark.parametrize("kind", ["group", "dm"])
async def test_a_refusal_in_a_group_is_for_its_sender_where_the_channel_can(
    kind: PeerKind, reason: DoneReason, ephemeral: bool, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async def works(turn: Turn) -> str:
        await trio.sleep_forever()
        raise AssertionError

    async with open_house(tmp_path, works) as house:
        parts = house.gateway.configured
        parts.add_plugins({"chat": replace(parts.plugins["chat"], ephemeral=ephemeral)})
        row = await house.say("hello")
        asked = replace(row, envelope=replace(row.envelope, peer=Peer(kind, "9")))
        await house.outbox.end_inbound([asked], "done", reason, text="no")
        [draft] = await ready(house.store, "chat")
        assert isinstance(draft.payload, SendText)
        private = ephemeral and kind == "group" and reason == "command_refused"
        assert draft.payload.only_for == (row.envelope.sender.id if private else None)
