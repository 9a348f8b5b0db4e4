"""The body around an event (docs.slack.dev/apis/events-api/#callback-field), and which events an app gets."""

import secrets
from collections.abc import Callable

from tests.fakes.slack_platform.delivery.deliveries import Deliveries, Delivery
from tests.fakes.slack_platform.errors import Json
from tests.fakes.slack_platform.workspace import APP, BOT_USER, TEAM, Channel

VERIFICATION_TOKEN = "deprecated-verification-token"
MENTION = f"<@{BOT_USER}>"


class Events:
    """Turns what happens in the workspace into payloads for the app: only of conversations that its bot is in."""

    def __init__(self, deliveries: Deliveries, now: Callable[[], float]) -> None:
        self._deliveries = deliveries
        self._now = now
        self.sent: list[Json] = []

    def publish(self, channel: Channel, event: Json) -> None:
        """An event of a conversation; a mention of the bot becomes two, app_mention and message, with two event_ids.

        No app_mention in a DM, and none of the bot's own words (docs.slack.dev/reference/events/app_mention).
        """
        if BOT_USER not in channel.members:
            return
        shown = event | {"channel": channel.id, "event_ts": event.get("event_ts", event["ts"])}
        if event["type"] == "message":
            if self._mentions(channel, event):
                self.body({name: value for name, value in shown.items() if name != "subtype"} | {"type": "app_mention"}, channel)
            shown["channel_type"] = channel.kind
        self.body(shown, channel)
        edited = event.get("message", {}) if event.get("subtype") == "message_changed" else {}
        if self._mentions(channel, edited) and MENTION not in event["previous_message"].get("text", ""):
            # An edit that adds a mention gives an app_mention of the old ts, with "edited" (slack-go/slack, pull request 1256).
            self.body(edited | {"type": "app_mention", "channel": channel.id, "event_ts": event["ts"]}, channel)

    def _mentions(self, channel: Channel, event: Json) -> bool:
        own = event.get("user") == BOT_USER or event.get("app_id") == APP
        plain = event.get("subtype") in {None, "file_share", "thread_broadcast", "bot_message"}
        return channel.kind != "im" and plain and not own and MENTION in event.get("text", "")

    def body(self, event: Json, channel: Channel | None = None) -> Delivery:
        """Deliver one event in its body."""
        shared = channel is not None and bool(channel.shared_with)
        body: Json = {
            "token": VERIFICATION_TOKEN,
            "team_id": TEAM,
            "context_team_id": TEAM,
            "context_enterprise_id": None,
            "api_app_id": APP,
            "event": event,
            "type": "event_callback",
            "event_id": "Ev0" + secrets.token_hex(4).upper(),
            "event_time": int(self._now()),
            "authorizations": [
                {"enterprise_id": None, "team_id": TEAM, "user_id": BOT_USER, "is_bot": True, "is_enterprise_install": False}
            ],
            "is_ext_shared_channel": shared,
            "event_context": "4-" + secrets.token_urlsafe(24),
        }
        self.sent.append(body)
        return self._deliveries.add(Delivery("events_api", body))
