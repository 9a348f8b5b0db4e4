"""Dead letters in lists and counts."""

from gatewayd.model.lifecycle import OutboundState
from gatewayd.model.records.dead_letter import DeadLetter, DeadLetterCounts, DeadLetterFilter
from gatewayd.ports.store import Store
from gatewayd.testing.store_contract.rows import dropping, ended, envelope, settled

ALL = DeadLetterFilter()


async def refs(store: Store, wanted: DeadLetterFilter = ALL) -> list[str]:
    return [dead_letter.ref for dead_letter in await store.list_dead_letters(wanted, before=None, limit=100)]


class DeadLettersContract:
    async def test_only_what_wants_a_look_is_a_dead_letter(self, store: Store) -> None:
        await ended(store, "done")
        await ended(store, "dropped")
        await store.add_inbound([envelope("waits")])
        states: list[OutboundState] = ["ready", "sending", "sent", "unknown", "parked", "dead"]
        for state in states:
            await settled(store, state)
        dead = await ended(store)
        assert await refs(store) == ["out-6", "out-5", "out-4", f"in-{dead}"]

    async def test_a_dead_letter_says_what_there_is_to_say(self, store: Store) -> None:
        await ended(store, at=50.0, message=envelope("1", text="one\n two " + "x" * 300))
        await settled(store, "parked", at=60.0, reason="stale", turn_id="turn-1")
        [reply, message] = await store.list_dead_letters(ALL, before=None, limit=10)
        assert message == DeadLetter(
            ref="in-1",
            direction="in",
            state="dead",
            reason="agent_failed",
            channel="telegram",
            account="main",
            peer="dm:42",
            sender="42",
            at=10.0,
            ended_at=50.0,
            attempts=1,
            retries=0,
            turn_id="turn-1",
            session_key="assistant:42",
            excerpt="one two " + "x" * 191 + "…",
        )
        assert len(message.excerpt) == 200
        assert (reply.ref, reply.state, reply.reason, reply.sender, reply.at, reply.ended_at) == (
            ("out-1", "parked", "stale", None, 20.0, 60.0)
        )

    async def test_the_text_of_a_prompt_is_for_who_may_decide(self, store: Store) -> None:
        """It shows the exact input of a tool, and dead letters are for everybody who may look."""
        for subject in ("ap_1", "ap_1/notice", "qu_1"):
            await settled(store, "dead", subject=subject)
        question, notice, prompt = await store.list_dead_letters(ALL, before=None, limit=10)
        hidden = "(about a request for permission: gatewayctl approvals show ap_1)"
        assert [prompt.excerpt, notice.excerpt, question.excerpt] == [hidden, hidden, "hi"]

    async def test_every_filter_holds(self, store: Store) -> None:
        await ended(store, at=10.0)
        await ended(store, at=20.0, reason="turn_lost", account="other")
        await settled(store, "unknown", at=30.0)
        await settled(store, "dead", at=40.0, account="other")
        assert await refs(store, DeadLetterFilter(direction="in")) == ["in-2", "in-1"]
        assert await refs(store, DeadLetterFilter(direction="out")) == ["out-2", "out-1"]
        assert await refs(store, DeadLetterFilter(state="dead")) == ["out-2", "in-2", "in-1"]
        assert await refs(store, DeadLetterFilter(state="unknown")) == ["out-1"]
        assert await refs(store, DeadLetterFilter(direction="in", state="unknown")) == []
        assert await refs(store, DeadLetterFilter(account="other")) == ["out-2", "in-2"]
        assert await refs(store, DeadLetterFilter(channel="slack")) == []
        assert await refs(store, DeadLetterFilter(reason="cut")) == ["out-2", "out-1"]
        assert await refs(store, DeadLetterFilter(ended_before=30.0)) == ["in-2", "in-1"]
        oldest = await store.oldest_dead_letters(DeadLetterFilter(state="dead"), after=None, limit=2)
        assert [cursor.ref for cursor in oldest] == ["in-1", "in-2"]

    async def test_they_are_counted_with_the_oldest(self, store: Store) -> None:
        assert await store.count_dead_letters() == DeadLetterCounts()
        for at in (70.0, 30.0):
            await ended(store, at=at)
            await settled(store, "unknown", at=at + 1)
        await settled(store, "dead", at=20.0)
        assert await store.count_dead_letters() == DeadLetterCounts(
            in_dead=2, out_dead=1, out_unknown=2, oldest_dead_at=20.0, oldest_unknown_at=31.0
        )
        await store.drop_dead_letters(["out-3", "in-2"], dropping(), now=90.0)
        assert await store.count_dead_letters() == DeadLetterCounts(
            in_dead=1, out_unknown=2, oldest_dead_at=70.0, oldest_unknown_at=31.0
        )

    async def test_pages_go_both_ways(self, store: Store) -> None:
        for at in (5.0, 3.0, 5.0, 4.0):
            await ended(store, at=at)
            await settled(store, "dead", at=at)
        newest = [dead_letter.cursor for dead_letter in await store.list_dead_letters(ALL, before=None, limit=99)]
        assert newest == sorted(newest, reverse=True)
        assert await store.oldest_dead_letters(ALL, after=None, limit=99) == newest[::-1]
        assert len(newest) == 8
        for number, cursor in enumerate(newest):
            behind = [dead_letter.cursor for dead_letter in await store.list_dead_letters(ALL, before=cursor, limit=2)]
            assert behind == newest[number + 1 : number + 3]
            assert await store.oldest_dead_letters(ALL, after=cursor, limit=2) == newest[:number][::-1][:2]
