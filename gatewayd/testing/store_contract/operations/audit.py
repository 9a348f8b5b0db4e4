"""The audit log."""

import anyio

from gatewayd.model.records.audit import BEGINNING, AuditDraft, AuditHead, verify
from gatewayd.ports.store import Store


def draft(number: int) -> AuditDraft:
    return AuditDraft(number / 3, "operator:ann", "channels.stop", f"telegram/{number}", '{"to":"stopped"}')


class AuditContract:
    async def test_entries_are_numbered_chained_and_read_in_pieces(self, store: Store) -> None:
        assert await store.audit_head() is None
        added = [await store.add_audit(draft(number)) for number in range(5)]
        assert [row.seq for row in added] == [1, 2, 3, 4, 5]
        assert added[0].previous == BEGINNING.hash
        assert await store.audit_head() == added[-1]
        assert await store.audit_after(0, limit=10) == added
        assert await store.audit_after(2, limit=2) == added[2:4]
        assert verify(added) == AuditHead(5, added[-1].hash)

    async def test_writers_at_the_same_time_make_one_chain(self, store: Store) -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(store.add_audit, draft(number))
        rows = await store.audit_after(0, limit=100)
        assert verify(rows).seq == 20
        assert {row.subject for row in rows} == {draft(number).subject for number in range(20)}
