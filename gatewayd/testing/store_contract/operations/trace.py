"""What belongs together is found."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from gatewayd.model.message.envelope import connector_key
from gatewayd.model.records.audit import AuditDraft
from gatewayd.model.records.question import Question, QuestionRow
from gatewayd.ports.store import Store
from gatewayd.testing.store_contract.rows import approval, ended, envelope, numbered, settled

MAIN, OTHER = ("telegram", "main"), ("telegram", "other")


Look = Callable[[Store], Awaitable[Sequence[Any]]]


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
            (lambda store: store.inbound_by("turn_id", "turn-1"), [1, 2]),
            (lambda store: store.inbound_by("turn_id", "turn-1", limit=1), [2]),
            (lambda store: store.inbound_by("session_key", "assistant:42", limit=3), [2, 3, 4]),
            (lambda store: store.inbound_by("message_id", "77", limit=9), [1, 3]),
            (lambda store: store.inbound_by("message_id", "77", account=MAIN, limit=9), [1]),
            (lambda store: store.inbound_by("message_id", "7", limit=9), []),
            (lambda store: store.inbound_by("given_key", "a/k", account=MAIN, limit=9), [4]),
            (lambda store: store.inbound_by("given_key", "a/k", account=OTHER, limit=9), []),
            (lambda store: store.outbound_by("turn_id", "turn-1"), [1, 2]),
            (lambda store: store.outbound_by("turn_id", "turn-1", limit=1), [2]),
            (lambda store: store.outbound_by("message_id", "m3", limit=9), [3]),
            (lambda store: store.outbound_by("message_id", "m3", account=OTHER, limit=9), [3]),
            (lambda store: store.outbound_by("message_id", "m3", account=MAIN, limit=9), []),
            (lambda store: store.outbound_by("message_id", "m", limit=9), []),
        ],
    )
    async def test_messages_and_replies_are_found_by_every_key(self, look: Look, numbers: list[int], store: Store) -> None:
        await messages_and_replies(store)
        assert [row.id for row in await look(store)] == numbers

    @pytest.mark.parametrize(
        ("look", "ids"),
        [
            (lambda store: store.approvals_of("turn-1"), ["ap_1", "ap_2"]),
            (lambda store: store.approvals_of("turn-3"), []),
            (lambda store: store.questions_of("turn-1"), ["qu_1", "qu_2"]),
            (lambda store: store.questions_of("turn-3"), []),
        ],
    )
    async def test_requests_and_questions_are_found_by_their_turn_and_id(self, look: Look, ids: list[str], store: Store) -> None:
        for number, turn_id, code in ((1, "turn-1", "BCDFGH"), (2, "turn-1", "ZZZZZZ"), (3, "turn-2", "BCDFGH")):
            await store.add_approval(replace(approval(number, turn_id=turn_id), id=f"ap_{number}", code=code))
            question = QuestionRow(f"qu_{number}", turn_id, number, "key", Question("which?"), "pending", 4.0, 900.0)
            await store.add_question(question)
        assert [row.id for row in await look(store)] == ids
        assert (found := await store.get_question("qu_1")) is not None
        assert found.id == "qu_1"
        assert await store.get_question("qu") is None

    async def test_the_newest_entries_about_a_row_are_found(self, store: Store) -> None:
        for number, subject in enumerate(("in-1", "in-11", "in-1", "in-1"), 1):
            await store.add_audit(AuditDraft(float(number), "operator:ann", "dead_letter.retried", subject))
        assert [entry.seq for entry in await store.audit_about(["in-1", "in-2"], limit=2)] == [3, 4]
        assert [entry.seq for entry in await store.audit_about(["in-1", "in-11"], limit=9)] == [1, 2, 3, 4]
        assert await store.audit_about([], limit=9) == []
