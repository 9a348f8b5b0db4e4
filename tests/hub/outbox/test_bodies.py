"""Texts as messages of a channel: in its size, as its wire counts it."""

import pytest
from structlog.testing import capture_logs

from gatewayd.hub.outbox.bodies import bodies_of
from gatewayd.model.message.payload import RichText
from gatewayd.ports.channel import ChannelPlugin, TextLimit


def twice(body: RichText) -> int:
    return 2 * len(body.text)


def fails(body: RichText) -> int:
    raise KeyError(body.text)


def no_number(body: RichText) -> str:
    return body.text


def plugin(wire_size: str | None) -> ChannelPlugin:
    limit = TextLimit(10, "chars")
    return ChannelPlugin("chat", "Chat", settings="", open="", text_format="plain", text_limit=limit, wire_size=wire_size)


def test_the_wire_counts() -> None:
    assert [body.text for body in bodies_of("x" * 10, plugin(None))] == ["x" * 10]
    assert [body.text for body in bodies_of("x" * 10, plugin(f"{__name__}:twice"))] == ["x" * 5, "x" * 5]
    assert bodies_of(" ", plugin(f"{__name__}:twice")) == []


@pytest.mark.parametrize("reference", [f"{__name__}:fails", f"{__name__}:no_number", f"{__name__}:missing", "no.such:thing", "-"])
def test_a_measure_that_fails_costs_no_text_and_is_logged(reference: str) -> None:
    with capture_logs() as logs:
        assert [body.text for body in bodies_of("x" * 15, plugin(reference))] == ["x" * 10, "x" * 5]
    assert [(line["event"], line["log_level"], line["channel"]) for line in logs] == [("wire_size_failed", "error", "chat")]
