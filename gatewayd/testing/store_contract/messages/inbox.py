"""Messages: once each, in their order, and ended with their replies."""

from gatewayd.model.message.envelope import Peer
from gatewayd.ports.store import Store
from gatewayd.testing.store_contract.rows import EVERY_ACCOUNT, Clock, draft, envelope, ready


class InboxContract:
    async def test_envelopes_come_back_as_they_were_in_order(self, store: Store) -> None:
        sent = [envelope(str(number), text=f"\0 “{number}” \U0001f600") for number in range(3)]
        rows = (await store.add_inbound(sent)).rows
        assert [row.envelope for row in rows] == sent
        assert [row.id for row in rows] == sorted({row.id for row in rows})
        assert await store.pending_inbound(EVERY_ACCOUNT, after_id=0, limit=10) == rows
        assert await store.get_inbound(rows[1].id) == rows[1]
        assert await store.find_inbound("telegram", "main", "2") == rows[2]
        assert rows[0].state == "received"
        assert rows[0].attempts == 0

    async def test_what_is_not_there_is_none(self, store: Store) -> None:
        assert await store.get_inbound(1) is None
        assert await store.find_inbound("telegram", "main", "1") is None

    async def test_a_key_is_of_one_account(self, store: Store) -> None:
        """Each account of a channel has its own numbers."""
        main, other = (await store.add_inbound([envelope("1"), envelope("1", account="other")])).rows
        assert await store.find_inbound("telegram", "main", "1") == main
        assert await store.find_inbound("telegram", "other", "1") == other
        assert await store.find_inbound("telegram", "third", "1") is None
        assert await store.find_inbound("webchat", "main", "1") is None

    async def test_a_known_event_key_is_skipped_also_within_one_call(self, store: Store) -> None:
        [first] = (await store.add_inbound([envelope("1", text="first")])).rows
        rows = (await store.add_inbound([envelope("1", text="again"), envelope("2"), envelope("2", text="twice")])).rows
        assert [row.envelope.event_key for row in rows] == ["2"]
        assert await store.find_inbound("telegram", "main", "1") == first

    async def test_event_keys_belong_to_an_account(self, store: Store) -> None:
        rows = (await store.add_inbound([envelope("1"), envelope("1", account="other")])).rows
        assert [row.envelope.account for row in rows] == ["main", "other"]

    async def test_state_is_saved_even_when_nothing_is_new(self, store: Store) -> None:
        await store.add_inbound([envelope("1")], state=[("telegram", "main", "offset", "1")])
        await store.add_inbound([envelope("1")], state=[("telegram", "main", "offset", "2")])
        assert await store.load_state("telegram", "main", "offset") == "2"

    async def test_a_turn_counts_its_starts(self, store: Store) -> None:
        first, second = (await store.add_inbound([envelope("1"), envelope("2")])).rows
        await store.start_turn([first.id, second.id], turn_id="turn-1", session_key="key")
        await store.start_turn([second.id], turn_id="turn-2", session_key="key")
        rows = await store.pending_inbound(EVERY_ACCOUNT, after_id=0, limit=10)
        assert [(row.state, row.attempts, row.turn_id, row.session_key) for row in rows] == [
            ("running", 1, "turn-1", "key"),
            ("running", 2, "turn-2", "key"),
        ]

    async def test_ending_writes_the_replies_once(self, store: Store) -> None:
        [row] = (await store.add_inbound([envelope("1")])).rows
        replies = await store.end_inbound([row.id], state="done", reason="answered", now=20.0, replies=[draft("a"), draft("b")])
        assert [reply.payload.body.text for reply in replies] == ["a", "b"]
        assert await store.end_inbound([row.id], state="done", reason="answered", now=30.0, replies=[draft("c")]) == []
        assert await ready(store) == replies
        ended = await store.get_inbound(row.id)
        assert ended is not None
        assert (ended.state, ended.reason, ended.ended_at) == ("done", "answered", 20.0)

    async def test_of_several_rows_only_those_not_ended_are_ended(self, store: Store) -> None:
        first, second = (await store.add_inbound([envelope("1"), envelope("2")])).rows
        await store.end_inbound([first.id], state="dropped", reason="pairing_required", now=20.0)
        assert (
            len(
                await store.end_inbound(
                    [first.id, second.id], state="dead", reason="attempts_exhausted", now=30.0, replies=[draft("a")]
                )
            )
            == 1
        )
        rows = [await store.get_inbound(row.id) for row in (first, second)]
        assert [row and (row.state, row.reason) for row in rows] == [
            ("dropped", "pairing_required"),
            ("dead", "attempts_exhausted"),
        ]

    async def test_ending_nothing_writes_nothing(self, store: Store) -> None:
        assert await store.end_inbound([], state="done", reason="answered", now=1.0, replies=[draft("a")]) == []
        assert await ready(store) == []

    async def test_an_ended_row_does_not_run_again(self, store: Store) -> None:
        [row] = (await store.add_inbound([envelope("1")])).rows
        await store.end_inbound([row.id], state="dropped", reason="not_addressed", now=20.0)
        await store.start_turn([row.id], turn_id="turn-1", session_key="key")
        ended = await store.get_inbound(row.id)
        assert ended is not None
        assert (ended.state, ended.attempts) == ("dropped", 0)

    async def test_pending_rows_are_paged_by_id(self, store: Store) -> None:
        rows = (await store.add_inbound([envelope(str(number)) for number in range(5)])).rows
        await store.end_inbound([rows[1].id], state="done", reason="answered", now=20.0)
        page = await store.pending_inbound(EVERY_ACCOUNT, after_id=0, limit=2)
        assert page == [rows[0], rows[2]]
        assert await store.pending_inbound(EVERY_ACCOUNT, after_id=page[-1].id, limit=2) == rows[3:]

    async def test_an_envelope_without_a_time_gets_ours_in_the_transcript(self, store: Store, clock: Clock) -> None:
        clock.time = 50.0
        peer = Peer(kind="group", id="-1")
        await store.add_inbound([envelope("1", peer=peer, at=0.0)])
        [line] = await store.transcript("telegram", "main", peer, limit=1)
        assert line.at == 50.0

    async def test_a_stop_is_counted_while_the_turn_runs(self, store: Store) -> None:
        waiting, running, over = [row.id for row in (await store.add_inbound([envelope(key) for key in "abc"])).rows]
        await store.start_turn([running, over], turn_id="turn-1", session_key="key")
        await store.end_inbound([over], state="done", reason="answered", now=1.0)
        await store.note_stop([waiting, running, over])
        await store.note_stop([running])
        rows = [await store.get_inbound(number) for number in (waiting, running, over)]
        assert [row.stops for row in rows if row is not None] == [0, 2, 0]
