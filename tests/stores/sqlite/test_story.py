"""From any id to all that belongs to a message, and no further."""

import tempfile
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gatewayd.model.audit import AuditDraft
from gatewayd.model.envelope import connector_key
from gatewayd.model.question import Question, QuestionRow
from gatewayd.ports.store import StoryRows
from gatewayd.stores.sqlite import SqliteStore, open_store, run_inline
from tests.examples import examples
from tests.stores.sqlite.letterbox import ACCOUNTS, ended, numbered, retrying, settled
from tests.stores.sqlite.samples import approval, envelope, voting

WHOLE = ["in-1", "out-1", "out-2", "ap_1", "qu_1"]


async def found(store: SqliteStore, wanted: str, *, limit: int = 50) -> list[str]:
    rows = await store.story_rows(wanted, accounts=ACCOUNTS, limit=limit)
    return refs(rows)


def refs(rows: StoryRows) -> list[str]:
    messages, replies = (f"in-{row.id}" for row in rows.inbound), (f"out-{row.id}" for row in rows.outbound)
    return [*messages, *replies, *(row.id for row in rows.approvals), *(row.id for row in rows.questions)]


async def a_whole_turn(store: SqliteStore) -> None:
    """One message with all that can belong to it, and beside it another."""
    await ended(store, "done", reason="answered", message=replace(numbered("77"), event_key="update-7"))
    await store.add_approval(replace(approval(1, turn_id="turn-1"), id="ap_1", code="BCDFGH"))
    audit = AuditDraft(5.0, "x", "approval.allow", "ap_1")
    await store.vote_approval("ap_1", voting("operator:ann"), audit=audit)
    await store.add_question(QuestionRow("qu_1", "turn-1", 0, "assistant:42", Question("which?"), "pending", 4.0, 900.0))
    await settled(store, "sent", turn_id="turn-1")
    await settled(store, "sent", turn_id="turn-1", subject="ap_1")
    await ended(store, "done", account="other", message=replace(envelope("update-8", account="other"), message_id="78"))
    await settled(store, "sent", account="other", turn_id="turn-2")
    await store.add_approval(replace(approval(2, turn_id="turn-2"), id="ap_2", code="ZZZZZZ"))


@pytest.mark.parametrize(
    "wanted",
    [
        "in-1",
        "out-1",
        "out-2",
        "turn-1",
        "ap_1",
        "bcdfgh",
        "qu_1",
        "77",
        "telegram/main/77",
        "update-7",
        "telegram/main/update-7",
        "m1",
    ],
)
async def test_every_id_leads_to_the_whole_story(wanted: str, store: SqliteStore) -> None:
    await a_whole_turn(store)
    assert await found(store, wanted) == WHOLE


@pytest.mark.parametrize(
    "wanted",
    ["in-9", "out-9", "turn-9", "telegram/other/77", "telegram/main/", "/main/77", "78/", "", "/", "//", "in-1 ", "%", "m"],
)
async def test_nothing_else_leads_there(wanted: str, store: SqliteStore) -> None:
    await a_whole_turn(store)
    assert await found(store, wanted) == []


async def test_an_event_of_an_account_that_is_gone_is_found_with_its_account(store: SqliteStore) -> None:
    await a_whole_turn(store)
    assert await found(store, "update-8") == []
    assert await found(store, "telegram/other/update-8") == ["in-2", "out-3", "ap_2"]


async def test_what_a_connector_brought_is_found_by_its_own_key(store: SqliteStore) -> None:
    for connector, account in (("bridge", "main"), ("other", "main"), ("bridge", "gone")):
        brought = replace(
            envelope(connector_key(connector, "a/k:1"), account=account), message_id=None, via=f"connector:{connector}"
        )
        await ended(store, "done", account=account, message=brought)
    assert await found(store, "a/k:1") == ["in-1", "in-2"]
    assert await found(store, "telegram/main/a/k:1") == ["in-1", "in-2"]
    assert await found(store, "telegram/gone/a/k:1") == ["in-3"]
    assert await found(store, "via:other:a/k:1") == ["in-2"]
    assert await found(store, "k:1") == []


async def test_a_retried_message_keeps_its_earlier_turns(store: SqliteStore) -> None:
    number = await ended(store)
    await settled(store, "sent", turn_id=f"turn-{number}")
    await store.retry_letters([f"in-{number}"], retrying(now=200.0), now=200.0)
    await store.start_turn([number], turn_id=f"turn-{number}-1", session_key="assistant:42")
    await settled(store, "sent", turn_id=f"turn-{number}-1")
    for wanted in (f"in-{number}", f"turn-{number}", f"turn-{number}-1", "out-1", "out-2"):
        rows = await store.story_rows(wanted, accounts=ACCOUNTS, limit=50)
        assert refs(rows) == [f"in-{number}", "out-1", "out-2"]
        assert [(act.action, act.subject) for act in rows.audit] == [("letter.retried", f"in-{number}")]


async def test_of_a_session_the_newest_messages(store: SqliteStore) -> None:
    numbers = [await ended(store, "done") for _ in range(8)]
    rows = await store.story_rows("assistant:42", accounts=ACCOUNTS, limit=5)
    assert [row.id for row in rows.inbound] == numbers[-5:]
    assert rows.more is True
    assert (await store.story_rows("assistant:42", accounts=ACCOUNTS, limit=8)).more is False


@given(wanted=st.one_of(st.text(max_size=60), st.from_regex(r"(in|out|turn)-[0-9]*(-[0-9]*)?/?", fullmatch=True)))
@settings(max_examples=examples(12), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_text_is_answered(wanted: str) -> None:
    async def go() -> None:
        with tempfile.TemporaryDirectory() as state_dir:
            async with open_store(Path(state_dir), now=lambda: 0.0, run_blocking=run_inline) as store:
                await ended(store)
                assert set(await found(store, wanted)) <= {"in-1"}

    trio.run(go)
