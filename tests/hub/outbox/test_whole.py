"""The texts of a reply as they read at its end."""

from gatewayd.hub.outbox.whole import whole_texts
from gatewayd.model.message.payload import EditText, OutboundPayload, RichText, SendFile, SendText
from gatewayd.ports.store import OutboundRow
from gatewayd.testing.store_contract.rows import ALICE


def rows(*payloads: OutboundPayload) -> list[OutboundRow]:
    return [
        OutboundRow(number, "telegram", "main", "dm:42", payload, "sent", 1, 20.0) for number, payload in enumerate(payloads, 1)
    ]


def text(words: str, *, grows: bool = False) -> SendText:
    return SendText(ALICE, RichText(words), grows=grows)


def texts(*payloads: OutboundPayload) -> list[str]:
    return [each.body.text for each in whole_texts(rows(*payloads))]


def test_the_end_of_a_growing_reply_stands_where_it_began() -> None:
    begun, end = text("be", grows=True), EditText(ALICE, RichText("beginning"), of=1)
    assert texts(begun, text("a notice"), end, text("and more")) == ["beginning", "a notice", "and more"]
    assert not any(each.grows for each in whole_texts(rows(begun, end)))


def test_a_beginning_is_no_text_while_it_grows_and_where_the_answer_came_anew() -> None:
    assert texts(text("be", grows=True)) == []
    assert texts(text("be", grows=True), text("beginning")) == ["beginning"]


def test_a_file_is_no_text() -> None:
    assert texts(text("look"), SendFile(ALICE, "ab" * 16, "plan.pdf", 10, caption=RichText("the plan"))) == ["look"]
