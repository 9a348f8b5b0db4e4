"""Dead letters: what is listed and shown, what is asked before, and how far an order got, whatever ends it."""

import io
import json
import signal
import sys
import unicodedata
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from gatewayd.cli.ctl.output.dead_letters_view import dead_letter_lines, dead_letters_table
from gatewayd.model.operator_api import DeadLetterView
from gatewayd.model.records.dead_letter import DeadLetter
from tests.cli.conftest import Ctl
from tests.cli.fake_gatewayd import NOW, Answer, Asked, FakeGatewayd, error, of

PATH = "/v1/dead-letters"
INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}

POISON = DeadLetter(
    ref="in-12",
    direction="in",
    state="dead",
    reason="too_many_attempts",
    channel="telegram",
    account="main",
    peer="dm:4711",
    sender="4711",
    at=NOW - 7_400,
    ended_at=NOW - 3_700,
    attempts=10,
    retries=1,
    turn_id="turn-12-1",
    session_key="assistant:telegram:main:dm:4711",
    excerpt="[red]please\x1b[2J \u202ecrash",
)
UNSURE = DeadLetter(
    ref="out-7",
    direction="out",
    state="unknown",
    reason=None,
    channel="telegram",
    account="main",
    peer="dm:4711",
    sender=None,
    at=NOW - 130,
    ended_at=NOW - 125,
    attempts=1,
    retries=0,
    turn_id=None,
    session_key=None,
    excerpt="hello",
)
RUNS_AGAIN = msgspec.structs.replace(POISON, state="received", attempts=0, retries=2)
COUNTS = {"in_dead": 1, "out_dead": 0, "out_unknown": 2, "out_parked": 1}


def page(*dead_letters: DeadLetter, after: str | None = None) -> Answer:
    return of({"dead_letters": dead_letters, "next": after, "counts": COUNTS})


def bulk(done: int, *skipped: tuple[str, str], more: bool = False) -> Answer:
    left = [{"ref": ref, "why": why} for ref, why in skipped]
    return of({"done": done, "skipped": left, "more": more, "next": f"c{done}" if more else None})


class Terminal(io.StringIO):
    """A person who types this."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def types(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """``types("y")``: there is a terminal on stdin, and this is typed."""
    return lambda text: monkeypatch.setattr(sys, "stdin", Terminal(text + "\n"))


@pytest.fixture(autouse=True)
def nobody_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))


def orders(daemon: FakeGatewayd) -> list[object]:
    return [asked.json() for asked in daemon.asked if asked.method == "POST"]


def test_list(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("GET", PATH, page(UNSURE, POISON, after="c 1"), page(), page(POISON))
    assert ctl("dead-letters", "list", "--direction", "in", "--state", "dead", "--reason", "x y", "--before", "c 0") == (
        0,
        "REF    STATE    AGE    ACCOUNT        PEER     REASON        TEXT\n"
        "out-7  unknown  2 min  telegram/main  dm:4711  -             hello\n"
        "in-12  dead     1 h    telegram/main  dm:4711  too_many_at…  [red]please\\x1b[2J…\n"
        "\n"
        "waiting in all: 1 message given up, 2 unknown replies, 1 parked reply\n"
        "more: the same with --before c 1\n"
        "see one: gatewayctl dead-letters show REF   then: gatewayctl dead-letters retry|drop REF…, or --all\n",
        "",
    )
    assert daemon.asked[0].query == {"direction": "in", "state": "dead", "reason": "x y", "before": "c 0", "limit": "50"}
    assert ctl("dead-letters", "list").out == "no dead letters\n"
    assert json.loads(ctl("dead-letters", "list", "--json").out)["dead_letters"][0]["excerpt"] == POISON.excerpt


def test_show_hides_nothing(daemon: FakeGatewayd, ctl: Ctl) -> None:
    whole = "please\x1b[2J \u202ecrash\nsecond " + "x" * 300
    daemon.on("GET", f"{PATH}/in-12", of({"dead_letter": POISON, "text": whole, "can_retry": True, "why_not": None}))
    daemon.on("GET", f"{PATH}/out-7", of({"dead_letter": UNSURE, "text": "hi", "can_retry": False, "why_not": "no account x/y"}))
    assert ctl("dead-letters", "show", "in-12").out.replace("\n  x", "x") == (
        "ref       in-12, a message that was given up\n"
        "state     dead: too_many_attempts\n"
        "since     2026-09-21 13:11:40 (1 h ago)\n"
        "written   2026-09-21 12:10:00\n"
        "account   telegram/main\n"
        "peer      dm:4711\n"
        "sender    4711\n"
        "tries     10 tries, retried 1 time by an operator\n"
        "turn      turn-12-1\n"
        "session   assistant:telegram:main:dm:4711\n"
        "trace     gatewayctl trace in-12\n"
        "\n"
        "  please\\x1b[2J \\u202ecrash\n"
        f"  second {'x' * 300}\n"
        "\n"
        "gatewayctl dead-letters retry in-12\n"
        "gatewayctl dead-letters drop in-12\n"
    )
    lines = ctl("dead-letters", "show", "out-7").out.splitlines()
    assert "no retry  no account x/y" in lines
    assert lines[-3:] == [
        "An unknown reply was perhaps delivered: sent again, it may be seen twice. Look",
        "into the chat first.",
        "gatewayctl dead-letters drop out-7",
    ]
    assert json.loads(ctl("dead-letters", "show", "in-12", "--json").out)["text"] == whole


@given(st.text(), st.text(min_size=1), st.integers(20, 120))
def test_foreign_text_neither_breaks_lines_nor_styles(text: str, name: str, width: int) -> None:
    dead_letter = msgspec.structs.replace(POISON, reason=text, excerpt=text, sender=name, peer=name, account=name, turn_id=text)
    for line in dead_letters_table([dead_letter, UNSURE], now=NOW, width=width):
        assert cell_len(line.plain) <= width
        assert line.plain.isprintable()
    for line in dead_letter_lines(DeadLetterView(dead_letter, text, False, text), NOW, width):
        assert INVISIBLE.isdisjoint(map(unicodedata.category, line.plain))


def test_what_is_named_is_done_one_by_one_and_the_rest_goes_on(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("POST", f"{PATH}/in-12", of({"dead_letter": RUNS_AGAIN}))
    daemon.on("POST", f"{PATH}/out-9", error(409, "conflict", "out-9 is no dead letter: it is sent"))
    daemon.on("POST", f"{PATH}/in-1", error(404, "not_found", "there is no in-1"))
    code, out, err = ctl("dead-letters", "retry", "--yes", "--note", "disk is back", "in-1", "out-9", "in-12", "in-12")
    assert code == 1
    assert out == "in-12 retried: received\n1 of 3 dead letters retried, 2 skipped\n"
    assert err == "  skipped: in-1: there is no in-1 (404).\n  skipped: out-9: out-9 is no dead letter: it is sent (409).\n"
    assert orders(daemon)[0] == {"action": "retry", "note": "disk is back"}
    assert ctl("dead-letters", "drop", "in-12") == (0, "in-12 dropped: received\n1 of 1 dead letter dropped\n", "")
    assert orders(daemon)[-1] == {"action": "drop"}
    code, out, _ = ctl("dead-letters", "drop", "--json", "in-12", "in-1")
    assert (code, json.loads(out)) == (1, {"done": 1, "skipped": [{"ref": "in-1", "why": "there is no in-1 (404)."}]})


def test_what_may_be_seen_twice_is_asked_about(daemon: FakeGatewayd, ctl: Ctl, types: Callable[[str], None]) -> None:
    daemon.on("GET", f"{PATH}/out-7", of({"dead_letter": UNSURE, "text": "hi", "can_retry": True, "why_not": None}))
    daemon.on("GET", f"{PATH}/in-12", of({"dead_letter": POISON, "text": "hi", "can_retry": True, "why_not": None}))
    daemon.on("POST", f"{PATH}/out-7", of({"dead_letter": msgspec.structs.replace(UNSURE, state="ready")}))
    daemon.on("POST", f"{PATH}/in-12", of({"dead_letter": RUNS_AGAIN}))
    code, out, err = ctl("dead-letters", "retry", "out-7")
    assert (code, out) == (64, "")
    assert "may be seen twice. Look into the chat first: out-7. There is no terminal for the answer: confirm with --yes." in err
    types("n")
    assert ctl("dead-letters", "retry", "out-7", "in-12")[::2] == (
        1,
        "An unknown reply was perhaps delivered: sent again, it may be seen twice. Look into the chat first: out-7.\n"
        "Retry 2 dead letters? [y/N] gatewayctl: Nothing was done.\n",
    )
    assert orders(daemon) == []
    types("y")
    assert ctl("dead-letters", "retry", "out-7", "in-12").out.endswith("2 of 2 dead letters retried\n")
    types("no terminal is needed where nothing is unsure")
    assert ctl("dead-letters", "retry", "in-12").code == 0


def test_a_bulk_asks_with_the_count_and_goes_on_until_nothing_is_left(
    daemon: FakeGatewayd, ctl: Ctl, types: Callable[[str], None]
) -> None:
    older = msgspec.structs.replace(UNSURE, ref="out-6", ended_at=NOW - 9_000)
    daemon.on("GET", PATH, page(UNSURE, POISON, after="c1"), page(older))
    daemon.on("POST", PATH, bulk(1, ("out-6", "no account"), more=True), bulk(1))
    types("y")
    code, out, err = ctl("dead-letters", "retry", "--all", "--channel", "telegram", "--note", "it is back")
    assert code == 1
    assert out == (
        "3 dead letters: 1 message given up, 2 unknown replies\n"
        "  1 of 3 dead letters retried, 1 skipped …\n"
        "2 of 3 dead letters retried, 1 skipped\n"
    )
    assert err == (
        "An unknown reply was perhaps delivered: sent again, it may be seen twice. Look into the chat first.\n"
        "Retry 3 dead letters? [y/N]   skipped: out-6: no account\n"
    )
    assert [asked.query for asked in daemon.asked[:2]] == [
        {"channel": "telegram", "limit": "500"},
        {"channel": "telegram", "limit": "500", "before": "c1"},
    ]
    first, second = orders(daemon)
    assert isinstance(first, dict)
    assert second == first | {"after": "c1"}
    assert UNSURE.ended_at is not None
    # What is given up again by being retried is not retried in a circle.
    assert UNSURE.ended_at < first["filter"].pop("ended_before") < UNSURE.ended_at + 0.001
    assert first == {"action": "retry", "note": "it is back", "filter": {"channel": "telegram"}}


def test_a_bulk_without_a_terminal_wants_yes(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("GET", PATH, page(POISON))
    daemon.on("POST", PATH, bulk(1))
    code, _, err = ctl("dead-letters", "drop", "--all")
    assert (code, err) == (64, "gatewayctl: Drop 1 dead letter? There is no terminal for the answer: confirm with --yes.\n")
    assert orders(daemon) == []
    code, out, err = ctl("dead-letters", "drop", "--all", "--yes", "--json")
    assert (code, json.loads(out), err) == (0, {"done": 1, "skipped": []}, "")


def test_a_bulk_takes_what_is_old_enough(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("GET", PATH, page(UNSURE, POISON))
    daemon.on("POST", PATH, bulk(1))
    assert ctl("dead-letters", "drop", "--all", "--older-than", "1h", "--yes").out.startswith(
        "1 dead letter: 1 message given up\n"
    )
    assert ctl("dead-letters", "drop", "--all", "--older-than", "2 d", "--yes") == (0, "no dead letters fit\n", "")
    assert len(orders(daemon)) == 1


def test_a_bulk_that_does_not_get_on_ends(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("GET", PATH, page(POISON))
    daemon.on("POST", PATH, bulk(0, ("in-12", "no agent answers there"), more=True))
    code, out, err = ctl("dead-letters", "retry", "--all", "--yes")
    assert (code, out.splitlines()[-1]) == (1, "0 of 1 dead letter retried, 1 skipped")
    assert err == "  skipped: in-12: no agent answers there\n"
    assert len(orders(daemon)) == 2


@pytest.mark.parametrize("cut", ["interrupted", "draining"])
def test_what_is_cut_says_how_far_it_got(daemon: FakeGatewayd, ctl: Ctl, cut: str) -> None:
    daemon.on("GET", PATH, page(UNSURE, POISON))
    daemon.on("POST", PATH, bulk(1, more=True), error(503, "draining", "stopping"))
    answer_to = daemon.answer_to

    def answer(asked: Asked) -> Answer:
        if cut == "interrupted" and len(orders(daemon)) == 1:
            signal.raise_signal(signal.SIGINT)
        return answer_to(asked)

    daemon.answer_to = answer  # type: ignore[method-assign]  # Ctrl-C while the second call is under way
    code, out, err = ctl("dead-letters", "drop", "--all", "--yes")
    assert code == (130 if cut == "interrupted" else 1)
    assert out.endswith("  1 of 2 dead letters dropped …\n")
    assert (
        "stopped: 1 of 2 dead letters dropped so far. The running request may have succeeded. See: gatewayctl dead-letters list\n"
        in err
    )


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["retry"], "Which dead letters?"),
        (["drop", "in-1", "--all"], "not both"),
        (["retry", "in-1", "--state", "dead"], "Filters go with --all"),
        (["retry", "in-1", "--older-than", "1h"], "Filters go with --all"),
        (["drop", "--all", "--older-than", "soon"], "is no age"),
        (["drop", "in-1", "in-0", "--yes"], "'in-0' is not in-NUMBER or out-NUMBER, so nothing was done"),
        (["list", "--state", "sent"], "Invalid value for '--state': 'sent' is not one of 'dead', 'unknown', 'parked'."),
        (["show", "foo"], "'foo' is not in-NUMBER or out-NUMBER."),
        (["show", ""], "'' is not in-NUMBER or out-NUMBER."),
        (["drop", "in-1", "--note", "x" * 2001], "--note is too long: 2001 characters, and 2000 are allowed."),
    ],
)
def test_what_makes_no_sense_is_64(ctl: Ctl, args: list[str], said: str) -> None:
    code, out, err = ctl("dead-letters", *args)
    assert (code, out) == (64, "")
    assert said in err
