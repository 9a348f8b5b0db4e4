"""The audit log: an action is recorded before it is done, entries are bounded, and a refusal needs no entry to be given."""

import json
from collections.abc import Collection
from pathlib import Path

import pytest

from gatewayd.hub.audit import LONGEST_TEXT, AuditLog
from gatewayd.model.errors import NotFound, StoreRefused
from gatewayd.model.records.audit import AuditDraft, AuditHead, AuditRow, verify
from gatewayd.stores.sqlite import run_inline
from tests.stores.opened_before import open_store


class FullDisk:
    async def add_audit(self, draft: AuditDraft) -> AuditRow:
        raise StoreRefused("the disk is full; nothing was stored")

    async def audit_after(self, seq: int, *, limit: int) -> list[AuditRow]:
        return []

    async def audit_about(self, subjects: Collection[str], *, limit: int) -> list[AuditRow]:
        return []

    async def audit_head(self) -> AuditRow | None:
        return None


async def test_entries_say_who_did_what_to_what(tmp_path: Path) -> None:
    async with open_store(tmp_path, now=lambda: 7.5, run_blocking=run_inline) as store:
        log = AuditLog(store, now=lambda: 7.5)
        assert await log.head() is None
        row = await log.record("operator:ann", "channels.stop", "telegram/main", b=1, a="x", none=None)
        assert (row.at, row.actor, row.action, row.subject) == (7.5, "operator:ann", "channels.stop", "telegram/main")
        assert row.detail == '{"a":"x","b":1}'
        assert await log.head() == AuditHead(1, row.hash) == verify(await log.after(0, limit=5))


async def test_texts_from_elsewhere_are_made_safe_and_cut(tmp_path: Path) -> None:
    async with open_store(tmp_path, now=lambda: 0.0, run_blocking=run_inline) as store:
        row = await AuditLog(store, now=lambda: 0.0).record("a\ud800b", "x", "s" * 10_000, note="n\x00" * 10_000)
        assert row.actor == "a\ufffdb"
        assert len(row.subject) == LONGEST_TEXT
        assert len(json.loads(row.detail)["note"]) == LONGEST_TEXT
        assert row.subject.endswith("s…")


async def test_what_is_refused_gets_a_second_entry(tmp_path: Path) -> None:
    async with open_store(tmp_path, now=lambda: 0.0, run_blocking=run_inline) as store:
        log = AuditLog(store, now=lambda: 0.0)
        async with log.doing("operator:ann", "agents.restart", "coder"):
            assert [row.action for row in await log.after(0, limit=9)] == ["agents.restart"]
        with pytest.raises(NotFound):
            async with log.doing("operator:ann", "agents.restart", "codr"):
                raise NotFound("there is no agent codr")
        rows = await log.after(1, limit=9)
        assert [(row.action, row.subject) for row in rows] == [("agents.restart", "codr"), ("agents.restart.refused", "codr")]
        assert json.loads(rows[-1].detail) == {"reason": "there is no agent codr"}


async def test_what_cannot_be_recorded_is_not_done() -> None:
    log = AuditLog(FullDisk(), now=lambda: 0.0)
    done = False
    with pytest.raises(StoreRefused):
        async with log.doing("operator:ann", "agents.restart", "coder"):
            done = True
    assert not done


async def test_a_failed_login_is_answered_whatever_the_disk_says(tmp_path: Path) -> None:
    await AuditLog(FullDisk(), now=lambda: 0.0).record_failure("192.0.2.1", "a token", last=False)
    async with open_store(tmp_path, now=lambda: 0.0, run_blocking=run_inline) as store:
        log = AuditLog(store, now=lambda: 0.0)
        await log.record_failure("192.0.2.1", "a token", last=False)
        await log.record_failure("192.0.2.1", "a token", last=True)
        first, last = await log.after(0, limit=9)
        assert (first.actor, first.action, first.subject, first.detail) == (
            "nobody",
            "auth.failed",
            "192.0.2.1",
            '{"what":"a token"}',
        )
        assert json.loads(last.detail) == {"what": "a token", "more_are_not_recorded": True}
