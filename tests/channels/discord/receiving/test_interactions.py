"""Presses and commands to envelopes."""

from typing import Any

import pytest

from gatewayd.channels.discord.receiving.inbound import MOST_TOKENS
from gatewayd.channels.discord.sending.components import data_of
from gatewayd.kit.json import Malformed
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from tests.channels.discord.receiving.reading import (
    ALICE,
    APP,
    AT,
    BOB,
    DIRECT,
    GUILD,
    ID,
    PLACE,
    THREAD,
    channel_of,
    id_at,
    ignored,
    one,
    raw,
    receiver_of,
    said,
    user_of,
)

CARD = id_at(AT - 60)
NAME = "INTERACTION_CREATE"


def interaction(data: dict[str, Any], kind: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": ID,
        "application_id": APP,
        "type": kind,
        "token": "aW50ZXJhY3Rpb24",
        "version": 1,
        "data": data,
        "guild_id": GUILD,
        "channel_id": PLACE,
        "channel": channel_of(PLACE, guild_id=GUILD),
        "member": {"user": user_of(ALICE), "roles": [], "nick": None},
        "context": 0,
        **fields,
    }


def press(custom_id: str, **fields: Any) -> dict[str, Any]:
    message = {"id": CARD, "channel_id": fields.get("channel_id", PLACE), "content": "May I?"}
    return interaction({"custom_id": custom_id, "component_type": 2}, 3, message=message, **fields)


def command(name: str = "ask", **fields: Any) -> dict[str, Any]:
    options = fields.pop("options", [])
    return interaction({"id": "1", "name": name, "type": 1, "options": options, **fields.pop("data", {})}, 2, **fields)


def in_direct_message(event: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in event.items() if name not in ("guild_id", "member")}
    return kept | {"channel_id": DIRECT, "channel": channel_of(DIRECT, 1), "user": user_of(ALICE), "context": 1}


def test_a_press() -> None:
    envelope = one(press("0/ap:7:once"), name=NAME)
    assert envelope == InboundEnvelope(
        channel="discord",
        account="main",
        event_key=f"interaction:{ID}",
        kind="button",
        peer=Peer("group", PLACE),
        sender=Sender(ALICE, "alice", "alice"),
        text=data_of("0/ap:7:once"),
        message_id=f"{PLACE}:{CARD}",
        addressed=True,
        guild=GUILD,
        sent_at=AT,
        received_at=envelope.received_at,
        press=ID,
    )


def test_a_choice_in_a_menu_is_a_press_of_what_was_chosen() -> None:
    event = press("menu")
    event["data"] = {"custom_id": "menu", "component_type": 3, "values": ["0/qu:1:2"]}
    assert one(event, name=NAME).text == data_of("0/qu:1:2")


def test_a_command_is_as_if_it_was_written_and_its_token_is_a_secret() -> None:
    options = [{"name": "text", "type": 3, "value": "how are you"}, {"name": "loud", "type": 5, "value": True}]
    envelope = one(command(options=options), name=NAME)
    assert (envelope.kind, envelope.text, envelope.addressed) == ("command", "/ask how are you true", True)
    assert envelope.answer_with == f"{APP}:aW50ZXJhY3Rpb24"
    assert "aW50ZXJhY3Rpb24" not in repr(envelope)


def test_a_subcommand_and_a_command_on_a_message() -> None:
    nested = [{"name": "add", "type": 1, "options": [{"name": "n", "type": 4, "value": 3}]}]
    assert one(command("list", options=nested), name=NAME).text == "/list add 3"
    target = {"resolved": {"messages": {"5": said("one\ntwo", user=BOB, id="5")}}, "target_id": "5", "type": 3}
    text = one(command("Sum up", data=target), name=NAME).text
    assert text == "/Sumup\n[a message of alice:]\n> one\n> two"


def test_where_it_happened() -> None:
    thread = channel_of(THREAD, 11, parent_id=PLACE, guild_id=GUILD)
    unknown = receiver_of(knows=False)
    assert one(command(channel=thread, channel_id=THREAD), unknown, NAME).peer == Peer("group", PLACE, THREAD)
    direct = one(in_direct_message(command()), unknown, NAME)
    assert (direct.peer, direct.guild) == (Peer("dm", ALICE), None)


@pytest.mark.parametrize(
    "event",
    [
        press("x") | {"application_id": "1"},
        press("x") | {"type": 4},
        press("x") | {"type": 5},
        press("x") | {"message": None},
        press("") | {},
        press("x") | {"data": {"custom_id": "x", "component_type": 5, "values": ["1"]}},
        command() | {"context": 2},
        command() | {"guild_id": None, "channel": channel_of("5", 3), "user": user_of(ALICE)},
    ],
)
def test_what_is_not_ours_is_ignored(event: dict[str, Any]) -> None:
    assert ignored(event, name=NAME)


@pytest.mark.parametrize(
    "fields",
    [
        {"member": None, "user": None},
        {"channel": None, "channel_id": None},
        {"id": "abc"},
        {"member": {"user": user_of("a:b")}},
    ],
)
def test_who_did_what_where_has_to_be_said(fields: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        receiver_of().interaction(raw(command() | fields))


def test_the_tokens_of_the_newest_are_known() -> None:
    receiver = receiver_of()
    for number in range(MOST_TOKENS + 5):
        receiver.interaction(raw(command(id=id_at(AT, number))))
    assert len(receiver.tokens) == MOST_TOKENS
    assert id_at(AT) not in receiver.tokens
    assert receiver.tokens[id_at(AT, MOST_TOKENS + 4)] == "aW50ZXJhY3Rpb24"
