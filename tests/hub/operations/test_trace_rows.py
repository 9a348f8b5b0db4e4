"""From any id to all that belongs to a message, and no further."""

from collections.abc import Iterator
from typing import Final, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from contrib.examples.memory_store import MemoryStore
from gatewayd.hub.operations.trace_rows import TraceRows, gather
from gatewayd.model.message.envelope import InboundEnvelope, connector_key
from gatewayd.model.message.payload import Receipt
from gatewayd.model.records.audit import AuditRow
from gatewayd.model.records.question import Question, QuestionRow
from gatewayd.ports.store import (
    InboundRow,
    OutboundRow,
    ref_of,
)
from gatewayd.testing.store_contract.rows import approval, draft, envelope

T = TypeVar("T")
HERE: Final = [("telegram", "main")]
WHOLE: Final = ["in-1", "out-1", "out-2", "ap_1", "qu_1"]


class Rows(MemoryStore):
    """A store into which rows are put as they are."""

    def __init__(self) -> None:
        super().__init__(lambda: 1.0)

    def message(self, turn_id: str | None, envelope: InboundEnvelope, *, retries: int = 0) -> None:
        number = len(self._inbound) + 1
        row = InboundRow(number, envelope, "done", 1, turn_id=turn_id, session_key="assistant:42", retries=retries)
        self._inbound[number] = row

    def reply(self, turn_id: str | None, *, account: str = "main", subject: str | None = None) -> None:
        number = len(self._outbound) + 1
        receipt = Receipt(f"m{number}")
        payload = draft("hi").payload
        self._outbound[number] = OutboundRow(
            number, "telegram", account, "c", payload, "sent", 1, 20.0, None, turn_id, None, receipt, 21.0, subject
        )

    def ask(self, turn_id: str, code: str) -> None:
        number = len(self._approvals) + 1
        self._approvals[number] = replace(approval(number, turn_id=turn_id), id=f"ap_{number}", code=code)

    def question(self, turn_id: str) -> None:
        number = len(self._questions) + 1
        row = QuestionRow(f"qu_{number}", turn_id, number, "assistant:42", Question("which?"), "pending", 4.0, 900.0)
        self._questions[number] = row

    def entry(self, subject: str) -> None:
        number = len(self._audit) + 1
        self._audit[number] = AuditRow(number, 5.0, "operator:ann", "dead_letter.retried", subject, "{}", "", "")


def refs(found: TraceRows) -> list[str]:
    return [*map(ref_of, found.inbound), *map(ref_of, found.outbound), *_ids(found)]


def _ids(found: TraceRows) -> Iterator[str]:
    yield from (row.id for row in found.approvals)
    yield from (row.id for row in found.questions)


async def follow(rows: Rows, wanted: str, *, limit: int = 50) -> list[str]:
    return refs(await gather(rows, wanted, accounts=HERE, limit=limit))


@pytest.fixture
def rows() -> Rows:
    """One message with all that can belong to it, and beside it another, of an account that is gone."""
    rows = Rows()
    rows.message("turn-1", replace(envelope("update-7"), message_id="77"))
    rows.ask("turn-1", "BCDFGH")
    rows.question("turn-1")
    rows.reply("turn-1")
    rows.reply("turn-1", subject="ap_1")
    rows.message("turn-2", replace(envelope("update-8", account="other"), message_id="78"))
    rows.reply("turn-2", account="other")
    rows.ask("turn-2", "ZZZZZZ")
    return rows


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
        "telegram/main/m1",
    ],
)
async def test_every_id_leads_to_the_whole_trace(wanted: str, rows: Rows) -> None:
    assert await follow(rows, wanted) == WHOLE


@pytest.mark.parametrize(
    "wanted",
    ["in-9", "out-9", "turn-9", "telegram/other/77", "telegram/main/", "/main/77", "78/", "", "/", "//", "in-1 ", "%", "m"],
)
async def test_nothing_else_leads_there(wanted: str, rows: Rows) -> None:
    assert await follow(rows, wanted) == []


async def test_an_event_of_an_account_that_is_gone_is_found_with_its_account(rows: Rows) -> None:
    assert await follow(rows, "update-8") == []
    assert await follow(rows, "telegram/other/update-8") == ["in-2", "out-3", "ap_2"]


async def test_of_several_requests_with_one_code_the_newest_is_meant(rows: Rows) -> None:
    rows.ask("turn-2", "BCDFGH")
    assert await follow(rows, "BCDFGH") == ["in-2", "out-3", "ap_2", "ap_3"]


async def test_what_a_connector_brought_is_found_by_its_own_key() -> None:
    rows = Rows()
    for connector, account in (("bridge", "main"), ("other", "main"), ("bridge", "gone")):
        key = connector_key(connector, "a/k:1")
        rows.message(None, replace(envelope(key, account=account), via=f"connector:{connector}"))
    assert await follow(rows, "a/k:1") == ["in-1", "in-2"]
    assert await follow(rows, "telegram/main/a/k:1") == ["in-1", "in-2"]
    assert await follow(rows, "telegram/gone/a/k:1") == ["in-3"]
    assert await follow(rows, "via:other:a/k:1") == ["in-2"]
    assert await follow(rows, "k:1") == []


@pytest.mark.parametrize("wanted", ["in-1", "turn-1", "turn-1-1", "turn-1-2", "out-1", "out-3"])
async def test_a_retried_message_keeps_its_earlier_turns(wanted: str) -> None:
    rows = Rows()
    rows.message("turn-1-2", envelope("k"), retries=2)
    for turn_id in ("turn-1", "turn-1-1", "turn-1-2"):
        rows.reply(turn_id)
    for subject in ("in-1", "out-2", "in-9", "in-1"):
        rows.entry(subject)
    found = await gather(rows, wanted, accounts=HERE, limit=50)
    assert refs(found) == ["in-1", "out-1", "out-2", "out-3"]
    assert [entry.seq for entry in found.audit] == [1, 2, 4]


async def test_of_a_session_the_newest_messages() -> None:
    rows = Rows()
    for number in range(8):
        rows.message(f"turn-{number + 1}", envelope(f"k{number}"))
    some = await gather(rows, "assistant:42", accounts=HERE, limit=5)
    assert [row.id for row in some.inbound] == [4, 5, 6, 7, 8]
    assert some.more is True
    assert (await gather(rows, "assistant:42", accounts=HERE, limit=8)).more is False


async def test_of_everything_else_ten_times_as_many() -> None:
    rows = Rows()
    rows.message("turn-1", envelope("k"))
    for _ in range(11):
        rows.reply("turn-1")
        rows.ask("turn-1", "")
        rows.question("turn-1")
    found = await gather(rows, "in-1", accounts=HERE, limit=1)
    assert [row.id for row in found.outbound] == list(range(2, 12))
    assert (len(found.approvals), len(found.questions), found.more) == (10, 10, True)
    assert (await gather(rows, "in-1", accounts=HERE, limit=2)).more is False


TURNS = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3), st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=4)


@given(TURNS, st.data())
async def test_whichever_row_of_a_turn_is_named_all_of_it_is_found_and_nothing_of_another(
    turns: list[tuple[int, int, int, int]], data: st.DataObject
) -> None:
    rows, members = Rows(), list[list[str]]()
    for messages, replies, requests, questions in turns:
        turn_id = f"turn-{len(rows._inbound) + 1}"
        counts = [len(kind) for kind in (rows._inbound, rows._outbound, rows._approvals, rows._questions)]
        for number in range(messages):
            rows.message(turn_id, replace(envelope(f"{turn_id}/{number}"), message_id=f"{turn_id}.{number}"))
        for _ in range(replies):
            rows.reply(turn_id)
        for _ in range(requests):
            rows.ask(turn_id, "")
        for _ in range(questions):
            rows.question(turn_id)
        made = zip(("in-", "out-", "ap_", "qu_"), counts, (messages, replies, requests, questions), strict=True)
        members.append([f"{name}{start + number + 1}" for name, start, many in made for number in range(many)])
    turn = data.draw(st.sampled_from(members))
    assert await follow(rows, data.draw(st.sampled_from(turn))) == turn


@given(st.one_of(st.text(max_size=60), st.from_regex(r"(in|out|turn)-[0-9]*(-[0-9]*)?/?", fullmatch=True)))
async def test_any_text_is_answered(wanted: str) -> None:
    rows = Rows()
    rows.message("turn-1", envelope("k"))
    assert set(await follow(rows, wanted)) <= {"in-1"}
