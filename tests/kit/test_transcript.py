"""How a conversation reads: its lines in order, each as its newest edit has it."""

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.kit.transcript import ChatLine, lines_of
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.message.payload import Choice, EditText, RichText, SendText
from gatewayd.ports.store import TranscriptRow

ALICE: Final = Peer("dm", "alice")
YES: Final = ((Choice("Yes", "q:1:yes"), Choice("No", "q:1:no")),)


def heard(number: int, text: str, at: float = 1.0) -> TranscriptRow:
    envelope = InboundEnvelope("webchat", "main", f"key-{number}", "message", ALICE, Sender("alice"), text=text, received_at=at)
    return TranscriptRow(number, at, "done", envelope)


def sent(number: int, text: str, at: float = 2.0) -> TranscriptRow:
    return TranscriptRow(number, at, "sent", SendText(ALICE, RichText(text), choices=YES))


def edited(number: int, of: int, text: str, at: float = 3.0) -> TranscriptRow:
    return TranscriptRow(number, at, "ready", EditText(ALICE, RichText(text), of=of))


def test_messages_and_replies_are_lines_in_their_order() -> None:
    assert lines_of([heard(7, "do it"), sent(7, "Really?")]) == [
        ChatLine("in", 7, 1.0, "do it", "done", event_key="key-7"),
        ChatLine("out", 7, 2.0, "Really?", "sent", YES),
    ]
    assert lines_of([]) == []


def test_an_edit_takes_the_place_of_a_text_and_its_buttons() -> None:
    assert lines_of([sent(1, "Really?"), edited(2, 1, "Done.")]) == [ChatLine("out", 1, 2.0, "Done.", "sent", (), 2)]


def test_a_line_reads_as_its_newest_edit_has_it_however_a_clock_was_set() -> None:
    rows = [
        edited(5, 2, "two: no", at=0.5),
        sent(1, "one?"),
        sent(2, "two?"),
        edited(4, 1, "one: yes"),
        edited(3, 2, "two: maybe"),
    ]
    assert [(line.text, line.edit) for line in lines_of(rows)] == [("one: yes", 4), ("two: no", 5)]


def test_an_edit_of_what_is_not_among_the_rows_shows_nothing() -> None:
    assert [line.text for line in lines_of([heard(1, "one"), edited(3, 1, "taken over"), sent(2, "two")])] == ["one", "two"]


@st.composite
def transcripts(draw: st.DrawFn) -> list[TranscriptRow]:
    """Rows in any order: a number of the outbox is of one reply or edit."""
    makers = draw(st.lists(st.sampled_from(["in", "out", "edit"]), max_size=12))
    rows = list[TranscriptRow]()
    for number, kind in enumerate(makers, 1):
        if kind == "edit":
            rows.append(edited(number, draw(st.integers(1, 12)), f"edit {number}"))
        else:
            rows.append((heard if kind == "in" else sent)(number, f"text {number}"))
    return draw(st.permutations(rows))


@given(transcripts())
def test_each_message_and_reply_is_one_line_and_no_edit_of_it_is_lost(rows: list[TranscriptRow]) -> None:
    lines = lines_of(rows)
    shown = [row for row in rows if not isinstance(row.content, EditText)]
    assert [(line.id, line.at, line.direction == "in") for line in lines] == [
        (row.id, row.at, isinstance(row.content, InboundEnvelope)) for row in shown
    ]
    for line in lines:
        edits = [row.id for row in rows if isinstance(row.content, EditText) and row.content.of == line.id]
        newest = max(edits, default=0) if line.direction == "out" else 0
        assert line.edit == newest
        assert line.text == (f"edit {newest}" if newest else f"text {line.id}")
