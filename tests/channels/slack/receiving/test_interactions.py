"""Presses, shortcuts and slash commands to envelopes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.channels.slack.receiving.inbound import Read
from gatewayd.kit.json import Malformed
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from tests.channels.slack.receiving.reading import ALICE, BOB, DIRECT, NOW, PLACE, TEAM, TS, US, callback, receiver_of, said

URL = "https://hooks.slack.com/actions/T01/1/secret"
PRESSED = "1700000060.123456"
ROOT = "1699999000.000100"


def press(**fields: Any) -> dict[str, Any]:
    """A block_actions payload."""
    return {
        "type": "block_actions",
        "user": {"id": ALICE, "username": "alice", "name": "alice", "team_id": TEAM},
        "api_app_id": "A0APP",
        "token": "verification-token",
        "container": {"type": "message", "message_ts": TS, "channel_id": PLACE, "is_ephemeral": False},
        "trigger_id": "1.2.abc",
        "team": {"id": TEAM, "domain": "home"},
        "channel": {"id": PLACE, "name": "general"},
        "message": {"type": "message", "ts": TS, "user": US, "bot_id": "B0BOT", "text": "may I?"},
        "response_url": URL,
        "actions": [{"action_id": "choice-0-0", "block_id": "b", "type": "button", "value": "ap:1:once", "action_ts": PRESSED}],
        **fields,
    }


def shortcut(**fields: Any) -> dict[str, Any]:
    return {
        "type": "shortcut",
        "token": "verification-token",
        "action_ts": PRESSED,
        "team": {"id": TEAM, "domain": "home"},
        "user": {"id": ALICE, "username": "alice", "team_id": TEAM},
        "callback_id": "status",
        "trigger_id": "1.2.abc",
        **fields,
    }


def on_message(**fields: Any) -> dict[str, Any]:
    message = said("do &amp; see\nthis", user=BOB)
    extra = {"type": "message_action", "channel": {"id": PLACE, "name": "general"}, "message_ts": TS, "response_url": URL}
    return shortcut(**extra) | {"message": {name: message[name] for name in ("type", "user", "text", "ts", "team")}} | fields


COMMAND = {
    "token": "verification-token",
    "team_id": TEAM,
    "team_domain": "home",
    "channel_id": PLACE,
    "channel_name": "general",
    "user_id": ALICE,
    "user_name": "alice",
    "command": "/ask",
    "text": "how are &lt;you&gt;?",
    "api_app_id": "A0APP",
    "is_enterprise_install": "false",
    "response_url": URL,
    "trigger_id": "13345224609.738474920.8088930838d88f008e0",
}


def read(payload: dict[str, Any]) -> Read:
    return receiver_of().interaction(json.dumps(payload).encode())


def one(found: Read) -> InboundEnvelope:
    assert found.ignored is None
    (envelope,) = found.envelopes
    return envelope


def test_a_press() -> None:
    assert one(read(press())) == InboundEnvelope(
        channel="slack",
        account="main",
        event_key=f"{TEAM}:{PLACE}:{TS}:{ALICE}:{PRESSED}",
        kind="button",
        peer=Peer("group", PLACE),
        sender=Sender(ALICE, "alice"),
        text="ap:1:once",
        message_id=f"{PLACE}:{TS}",
        addressed=True,
        team=TEAM,
        sent_at=1_700_000_060.123456,
        received_at=NOW,
        press=f"{ALICE}:{PRESSED}",
    )


def test_a_press_in_a_thread_and_in_a_direct_message() -> None:
    container = {"type": "message", "message_ts": TS, "channel_id": PLACE}
    assert one(read(press(container={**container, "thread_ts": ROOT}))).peer == Peer("group", PLACE, ROOT)
    assert one(read(press(message={"ts": TS, "thread_ts": ROOT}))).peer == Peer("group", PLACE, ROOT)
    assert one(read(press(message={"ts": TS, "thread_ts": TS}))).peer == Peer("group", PLACE)
    assert one(read(press(channel={"id": DIRECT}))).peer == Peer("dm", ALICE)


def test_a_press_under_what_only_one_person_sees() -> None:
    """The message is not in the payload, but its ts is."""
    payload = press(container={"type": "message", "message_ts": TS, "channel_id": PLACE, "is_ephemeral": True})
    del payload["message"], payload["channel"]
    assert one(read(payload)).message_id == f"{PLACE}:{TS}"


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (press(actions=[]), "no button"),
        (press(actions=[{"type": "button", "action_ts": PRESSED, "url": "https://example.org"}]), "no button"),
        (press(actions=[{"type": "static_select", "selected_option": {"value": "a"}, "action_ts": PRESSED}]), "no button"),
        (press(container={"type": "view", "view_id": "V01"}, channel=None), "in a modal"),
        ({"type": "view_submission", "user": {"id": ALICE}}, "view_submission"),
        ({"type": "view_closed", "user": {"id": ALICE}}, "view_closed"),
        ({"type": "block_suggestion", "user": {"id": ALICE}}, "block_suggestion"),
    ],
)
def test_what_is_no_press_of_ours(payload: dict[str, Any], why: str) -> None:
    found = read(payload)
    assert not found.envelopes
    assert why in (found.ignored or "")


def test_a_shortcut_on_a_message() -> None:
    envelope = one(read(on_message()))
    assert (envelope.kind, envelope.addressed) == ("command", True)
    assert envelope.text == f"/status\n[a message of {BOB}:]\n> do & see\n> this"
    assert envelope.peer == Peer("group", PLACE, TS)
    assert envelope.answer_with == URL
    assert envelope.event_key == f"{TEAM}:{PLACE}:{ALICE}:{PRESSED}"
    assert URL not in repr(envelope)


def test_where_a_shortcut_on_a_message_is_answered() -> None:
    def place(payload: dict[str, Any], **settings: Any) -> Peer:
        return one(receiver_of(**settings).interaction(json.dumps(payload).encode())).peer

    in_thread = {**on_message()["message"], "thread_ts": ROOT}
    assert place(on_message(), replies="channel") == Peer("group", PLACE)
    assert place(on_message(channel={"id": DIRECT})) == Peer("dm", ALICE)
    assert place(on_message(message=in_thread), replies="channel") == Peer("group", PLACE, ROOT)


def test_a_global_shortcut_is_answered_in_a_direct_message() -> None:
    envelope = one(read(shortcut()))
    assert (envelope.text, envelope.peer, envelope.answer_with) == ("/status", Peer("dm", ALICE), None)


@pytest.mark.parametrize("as_form", [False, True])
def test_a_slash_command(as_form: bool) -> None:
    payload = COMMAND if as_form else json.dumps(COMMAND).encode()
    assert one(receiver_of().command(payload)) == InboundEnvelope(
        channel="slack",
        account="main",
        event_key=f"{TEAM}:{PLACE}:{ALICE}:{COMMAND['trigger_id']}",
        kind="command",
        peer=Peer("group", PLACE),
        sender=Sender(ALICE, "alice"),
        text="/ask how are <you>?",
        addressed=True,
        team=TEAM,
        received_at=NOW,
        answer_with=URL,
    )


def test_a_slash_command_without_arguments_in_a_direct_message() -> None:
    envelope = one(receiver_of().command({**COMMAND, "text": "", "channel_id": DIRECT}))
    assert (envelope.text, envelope.peer) == ("/ask", Peer("dm", ALICE))


def test_what_is_asked_for_in_a_direct_message_of_two_people_is_answered_in_that_of_the_bot() -> None:
    """Slack does not say whose direct message it is, and shows there what is answered by the response_url."""
    assert one(receiver_of().command({**COMMAND, "channel_id": DIRECT})).answer_with is None
    in_thread = {**on_message()["message"], "thread_ts": ROOT}
    envelope = one(read(on_message(message=in_thread, channel={"id": DIRECT})))
    assert (envelope.peer, envelope.answer_with) == (Peer("dm", ALICE), None)
    receiver = receiver_of()
    receiver.event(callback(said("hello", channel=DIRECT, channel_type="im")))
    envelope = one(receiver.interaction(json.dumps(on_message(message=in_thread, channel={"id": DIRECT})).encode()))
    assert envelope.peer == Peer("dm", ALICE, ROOT), "that is the bot's own"


@pytest.mark.parametrize("missing", ["user_id", "channel_id", "trigger_id", "command"])
def test_a_command_of_nobody_is_malformed(missing: str) -> None:
    with pytest.raises(Malformed):
        receiver_of().command({name: value for name, value in COMMAND.items() if name != missing})


@pytest.mark.parametrize("payload", [press(user={}), press(user=None), shortcut(action_ts=None), {"type": 3}, {}])
def test_an_interaction_of_nobody_is_malformed(payload: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        read(payload)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@given(st.sampled_from([press(), on_message(), shortcut()]), st.data())
def test_any_value_in_place_of_any_field(payload: dict[str, Any], data: st.DataObject) -> None:
    odd = payload | {data.draw(st.sampled_from(sorted(payload))): data.draw(json_values)}
    try:
        found = read(odd)
    except Malformed:
        return
    assert bool(found.envelopes) == (found.ignored is None)


@given(st.dictionaries(st.sampled_from(sorted(COMMAND)), json_values))
def test_any_value_in_place_of_a_field_of_a_command(odd: dict[str, Any]) -> None:
    try:
        found = receiver_of().command(json.dumps(COMMAND | odd).encode())
    except Malformed:
        return
    assert len(found.envelopes) == 1
