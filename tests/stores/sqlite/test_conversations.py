"""A store whose conversations were spelled without escaping: two chats of one name are two again, and nothing is lost."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.model.ids import AccountId, ConversationId, Peer
from gatewayd.stores.sqlite import open_store, run_inline
from gatewayd.stores.sqlite.migrations import migrate, scripts
from gatewayd.testing.store_contract.rows import ready

BEFORE = 5
ACCOUNT = AccountId("chat", "main")
THREAD, WHOLE, PLAIN = Peer("group", "x", "y"), Peer("group", "x:y"), Peer("dm", "50%")
PARTS = st.text(st.sampled_from("a:%3A25"), max_size=6)
PEERS = st.lists(st.builds(Peer, st.just("group"), PARTS, st.none() | PARTS), max_size=20)


def spelled_before(peer: Peer) -> str:
    return f"chat:main:{peer.kind}:{peer.id}" + ("" if peer.thread is None else f":{peer.thread}")


def fill(connection: sqlite3.Connection, peers: list[Peer]) -> None:
    """For each peer a message, its turn's reply, approval and session, as the schema before had them."""
    migrate(connection, scripts()[:BEFORE])
    for number, peer in enumerate(peers):
        raw = msgspec.json.encode(peer).decode()
        envelope = (
            f'{{"channel":"chat","account":"main","event_key":"{number}","kind":"message","peer":{raw},"sender":{{"id":"7"}}}}'
        )
        turn, key = f"turn-{number}", f"assistant:{number}"
        connection.execute(
            "INSERT INTO inbound (channel, account, event_key, peer, state, received_at, turn_id, session_key, envelope)"
            " VALUES ('chat', 'main', ?, ?, 'running', 1.0, ?, ?, ?)",
            (str(number), str(peer), turn, key, envelope.encode()),
        )
        payload = f'{{"type":"send_text","peer":{raw},"body":{{"text":"hi"}}}}'
        connection.execute(
            "INSERT INTO outbound (channel, account, conversation, peer, state, created_at, turn_id, payload)"
            " VALUES ('chat', 'main', ?, ?, 'ready', 1.0, ?, ?)",
            (spelled_before(peer), str(peer), turn, payload.encode()),
        )
        connection.execute(
            "INSERT INTO approval (id, agent, session_key, turn_id, ordinal, tool, input, input_hash, state, created_at,"
            " expires_at, origin, code, session_id, asked_groups, quorum, votes, scope)"
            " VALUES (?, 'assistant', ?, ?, 0, 'bash', '{}', 'h', 'pending', 1.0, 9e9, ?, ?, 's', '[]', 1, '[]', 'once')",
            (f"ap_{number}", key, turn, spelled_before(peer), f"C{number}"),
        )
        where = f'{{"channel":"chat","account":"main","peer":{raw}}}'.encode()
        connection.execute(
            "INSERT INTO session (session_key, agent_id, session_id, generation, created_at, last_used_at, conversation)"
            " VALUES (?, 'assistant', ?, 1, 1.0, 1.0, ?)",
            (key, f"ses-{number}", where),
        )


async def test_nothing_of_a_chat_is_lost_or_another_ones(tmp_path: Path) -> None:
    peers = [THREAD, WHOLE, PLAIN]
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    with closing(sqlite3.connect(directory / "gatewayd.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        fill(connection, peers)
    assert spelled_before(THREAD) == spelled_before(WHOLE)
    async with open_store(directory, now=time.time, run_blocking=run_inline) as store:
        rows = await ready(store, "chat")
        for number, peer in enumerate(peers):
            here = ConversationId(ACCOUNT, peer)
            assert rows[number].conversation == str(here)
            assert (await store.transcript("chat", "main", peer, limit=10))[-1].id == rows[number].id
            approval = await store.get_approval(f"ap_{number}")
            assert approval is not None
            assert approval.origin == str(here)
            session = await store.get_session(f"assistant:{number}")
            assert session is not None
            assert (session.session_id, session.conversation) == (f"ses-{number}", here)


@pytest.mark.slow
@settings(deadline=None)
@given(PEERS)
def test_every_row_gets_the_name_of_its_own_chat(peers: list[Peer]) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        fill(connection, peers)
        migrate(connection)
        spelled = [str(ConversationId(ACCOUNT, peer)) for peer in peers]
        assert [name for (name,) in connection.execute("SELECT conversation FROM outbound ORDER BY id")] == spelled
        assert [name for (name,) in connection.execute("SELECT origin FROM approval ORDER BY seq")] == spelled
