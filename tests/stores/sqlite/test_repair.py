"""What can be done with a letter: once, with its entry in the audit log, and not when it would be wrong."""

from msgspec.structs import replace

from gatewayd.model.audit import verify
from gatewayd.model.letter import Skipped
from gatewayd.model.question import Question, QuestionRow
from gatewayd.ports.store import InboundRow, OutboundRow, Repairs
from gatewayd.stores.sqlite import SqliteStore
from tests.stores.sqlite.letterbox import ACCOUNTS, edit_of, ended, numbered, settled
from tests.stores.sqlite.samples import approval


async def retry(store: SqliteStore, *refs: str) -> Repairs:
    return await store.retry_letters(refs, accounts=ACCOUNTS, by="operator:ann", note="again", now=500.0)


async def why_not(store: SqliteStore, ref: str) -> str | None:
    """As it is shown; the same is said by who tries."""
    shown = (await store.get_letter(ref, accounts=ACCOUNTS)).why_not
    tried = await retry(store, ref)
    assert tried.skipped == ([] if shown is None else [Skipped(ref, shown)])
    return shown


async def test_a_message_is_as_one_that_was_just_received(store: SqliteStore) -> None:
    number = await ended(store)
    [repaired] = (await retry(store, f"in-{number}")).done
    row = await store.get_inbound(number)
    assert isinstance(repaired.row, InboundRow)
    assert row == repaired.row
    assert row is not None
    assert (row.state, row.attempts, row.retries, row.turn_id, row.reason) == ("received", 0, 1, None, None)
    assert (row.ended_at, row.started_at) == (None, None)
    assert [pending.id for pending in await store.pending_inbound(after_id=0, limit=10)] == [number]


async def test_a_reply_keeps_its_number_and_is_not_stale(store: SqliteStore) -> None:
    number = await settled(store, "parked")
    [repaired] = (await retry(store, f"out-{number}")).done
    assert isinstance(repaired.row, OutboundRow)
    assert repaired.was == "parked"
    assert (repaired.row.id, repaired.row.state, repaired.row.attempts, repaired.row.reason) == (number, "ready", 0, None)
    assert (repaired.row.created_at, repaired.row.queued_at, repaired.row.settled_at) == (20.0, 500.0, None)
    status = await store.recover_outbound(stale_before=400.0, now=600.0)
    assert (status.ready, status.parked) == (1, 0)


async def test_each_act_is_in_the_audit_log(store: SqliteStore) -> None:
    refs = [f"in-{await ended(store)}", f"out-{await settled(store)}"]
    await retry(store, *refs)
    await store.drop_letters([f"out-{await settled(store, 'dead')}"], by="operator:bob", note=None, now=501.0)
    entries = await store.audit_after(0, limit=10)
    verify(entries)
    assert [(entry.actor, entry.action, entry.subject, entry.at) for entry in entries] == [
        ("operator:ann", "letter.retried", "in-1", 500.0),
        ("operator:ann", "letter.retried", "out-1", 500.0),
        ("operator:bob", "letter.dropped", "out-2", 501.0),
    ]
    assert entries[0].detail == '{"attempts":1,"note":"again","reason":"agent_failed","state":"dead","turn_id":"turn-1"}'


async def test_what_is_no_letter_is_skipped_and_named(store: SqliteStore) -> None:
    dead, done, dropped = f"in-{await ended(store)}", f"in-{await ended(store, 'done')}", f"out-{await settled(store)}"
    await store.drop_letters([dropped], by="x", note=None, now=1.0)
    repairs = await retry(store, dead, dead, done, dropped, "in-99", "garbage", "in-0")
    assert [each.letter.ref for each in repairs.done] == [dead]
    assert repairs.skipped == [
        Skipped(done, f"{done} is no dead letter (any more): it is done (agent_failed)"),
        Skipped(dropped, f"{dropped} was dropped"),
        Skipped("in-99", "there is no in-99 (any more)"),
        Skipped("garbage", "'garbage' is not in-NUMBER or out-NUMBER"),
        Skipped("in-0", "'in-0' is not in-NUMBER or out-NUMBER"),
    ]
    [again] = (await retry(store, dead)).skipped
    assert again == Skipped(dead, f"{dead} is no dead letter (any more): it is received")
    assert [row.subject for row in await store.audit_after(0, limit=10)] == [dropped, dead]


async def test_what_is_dropped_stays_what_it_was(store: SqliteStore) -> None:
    number = await settled(store, "unknown")
    [dropped] = (await store.drop_letters([f"out-{number}"], by="x", note=None, now=77.0)).done
    assert (dropped.was, dropped.letter.state, dropped.letter.closed_at) == ("unknown", "unknown", 77.0)
    assert (await store.recover_outbound(stale_before=0.0, now=80.0)).unknown == 0


async def test_an_account_that_is_gone_or_full_takes_nothing(store: SqliteStore) -> None:
    gone = [f"in-{await ended(store, account='old')}", f"out-{await settled(store, account='old')}"]
    for ref in gone:
        assert await why_not(store, ref) == "the account telegram/old is not configured"
    full = {("telegram", "main"): "the inbox is full"}
    message, reply = f"in-{await ended(store)}", f"out-{await settled(store)}"
    repairs = await store.retry_letters([message, reply], accounts=full, by="x", note=None, now=1.0)
    assert repairs.skipped == [Skipped(message, "the inbox is full")]
    assert [each.letter.ref for each in repairs.done] == [reply]
    dropped = await store.drop_letters([*gone, message], by="x", note=None, now=1.0)
    assert len(dropped.done) == 3


async def test_an_edit_is_sent_again_only_where_it_is_the_newest_of_a_message_that_is_there(store: SqliteStore) -> None:
    unsent, sent = await settled(store, "dead"), await settled(store, "sent")
    assert await why_not(store, f"out-{await settled(store, edits=unsent)}") == f"it edits out-{unsent}, which was not sent"
    assert await why_not(store, f"out-{await settled(store, edits=99)}") == "it edits out-99, which was not sent"
    older = await settled(store, "unknown", edits=sent)
    newer = await settled(store, "sent", edits=sent)
    assert await why_not(store, f"out-{older}") == f"out-{newer} is a newer edit of the same message"
    last = await settled(store, "dead", edits=sent)
    assert await why_not(store, f"out-{last}") is None


async def test_a_request_that_is_over_is_not_asked_again(store: SqliteStore) -> None:
    """Before its end a card asks; what is written after it tells what became of it, and may be sent late."""
    await store.add_approval(replace(approval(1), id="ap_1", created_at=10.0))
    await store.add_question(QuestionRow("qu_1", "turn-1", 0, "key", Question("which?"), "pending", 10.0, 900.0))
    subjects = ("ap_1", "ap_1/notice", "qu_1")
    cards = {subject: await settled(store, "dead", subject=subject, written_at=20.0) for subject in subjects}
    shown = {subject: (await store.get_letter(f"out-{card}", accounts=ACCOUNTS)).why_not for subject, card in cards.items()}
    assert shown == dict.fromkeys(subjects)
    await store.decide_approval("ap_1", "denied", by="x", note=None, now=30.0)
    await store.end_question("qu_1", "expired", now=30.0)
    for subject, card in cards.items():
        asked = subject.removesuffix("/notice")
        assert await why_not(store, f"out-{card}") == f"what it asks is over: {asked} waits for no answer"
        outcome = await settled(store, "dead", subject=subject, written_at=31.0)
        assert await why_not(store, f"out-{outcome}") is None
    lost = await settled(store, "unknown", subject="ap_gone")
    assert await why_not(store, f"out-{lost}") == "what it asks is over: ap_gone waits for no answer"


async def test_the_edits_of_a_message_go_with_it(store: SqliteStore) -> None:
    message = numbered("77")
    first = await ended(store, turn_id="turn-1", message=message)
    edit = await ended(store, turn_id="turn-1", message=edit_of(message, "second"))
    other = await ended(store, turn_id="turn-1", message=numbered("78"))
    assert await why_not(store, f"in-{edit}") == f"it is an edit of in-{first}: retry that one, and this goes with it"
    repairs = await retry(store, f"in-{first}", f"in-{edit}")
    assert ([each.letter.ref for each in repairs.done], repairs.skipped) == ([f"in-{first}", f"in-{edit}"], [])
    assert [row.id for row in await store.pending_inbound(after_id=0, limit=10)] == [first, edit]
    assert (await store.get_letter(f"in-{other}", accounts=ACCOUNTS)).why_not is None


async def test_an_edit_whose_message_is_over_runs_alone(store: SqliteStore) -> None:
    message = numbered("77")
    await ended(store, "done", turn_id="turn-1", message=message)
    edit = await ended(store, turn_id="turn-1", message=edit_of(message, "second"))
    assert await why_not(store, f"in-{edit}") is None
