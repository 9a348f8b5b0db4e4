"""What belongs together is found."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from gatewayd.model.message.envelope import connector_key
from gatewayd.model.records.audit import AuditDraft
from gatewayd.model.records.question import Question, QuestionRow
from gatewayd.ports.store import Lookup, Store
from gatewayd.testing.store_contract.rows import approval, ended, envelope, numbered, settled

MAIN, OTHER = ("telegram", "main"), ("telegram", "other")


Look = Callable[[Lookup], Sequence[Any]]


async def messages_and_replies(store: Store) -> None:
    """in-1, in-2, out-1 and out-2 of a turn, in-3 and out-3 of another account with the same ids, in-4 by a connector."""
    await ended(store, turn_id="turn-1", message=replace(numbered("77"), event_key="update-7"))
    await ended(store, turn_id="turn-1")
    await ended(store, turn_id="turn-3", account="other", message=replace(numbered("77"), event_key="update-7", account="other"))
    brought = replace(envelope(connector_key("bridge", "a/k")), via="connector:bridge")
    await ended(store, turn_id="turn-4", message=brought)
    await settled(store, "sent", turn_id="turn-1")
    await settled(store, "dead", turn_id="turn-1")
    await settled(store, "sent", turn_id="turn-3", account="other")


class TraceContract:
    @pytest.mark.parametrize(
        ("look", "numbers"),
        [
            (lambda rows: rows.messages("id", 2, limit=9), [2]),
            (lambda rows: rows.messages("id", 9, limit=9), []),
            (lambda rows: rows.messages("turn_id", "turn-1", limit=9), [2, 1]),
            (lambda rows: rows.messages("turn_id", "turn-1", limit=1), [2]),
            (lambda rows: rows.messages("session_key", "assistant:42", limit=3), [4, 3, 2]),
            (lambda rows: rows.messages("message_id", "77", limit=9), [3, 1]),
            (lambda rows: rows.messages("message_id", "77", account=MAIN, limit=9), [1]),
            (lambda rows: rows.messages("message_id", "7", limit=9), []),
            (lambda rows: rows.messages("event_key", "update-7", account=OTHER, limit=9), [3]),
            (lambda rows: rows.messages("given_key", "a/k", account=MAIN, limit=9), [4]),
            (lambda rows: rows.messages("given_key", "a/k", account=OTHER, limit=9), []),
            (lambda rows: rows.replies("id", 3, limit=9), [3]),
            (lambda rows: rows.replies("turn_id", "turn-1", limit=9), [2, 1]),
            (lambda rows: rows.replies("turn_id", "turn-1", limit=1), [2]),
            (lambda rows: rows.replies("message_id", "m3", limit=9), [3]),
            (lambda rows: rows.replies("message_id", "m3", account=OTHER, limit=9), [3]),
            (lambda rows: rows.replies("message_id", "m3", account=MAIN, limit=9), []),
            (lambda rows: rows.replies("message_id", "m", limit=9), []),
        ],
    )
    async def test_messages_and_replies_are_found_by_every_key(self, look: Look, numbers: list[int], store: Store) -> None:
        await messages_and_replies(store)
        assert [row.id for row in await store.read_trace(look)] == numbers

    @pytest.mark.parametrize(
        ("look", "ids"),
        [
            (lambda rows: rows.approvals("id", "ap_1", limit=9), ["ap_1"]),
            (lambda rows: rows.approvals("turn_id", "turn-1", limit=9), ["ap_2", "ap_1"]),
            (lambda rows: rows.approvals("turn_id", "turn-1", limit=1), ["ap_2"]),
            (lambda rows: rows.approvals("code", "bcdfgh", limit=9), ["ap_3", "ap_1"]),
            (lambda rows: rows.approvals("code", "BCDFG", limit=9), []),
            (lambda rows: rows.questions("id", "qu_1", limit=9), ["qu_1"]),
            (lambda rows: rows.questions("turn_id", "turn-1", limit=9), ["qu_2", "qu_1"]),
            (lambda rows: rows.questions("turn_id", "turn-1", limit=1), ["qu_2"]),
            (lambda rows: rows.questions("id", "qu", limit=9), []),
        ],
    )
    async def test_requests_and_questions_are_found_by_every_key(self, look: Look, ids: list[str], store: Store) -> None:
        for number, turn_id, code in ((1, "turn-1", "BCDFGH"), (2, "turn-1", "ZZZZZZ"), (3, "turn-2", "BCDFGH")):
            await store.add_approval(replace(approval(number, turn_id=turn_id), id=f"ap_{number}", code=code))
            question = QuestionRow(f"qu_{number}", turn_id, number, "key", Question("which?"), "pending", 4.0, 900.0)
            await store.add_question(question)
        assert [row.id for row in await store.read_trace(look)] == ids

    async def test_the_newest_entries_about_a_row_are_found(self, store: Store) -> None:
        for number, subject in enumerate(("in-1", "in-11", "in-1", "in-1"), 1):
            await store.add_audit(AuditDraft(float(number), "operator:ann", "dead_letter.retried", subject))
        found = await store.read_trace(lambda rows: rows.audit("in-1", limit=2))
        assert [entry.seq for entry in found] == [4, 3]

    async def test_what_gathering_raises_reaches_who_asked(self, store: Store) -> None:
        def gather(rows: Lookup) -> None:
            rows.messages("id", 1, limit=1)
            raise RuntimeError("a bug")

        with pytest.raises(RuntimeError, match="a bug"):
            await store.read_trace(gather)
        assert await store.get_inbound(1) is None
