"""From a file of the first release, with rows of every kind, to the present: nothing is lost, and it goes on from there."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from gatewayd.hub.operations.trace_rows import gather
from gatewayd.model.lifecycle import ApprovalState
from gatewayd.model.message.envelope import connector_key
from gatewayd.model.message.payload import SendText
from gatewayd.model.records.approval import Approval, Vote
from gatewayd.model.records.audit import AuditDraft, verify
from gatewayd.model.records.dead_letter import DeadLetterFilter
from gatewayd.stores.sqlite import open_store, run_inline
from gatewayd.stores.sqlite.migrations import migrate, schema_version, scripts, statements
from gatewayd.stores.sqlite.tables.audit import append_audit
from gatewayd.testing.store_contract.rows import ALICE, EVERY_ACCOUNT, draft, envelope, retrying, voting

# As the first release wrote them.
ENVELOPE = (
    b'{"channel":"telegram","account":"main","event_key":"%d","kind":"message","peer":{"kind":"dm","id":"42"},'
    b'"sender":{"id":"42","name":"Alice"},"text":"hello","message_id":"7","addressed":true,"received_at":10.0}'
)
PAYLOAD = b'{"type":"send_text","peer":{"kind":"dm","id":"42"},"body":{"text":"hi"},"reply_to":"7"}'
INBOUND = ("received", "running", "done", "dropped", "dead")
OUTBOUND = ("ready", "sending", "sent", "unknown", "parked", "dead")
APPROVALS: tuple[ApprovalState, ...] = ("pending", "allowed", "denied", "expired", "withdrawn")


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A state directory of the first release."""
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    with closing(sqlite3.connect(directory / "gatewayd.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        migrate(connection, scripts()[:1])
        fill(connection)
    return directory


def fill(connection: sqlite3.Connection) -> None:
    for number, state in enumerate(INBOUND, 1):
        ended = None if number < 3 else 20.0
        values = (str(number), state, number, ended, ended and "some reason", f"turn-{number}", ENVELOPE % number)
        connection.execute(
            "INSERT INTO inbound VALUES (NULL, 'telegram', 'main', ?, 'dm:42', ?, ?, 10.0, ?, ?, ?, 'key', ?)", values
        )
    for number, state in enumerate(OUTBOUND, 1):
        receipt = b'{"message_id":"9"}' if state == "sent" else None
        values_out = (state, number, float(number), PAYLOAD, receipt)
        connection.execute(
            "INSERT INTO outbound VALUES"
            " (NULL, 'telegram', 'main', 'telegram:main:dm:42', 'dm:42', ?, ?, ?, NULL, NULL, 'turn-1', NULL, ?, ?)",
            values_out,
        )
    for number, state in enumerate(APPROVALS, 1):
        decided = None if state == "pending" else 20.0
        used = 21.0 if state == "allowed" else None
        connection.execute(
            "INSERT INTO approval VALUES (NULL, ?, 'assistant', 'key', 'turn-1', ?, 'shell', '{}', 'hash', ?, 10.0, 910.0,"
            " 'telegram:main:dm:42', ?, ?, ?, ?)",
            (f"ap_{number}", number, state, decided, decided and "operator:me", decided and "a note", used),
        )
    connection.execute("DELETE FROM approval WHERE id = 'ap_5'")  # numbers are not used again, though
    connection.execute("INSERT INTO session VALUES ('key', 'assistant', 's1', 2, 1.0, 2.0)")
    connection.execute("INSERT INTO event VALUES (NULL, 1.0, 'gateway.ready', '{}')")
    connection.execute("INSERT INTO memo VALUES ('telegram', 'main', 'offset', '5')")
    peer = b'{"kind":"dm","id":"42"}'
    pairing = "INSERT INTO pairing VALUES (NULL, 'CODE', 'telegram', 'main', '42', 'Alice', ?, 'approved', 1.0, 9.0, 2.0, 'me')"
    connection.execute(pairing, (peer,))
    connection.execute("INSERT INTO token VALUES ('digest', 'token', 'owner', 'operator', '[\"admin\"]', 1.0, NULL)")


async def test_everything_is_there_after_the_upgrade(first: Path) -> None:
    for _ in range(2):
        async with open_store(first, now=lambda: 100.0, run_blocking=run_inline) as store:
            rows = [await store.get_inbound(number) for number in range(1, 6)]
            assert [(row.state, row.attempts, row.envelope.text) for row in rows if row] == [
                (state, number, "hello") for number, state in enumerate(INBOUND, 1)
            ]
            assert [row.id for row in await store.pending_inbound(EVERY_ACCOUNT, after_id=0, limit=9)] == [1, 2]
            sent = [await store.get_outbound(number) for number in range(1, 7)]
            assert [row.state for row in sent if row] == list(OUTBOUND)
            assert {row.subject for row in sent if row} == {None}
            assert sent[2] is not None
            assert sent[2].receipt is not None
            assert sent[2].receipt.message_id == "9"
            assert isinstance(sent[2].payload, SendText)
            assert sent[2].payload.choices == ()
            session = await store.get_session("key")
            assert session is not None
            assert (session.session_id, session.generation) == ("s1", 2)
            assert await store.load_state("telegram", "main", "offset") == "5"
            assert [row.sender_id for row in await store.list_pairings("approved", limit=9)] == ["42"]
            token = await store.get_token("digest")
            assert token is not None
            assert token.scopes == ("admin",)
            assert [event.kind for event in await store.events_after(0, limit=9)] == ["gateway.ready"]
            assert len(await store.transcript("telegram", "main", ALICE, limit=100)) == 11
    with closing(sqlite3.connect(first / "gatewayd.db")) as connection:
        assert schema_version(connection) == len(scripts())
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


async def test_what_wants_a_look_is_found_after_the_upgrade(first: Path) -> None:
    edit = b'{"type":"edit_text","peer":{"kind":"dm","id":"42"},"body":{"text":"hi"},"of":3}'
    with closing(sqlite3.connect(first / "gatewayd.db", isolation_level=None)) as connection:
        migrate(connection, scripts()[:2])
        row = "SELECT channel, account, conversation, peer, 'dead', 50.0, ? FROM outbound WHERE id = 3"
        insert = "INSERT INTO outbound (channel, account, conversation, peer, state, created_at, payload)"
        connection.execute(f"{insert} {row}", (edit,))
    accounts = {("telegram", "main"): None}
    async with open_store(first, now=lambda: 100.0, run_blocking=run_inline) as store:
        dead_letters = await store.list_dead_letters(DeadLetterFilter(), before=None, limit=10)
        assert [dead_letter.ref for dead_letter in dead_letters] == ["out-7", "in-5", "out-6", "out-5", "out-4"]
        assert (await store.count_dead_letters()).out_dead == 2
        for known in ("7", "9", "telegram/main/9", "turn-1", "key"):
            assert (await gather(store, known, accounts=accounts, limit=10)).inbound
        swept = await store.sweep("outbound", lambda row: bool(row.referrers), before=1e9, after=None, limit=10)
        assert swept.deleted == {}  # a dead letter edits it
        retried = await store.retry_dead_letters(["out-7", "in-5"], retrying(accounts=accounts, now=100.0), now=100.0)
        assert [each.row.state for each in retried.done] == ["ready", "received"]


async def test_events_about_dead_letters_have_their_new_names_after_the_upgrade_and_the_audit_log_is_as_it_was(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    kinds = ["letter.retried", "letter.dropped", "letter.expired", "letter.of", "inbound.dead"]
    entry = AuditDraft(1.0, "operator:me", "letter.retried", "in-1")
    with closing(sqlite3.connect(directory / "gatewayd.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        migrate(connection, scripts()[:6])
        connection.executemany("INSERT INTO event (at, kind, data) VALUES (1.0, ?, ?)", [(kind, b"{}") for kind in kinds])
        append_audit(connection, entry)
    async with open_store(directory, now=lambda: 100.0, run_blocking=run_inline) as store:
        found = [event.kind for event in await store.events_after(0, limit=9)]
        assert found == ["dead_letter.retried", "dead_letter.dropped", "dead_letter.expired", "letter.of", "inbound.dead"]
        entries = await store.audit_after(0, limit=9)
        assert [each.action for each in entries] == ["letter.retried"]
        assert verify(entries).seq == 1


async def test_requests_of_before_are_answered_as_ever(first: Path) -> None:
    async with open_store(first, now=lambda: 100.0, run_blocking=run_inline) as store:
        rows = await store.approvals_of("turn-1")
        assert [(row.id, row.state, row.consumed_at) for row in rows] == [
            ("ap_1", "pending", None),
            ("ap_2", "allowed", 21.0),
            ("ap_3", "denied", None),
            ("ap_4", "expired", None),
        ]
        assert rows[2] == replace(
            expected("ap_3", 3), state="denied", decided_at=20.0, decided_by="operator:me", note="a note", code="ap_3"
        )
        audit = AuditDraft(100.0, "operator:me", "approval.allow", "ap_1")
        allowed = await store.vote_approval("ap_1", voting("operator:me", at=100.0), audit=audit)
        assert allowed is not None
        assert allowed.state == "allowed"
        assert await store.consume_approval("ap_1", now=101.0)
        assert not await store.consume_approval("ap_2", now=101.0)
        # New rows come after the old ones.
        new = await store.add_approval(expected("ap_9", 9))
        assert await store.decide_approval("ap_9", "undeliverable", by="gatewayd", note=None, now=102.0)
        assert [row.id for row in await store.list_approvals(None, limit=1)] == [new.id]
        [prompt] = await store.add_outbound([replace(draft("prompt"), subject="ap_9")], now=1.0)
        assert [row.id for row in await store.outbound_by("subject", "ap_9")] == [prompt.id]
        assert prompt.id > len(OUTBOUND)
    with closing(sqlite3.connect(first / "gatewayd.db")) as connection:
        assert connection.execute("SELECT seq FROM approval WHERE id = 'ap_9'").fetchone()[0] > 4


def expected(approval_id: str, ordinal: int) -> Approval:
    return Approval(
        id=approval_id,
        agent="assistant",
        session_key="key",
        turn_id="turn-1",
        ordinal=ordinal,
        tool="shell",
        input="{}",
        input_hash="hash",
        state="pending",
        created_at=10.0,
        expires_at=910.0,
        origin="telegram:main:dm:42",
        groups=("operators",),
        session_grant="input",
    )


async def test_a_vote_has_the_identity_that_gave_it_after_the_upgrade(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    votes = [{"by": "operator:me", "allow": True, "at": 1.5, "note": "ä"}, {"by": "person:ann", "allow": True, "at": 2.0}]
    with closing(sqlite3.connect(directory / "gatewayd.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        migrate(connection, scripts()[:3])
        columns = "id, agent, session_key, turn_id, ordinal, tool, input, input_hash, state, created_at, expires_at, origin"
        rest = "code, session_id, asked_groups, quorum, votes, scope"
        for number in (1, 2, 3):
            values = (f"ap_{number}", number, msgspec.json.encode(votes if number < 3 else votes[:1]).decode())
            connection.execute(  # the columns are of this test's making
                f"INSERT INTO approval ({columns}, {rest}) VALUES (?, 'assistant', 'key', 'turn-1', ?, 'shell', '{{}}', 'hash',"  # noqa: S608
                " 'pending', 10.0, 910.0, 'telegram:main:dm:42', 'CODE', 's1', '[\"operators\"]', 3, ?, 'once')",
                values,
            )
        entry = "INSERT INTO audit (at, actor, action, subject, detail, previous, hash) VALUES (1.0, ?, ?, ?, '{}', '', '')"
        for subject in ("ap_1", "ap_3"):
            connection.execute(entry, ("telegram:9", "approval.refused", subject))
            connection.execute(entry, ("operator:me", "approval.allow", subject))
            connection.execute(entry, ("telegram:42", "approval.allow", subject))
    async with open_store(directory, now=lambda: 100.0, run_blocking=run_inline) as store:
        rows = await store.approvals_of("turn-1")
        assert rows[0].votes == (Vote("operator:me", True, 1.5, note="ä"), Vote("telegram:42", True, 2.0))
        assert [vote.by for vote in rows[1].votes] == ["operator:me", "person:ann"], "of which the log knows nothing"
        assert rows[2].votes == (Vote("operator:me", True, 1.5, note="ä"),)
        assert {row.session_grant for row in rows} == {"input"}


STATEMENTS = list(statements(scripts()[1]))


@pytest.mark.parametrize("done", range(len(STATEMENTS) + 1))
def test_an_upgrade_that_is_cut_leaves_the_first_version_whole(first: Path, done: int) -> None:
    broken = "".join([*STATEMENTS[:done], "INSERT INTO nowhere VALUES (1);\n"])
    with closing(sqlite3.connect(first / "gatewayd.db", isolation_level=None)) as connection:
        before = list(dump(connection))
        with pytest.raises(sqlite3.OperationalError, match="nowhere"):
            migrate(connection, [scripts()[0], broken])
        assert list(dump(connection)) == before
        assert schema_version(connection) == 1
        migrate(connection)
        assert connection.execute("SELECT count(*) FROM approval").fetchone() == (4,)


def dump(connection: sqlite3.Connection) -> Iterator[object]:
    yield from connection.iterdump()
    yield connection.execute("SELECT * FROM sqlite_sequence ORDER BY name").fetchall()


async def test_what_connectors_brought_belongs_to_them_after_the_upgrade(tmp_path: Path) -> None:
    """Their keys were the same for all of them. The second one's key looks like what the first one's becomes."""
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    keys = [("bridge", "k"), ("other", "bridge:k"), ("other", 'ä/" 1')]
    with closing(sqlite3.connect(directory / "gatewayd.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        migrate(connection, scripts()[:3])
        for connector, key in keys:
            told = envelope(f"chat:{key}", text="é 1.0")
            brought = msgspec.json.encode(replace(told, via=f"connector:{connector}"))
            insert_old(connection, f"chat:{key}", brought)
        insert_old(connection, "chat:1", msgspec.json.encode(envelope("chat:1")))
    async with open_store(directory, now=lambda: 100.0, run_blocking=run_inline) as store:
        for number, (connector, key) in enumerate(keys, 1):
            again = connector_key(connector, key)
            row = await store.find_inbound("telegram", "main", again)
            assert row is not None
            assert (row.id, row.envelope.event_key, row.envelope.given_key) == (number, again, key)
            assert (row.envelope.text, row.envelope.received_at) == ("é 1.0", 10.0)
            assert (await store.add_inbound([replace(row.envelope)])).rows == []
            found = await gather(store, key, accounts=[("telegram", "main")], limit=5)
            assert [each.id for each in found.inbound] == [number]
        assert await store.find_inbound("telegram", "main", "chat:1") is not None


def insert_old(connection: sqlite3.Connection, key: str, brought: bytes) -> None:
    sql = """
        INSERT INTO inbound (channel, account, event_key, peer, state, received_at, ended_at, reason, envelope)
        VALUES ('telegram', 'main', ?, 'dm:42', 'done', 10.0, 20.0, 'answered', ?)
    """
    connection.execute(sql, (key, brought))
