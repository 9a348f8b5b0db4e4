"""Payloads as Slack sends them, and a receiver that reads them. The shapes are those of docs.slack.dev, and of logs in public."""

import json
from typing import Any

import httpx2

from gatewayd.channels.slack.api import SlackApi
from gatewayd.channels.slack.receiving.inbound import Bot, Read, Receiver
from gatewayd.channels.slack.receiving.people import People
from gatewayd.channels.slack.receiving.threads import SlackState
from gatewayd.channels.slack.settings import SlackSettings
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.model.secret import Secret
from gatewayd.ports.channel import AccountConfig

TEAM, US, ALICE, BOB = "T01", "U0BOT", "U0ALICE", "U0BOB"
BOT = Bot(TEAM, US, bot_id="B0BOT", app_id="A0APP", name="gatebot")
NOW = 1_700_000_100.0
TS = "1700000000.000100"
EDITED = "1700000050.000000"
PLACE = "C0GENERAL"
DIRECT = "D0ALICE"


class NoState:
    """A store without anything in it, in which nothing is kept."""

    async def load(self, key: str) -> str | None:
        return None

    async def save(self, key: str, value: str) -> None: ...

    async def forget(self, key: str) -> None: ...


def settings_of(**fields: Any) -> SlackSettings:
    return SlackSettings(bot_token=Secret("xoxb-1"), **fields)


def receiver_of(state: SlackState | None = None, *, bot: Bot = BOT, **fields: Any) -> Receiver:
    """Nothing is looked up: People asks in the background only."""
    settings = settings_of(**fields)
    people = People(SlackApi(httpx2.AsyncClient(), settings), lambda: NOW)
    account = AccountConfig("slack", "main", settings)
    return Receiver(account, bot, settings, state or SlackState(NoState()), people, lambda: NOW)


def callback(event: dict[str, Any], /, **fields: Any) -> bytes:
    """The body around an event ("Events API", "Callback field overview")."""
    body = {
        "token": "verification-token",
        "team_id": TEAM,
        "context_team_id": TEAM,
        "api_app_id": "A0APP",
        "event": event,
        "type": "event_callback",
        "event_id": "Ev01",
        "event_time": 1_700_000_000,
        "authorizations": [
            {"enterprise_id": None, "team_id": TEAM, "user_id": US, "is_bot": True, "is_enterprise_install": False}
        ],
        "is_ext_shared_channel": False,
        **fields,
    }
    return json.dumps(body).encode()


def said(text: str = "hi", *, user: str = ALICE, channel: str = PLACE, ts: str = TS, **fields: Any) -> dict[str, Any]:
    """A message of a person, as an event."""
    kinds = {"D": "im", "C": "channel", "G": "group"}
    return {
        "client_msg_id": "9cbd4c5b-7ddf-4ede-b479-ad21fca66d63",
        "type": "message",
        "text": text,
        "user": user,
        "ts": ts,
        "team": TEAM,
        "channel": channel,
        "event_ts": ts,
        "channel_type": kinds[channel[0]],
        **fields,
    }


def mention(text: str = f"<@{US}> hi", **fields: Any) -> dict[str, Any]:
    """The same, as an app_mention, which has no channel_type."""
    event = said(text, **fields) | {"type": "app_mention"}
    return {name: value for name, value in event.items() if name != "channel_type"}


def changed(before: dict[str, Any], after: dict[str, Any], *, at: str = EDITED) -> dict[str, Any]:
    """A message_changed: the messages in it have no channel."""
    inner = {"channel", "event_ts", "channel_type"}
    return {
        "type": "message",
        "subtype": "message_changed",
        "hidden": True,
        "channel": before["channel"],
        "channel_type": before.get("channel_type"),
        "ts": at,
        "event_ts": at,
        "message": {name: value for name, value in after.items() if name not in inner},
        "previous_message": {name: value for name, value in before.items() if name not in inner},
    }


def edited(before: dict[str, Any], text: str, *, at: str = EDITED) -> dict[str, Any]:
    return changed(before, {**before, "text": text, "edited": {"user": before["user"], "ts": at}}, at=at)


def deleted(message: dict[str, Any], **fields: Any) -> dict[str, Any]:
    event = changed(message, message) | {"subtype": "message_deleted", "deleted_ts": message["ts"], **fields}
    return {name: value for name, value in event.items() if name != "message"}


def read(event: dict[str, Any], receiver: Receiver | None = None) -> Read:
    return (receiver or receiver_of()).event(callback(event))


def one(event: dict[str, Any], receiver: Receiver | None = None) -> InboundEnvelope:
    found = read(event, receiver)
    assert found.ignored is None, found.ignored
    (envelope,) = found.envelopes
    return envelope


def ignored(event: dict[str, Any], receiver: Receiver | None = None) -> str:
    found = read(event, receiver)
    assert not found.envelopes
    assert found.ignored is not None
    return found.ignored
