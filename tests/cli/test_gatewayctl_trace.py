"""trace: one message, with its times, the gaps between them, and the verdict."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from gatewayd.cli.ctl.output.trace_view import trace_lines
from gatewayd.model.records.trace import Trace, TraceEntry
from tests.cli.conftest import Ctl
from tests.cli.fake_gatewayd import NOW, FakeGatewayd, error, of

TRACE = Trace(
    id="telegram/main/12",
    found=("in-12", "out-7"),
    entries=(
        TraceEntry(NOW - 90_000, "received", "in-12", "came from telegram/main dm:4711", "please [red]crash\x1b[2J"),
        TraceEntry(NOW - 89_999.6, "turn_started", "in-12", "attempt 1 of turn-12"),
        TraceEntry(NOW - 89_960, "written", "out-7", "the reply was written"),
        TraceEntry(
            NOW - 89_961, "sending", "out-7", "on its way to telegram, for the first time, after a clock that was set back"
        ),
        TraceEntry(NOW, "unknown", "out-7", "cut off while sending"),
    ),
    verdict="The message was answered, and the reply may or may not have been seen.",
)


def test_a_trace_has_times_gaps_and_a_verdict(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("GET", "/v1/messages/telegram/main/12", of(TRACE))
    code, out, err = ctl("trace", "telegram/main/12")
    assert (code, err) == (0, "")
    assert (
        out
        == """\
telegram/main/12: in-12, out-7

2026-09-20
13:13:20            received: came from telegram/main dm:4711 (in-12)
                    please [red]crash
13:13:20  +0.4 s    turn started: attempt 1 of turn-12 (in-12)
13:14:00  +39 s     written: the reply was written (out-7)
13:13:59  -1.0 s    sending: on its way to telegram, for the first time, after a
                    clock that was set back (out-7)

2026-09-21
14:13:20  +1 d      unknown: cut off while sending (out-7)

The message was answered, and the reply may or may not have been seen.
"""
    )
    assert json.loads(ctl("trace", "telegram/main/12", "--json").out)["found"] == ["in-12", "out-7"]


@pytest.mark.parametrize("width", [20, 40, 59, 60, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = [line.plain for line in trace_lines(msgspec.structs.replace(TRACE, more=True), 0.0, width)]
    assert max(cell_len(line) for line in lines) <= width
    assert " ".join(" ".join(lines).split()).endswith("of its messages. " + TRACE.verdict)


@given(st.text(), st.floats(allow_nan=False, allow_infinity=False), st.integers(20, 120))
def test_foreign_text_neither_breaks_lines_nor_styles(text: str, at: float, width: int) -> None:
    entry = TraceEntry(at, "received", text, text, text)
    for line in trace_lines(Trace(text, (text,) * 20, (*TRACE.entries, entry), text), 0.0, width):
        assert cell_len(line.plain) <= width
        assert line.plain.isprintable()


def test_no_id_is_64(ctl: Ctl) -> None:
    code, out, err = ctl("trace", "")
    assert (code, out) == (64, "")
    assert "Which message?" in err


def test_what_is_not_known_is_said(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("GET", "/v1/messages/in-9", error(404, "not_found", "nothing is known of 'in-9'"))
    assert ctl("trace", "in-9") == (1, "", "gatewayctl: nothing is known of 'in-9' (404).\n")
