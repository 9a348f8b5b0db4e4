"""Replies of unknown outcome: the chat is told once, and shown the text again if it asks."""

import re
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.hub.operations.trace import Tracer
from gatewayd.model.message.envelope import Peer, Sender
from gatewayd.model.message.payload import EditText, RichText, SendText
from gatewayd.ports.agent import Notice, Turn
from gatewayd.ports.store import OutboundDraft, OutboundRow
from gatewayd.stores.sqlite import run_inline
from gatewayd.testing.store_contract.rows import ready
from tests.hub.house import EPOCH, OPEN, House, configuration, now, open_house
from tests.stores.opened_before import open_store

ALICE = Peer("dm", "7")
GROUP = Peer("group", "-1")


async def long_reply(turn: Turn) -> str:
    return "\n\n".join(f"{turn.request.text} {word}: " + "x" * 120 for word in ("one", "two", "three"))


async def cut(house: House, row: OutboundRow) -> None:
    assert await house.outbox.mark_sending(row)
    await house.outbox.settle(row, "unknown", reason="cut after 60 s without an answer")


def told(house: House) -> list[OutboundRow]:
    return [row for row in house.handed if "may not have arrived" in row.payload.body.text]


def code_of(row: OutboundRow) -> str:
    found = re.search(r"/show (R[A-Z0-9]{7})", row.payload.body.text)
    assert found is not None
    return found[1]


async def test_a_reply_of_which_parts_were_cut_is_told_once_behind_it_and_shown_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_house(tmp_path, long_reply) as house:
        row = await house.ended(await house.say("say", channel="sms", account="main", answer_with="token"))
        parts = list(house.handed)
        assert len(parts) == 3
        await cut(house, parts[0])
        await cut(house, parts[2])
        assert len(told(house)) == 1
        [notice] = told(house)
        assert (notice.conversation, notice.turn_id) == (parts[0].conversation, row.turn_id)
        assert notice.id > parts[2].id
        await house.send_all()
        asked = await house.ended(await house.say(f"/show {code_of(notice).lower()}", channel="sms", answer_with="new"))
        assert (asked.state, asked.reason) == ("done", "reply_shown_again")
        mark, *again = house.handed[4:]
        assert "You may have seen this before" in mark.payload.body.text
        assert [part.payload.body for part in again] == [part.payload.body for part in parts]
        sent = [row.payload for row in house.handed if isinstance(row.payload, SendText)]
        assert [payload.answer_with for payload in sent] == ["token", None, None, None, "new", None, None, None]
        assert {part.subject for part in (mark, *again)} == {f"re_{code_of(notice)}/again"}
        trace = await Tracer(house.store, accounts=dict).trace(f"out-{parts[0].id}")
        said = " ".join(entry.text for entry in trace.entries)
        assert "that the one before may not have arrived" in said
        assert "shown once more because somebody asked for it" in said


async def test_only_its_own_chat_is_shown_it_and_nobody_who_may_not_talk(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, long_reply) as house:
        await house.ended(await house.say("secret", peer=GROUP, sender=Sender("1")))
        await cut(house, house.handed[0])
        [notice] = told(house)
        before = len(house.handed)
        for change in ({"peer": Peer("dm", "1")}, {"peer": Peer("group", "-1", "9")}, {"peer": GROUP, "channel": "tg"}):
            row = await house.ended(await house.say(f"/show {code_of(notice)}", sender=Sender("1"), **change))
            assert row.reason == "approval_refused_unknown"
        assert not any("secret" in row.payload.body.text for row in house.handed[before:])
        await house.ended(await house.say(f"/show {code_of(notice)}", peer=GROUP, sender=Sender("2")))
        assert "secret" in house.handed[-1].payload.body.text


async def test_it_is_never_told_of_a_notice_a_repetition_an_edit_a_prompt_or_a_sign_of_life(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async def notices(turn: Turn) -> str:
        await turn.emit(Notice("the provider is slow"))
        await anyio.sleep(1)
        return "done"

    async with open_house(tmp_path, notices) as house:
        await house.ended(await house.say("hello"))
        sign, reply = house.handed
        await cut(house, sign)
        assert told(house) == []
        await cut(house, reply)
        [notice] = told(house)
        await cut(house, notice)
        await house.ended(await house.say(f"/show {code_of(notice)}"))
        for row in house.handed[3:]:
            await cut(house, row)
        where = ("chat", "main", reply.conversation)
        others = [
            OutboundDraft(*where, EditText(ALICE, RichText("x"), of=reply.id), turn_id="turn-9"),
            OutboundDraft(*where, SendText(ALICE, RichText("a prompt")), turn_id="turn-9", subject="ap_1"),
            OutboundDraft(*where, SendText(ALICE, RichText("Stopped."))),
        ]
        for row in await house.outbox.write(others):
            await cut(house, row)
        assert told(house) == [notice]


async def test_an_account_may_say_nothing_of_it(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, config=configuration(frame=replace(OPEN, on_unknown="silent"))) as house:
        await house.ended(await house.say("hello"))
        await cut(house, house.handed[0])
        assert len(house.handed) == 1
        house.configured.replace(configuration(frame=OPEN))
        await house.ended(await house.say("hello"))
        await cut(house, house.handed[1])
        assert len(told(house)) == 1


async def test_what_was_being_sent_at_a_crash_is_told_at_the_start_and_at_no_other(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_house(tmp_path, long_reply) as house:
        await house.ended(await house.say("say", channel="sms"))
        parts = list(house.handed)
        for part in parts:
            assert await house.outbox.mark_sending(part)
    for _ in range(2):
        async with open_house(tmp_path, long_reply) as house:
            [waiting] = await ready(house.store, "sms")
            assert waiting.conversation == parts[0].conversation
            await house.ended(await house.say(f"/show {code_of(waiting)}", channel="sms"))
            assert [row.payload.body for row in house.handed[1:]] == [part.payload.body for part in parts]
            for row in house.handed:
                assert await house.outbox.mark_sending(row)


async def test_a_reply_that_is_not_kept_any_more_is_said_to_be_gone(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        await house.ended(await house.say("hello"))
        await cut(house, house.handed[0])
        [notice] = told(house)
        connection = house.flaky._store._writer._connection
        connection.execute("DELETE FROM outbound WHERE id = ?", (house.handed[0].id,))
        await house.ended(await house.say(f"/show {code_of(notice)}"))
        assert "not kept any more" in house.texts[-1]


OUTCOMES = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["sent", "unknown", "dead", "left"])), max_size=12)


@settings(deadline=None)
@given(OUTCOMES)
def test_each_reply_with_a_part_of_unknown_fate_has_one_notice_whatever_happens_in_which_order(
    tmp_path_factory: pytest.TempPathFactory, outcomes: list[tuple[str, str]]
) -> None:
    def notice(row: OutboundRow, of_turn: Sequence[OutboundRow]) -> OutboundDraft | None:
        if any(each.subject is not None for each in of_turn):
            return None
        return OutboundDraft("chat", "main", "c", SendText(ALICE, RichText("?")), turn_id=row.turn_id, subject="re_X")

    async def go() -> None:
        async with open_store(tmp_path_factory.mktemp("store"), now=now, run_blocking=run_inline) as store:
            drafts = [OutboundDraft("chat", "main", "c", SendText(ALICE, RichText("x")), turn_id=turn) for turn, _ in outcomes]
            for row, (_, outcome) in zip(await store.add_outbound(drafts, now=EPOCH), outcomes, strict=True):
                await store.mark_sending(row.id)
                if outcome == "unknown":
                    await store.settle_outbound(row.id, "unknown", now=EPOCH, notice=notice)
                elif outcome in ("sent", "dead"):
                    await store.settle_outbound(row.id, "sent" if outcome == "sent" else "dead", now=EPOCH)
            for _ in range(2):
                await store.recover_outbound([("chat", "main")], stale_before=0, now=EPOCH, notice=notice)
            for turn in ("a", "b"):
                found = [row for row in await store.outbound_by("turn_id", turn) if row.subject is not None]
                assert len(found) == any(of == turn and outcome in ("unknown", "left") for of, outcome in outcomes)

    anyio.run(go, backend="trio")
