"""gatewayctl audit: the chain is computed here, whatever the daemon says of it."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from gatewayd.cli.ctl.commands import audit as module
from gatewayd.model.records.audit import BEGINNING, AuditDraft, AuditHead, AuditRow, chained, hash_of
from tests.cli.conftest import Ctl
from tests.cli.fake_gatewayd import NOW, Answer, FakeGatewayd, of


def log(length: int, actor: str = "operator:ann") -> list[AuditRow]:
    rows: list[AuditRow] = []
    head = BEGINNING
    for number in range(length):
        row = chained(AuditDraft(NOW + number / 3, actor, "channels.stop", f"telegram/{number}", '{"a":"\u202eb"}'), head)
        rows.append(row)
        head = AuditHead(row.seq, row.hash)
    return rows


def page(rows: Sequence[AuditRow], newest: AuditRow | None) -> Answer:
    head = None if newest is None else {"seq": newest.seq, "hash": newest.hash}
    return of({"entries": rows, "head": head, "of_a_newer_release": 1})


def tell(daemon: FakeGatewayd, rows: Sequence[AuditRow]) -> None:
    daemon.on("GET", "/v1/audit", page(rows, rows[-1] if rows else None))


def test_list_shows_the_newest_last(daemon: FakeGatewayd, ctl: Ctl) -> None:
    rows = log(60)
    daemon.on("GET", "/v1/audit", page(rows[:1], rows[-1]), page(rows[58:], rows[-1]))
    assert ctl("audit", "list", "--limit", "2").out == (
        '    59  2026-09-21 14:13:39  operator:ann          channels.stop         telegram/58  {"a":"\\u202eb"}\n'
        '    60  2026-09-21 14:13:39  operator:ann          channels.stop         telegram/59  {"a":"\\u202eb"}\n'
    )
    assert [asked.query for asked in daemon.asked] == [{"after": "0", "limit": "1"}, {"after": "58", "limit": "2"}]
    assert "of_a_newer_release" in ctl("audit", "list", "--after", "3", "--json").out
    assert daemon.asked[-1].query == {"after": "3", "limit": "50"}


def test_an_empty_log_is_whole(daemon: FakeGatewayd, ctl: Ctl) -> None:
    tell(daemon, [])
    assert ctl("audit", "list") == (0, "", "the audit log is empty\n")
    assert ctl("audit", "verify") == (0, f"0 entries, whole\nhead 0:{'0' * 64}\n", "")
    assert ctl("audit", "verify", "--expect", str(BEGINNING)).code == 0


def test_a_whole_log_and_its_head(daemon: FakeGatewayd, ctl: Ctl) -> None:
    rows = log(3)
    tell(daemon, rows)
    assert ctl("audit", "verify") == (0, f"3 entries, whole\nhead 3:{rows[2].hash}\n", "")
    for expected in rows:
        assert ctl("audit", "verify", "--expect", f"{expected.seq}:{expected.hash}").code == 0


def test_it_is_read_page_by_page_up_to_what_was_there_at_first(
    daemon: FakeGatewayd, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE", 2)
    rows = log(6)
    # The log grows meanwhile: what was not there when it was begun is not waited for.
    daemon.on("GET", "/v1/audit", page(rows[:2], rows[3]), page(rows[2:4], rows[5]))
    assert ctl("audit", "verify") == (0, f"4 entries, whole\nhead {rows[3].seq}:{rows[3].hash}\n", "")
    assert [asked.query["after"] for asked in daemon.asked] == ["0", "2"]


def changed(rows: list[AuditRow]) -> list[AuditRow]:
    return [rows[0], replace(rows[1], actor="operator:eve"), *rows[2:]]


def changed_and_hashed(rows: list[AuditRow]) -> list[AuditRow]:
    eve = replace(rows[1], actor="operator:eve")
    return [rows[0], replace(eve, hash=hash_of(eve.previous, eve)), *rows[2:]]


def without_the_second(rows: list[AuditRow]) -> list[AuditRow]:
    return [rows[0], *rows[2:]]


def without_the_first(rows: list[AuditRow]) -> list[AuditRow]:
    return rows[1:]


@pytest.mark.parametrize(
    ("harm", "seq"), [(changed, 2), (changed_and_hashed, 3), (without_the_second, 2), (without_the_first, 1)]
)
def test_a_break_names_the_first_bad_entry(daemon: FakeGatewayd, ctl: Ctl, harm: object, seq: int) -> None:
    assert callable(harm)
    tell(daemon, harm(log(4)))
    code, out, err = ctl("audit", "verify")
    assert (code, out) == (1, "")
    assert err.startswith(f"gatewayctl: The audit log is broken at entry {seq}: ")
    assert f"whole, up to {seq - 1}:" in err


def test_a_log_that_ends_before_its_head_is_not_whole(daemon: FakeGatewayd, ctl: Ctl) -> None:
    rows = log(3)
    daemon.on("GET", "/v1/audit", page(rows[:2], rows[2]), page([], rows[2]))
    assert ctl("audit", "verify") == (
        1,
        "",
        "gatewayctl: The audit log ends after entry 2, but its newest is said to be 3.\n",
    )


def test_a_cut_log_and_one_written_anew_are_found_by_a_head_kept_elsewhere(daemon: FakeGatewayd, ctl: Ctl) -> None:
    kept = log(3)[-1]
    tell(daemon, log(2))
    code, out, err = ctl("audit", "verify", "--expect", f"3:{kept.hash}")
    assert (code, out) == (1, "")
    assert "has been cut: entry 3 was there, and now it ends at 2" in err
    tell(daemon, log(5, actor="operator:eve"))
    code, out, err = ctl("audit", "verify", "--expect", f"3:{kept.hash}")
    assert (code, out) == (1, "")
    assert f"rewritten: its entry 3 does not have the hash {kept.hash[:12]}…" in err


@pytest.mark.parametrize("wrong", ["3", "3:abc", ":" + "0" * 64, "x:" + "0" * 64, "-1:" + "0" * 64, "1:" + "g" * 64])
def test_a_head_has_a_form(daemon: FakeGatewayd, ctl: Ctl, wrong: str) -> None:
    code, _, err = ctl("audit", "verify", "--expect", wrong)
    assert code == 64
    assert "SEQ:HASH" in err
