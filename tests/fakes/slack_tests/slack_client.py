"""An app made with slack_bolt and slack_sdk, run by test_judges.py as a process.

Usage: slack_client.py socket <api base> <bot token> <app token> | http <api base> <bot token> <signing secret>. It prints a line
of JSON for each thing it sees; "http" begins with its port.
"""

import json
import sys
import threading
import time
from typing import Any

from slack_bolt import App
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_bolt.app.app import SlackAppDevelopmentServer
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_handlers import RateLimitErrorRetryHandler

GROWING = "word " * 40


def tell(**seen: Any) -> None:
    sys.stdout.write(json.dumps(seen) + "\n")
    sys.stdout.flush()


def app_of(client: WebClient, signing_secret: str) -> App:
    app = App(client=client, signing_secret=signing_secret, raise_error_for_unhandled_request=False)

    @app.event("app_mention")
    def mentioned(event: dict[str, Any], say: Any) -> None:
        answer = say(text="working", thread_ts=event["ts"])
        client.chat_update(channel=event["channel"], ts=answer["ts"], text="ready")
        button = {"type": "button", "text": {"type": "plain_text", "text": "Yes"}, "action_id": "yes", "value": "1"}
        say(text="may I?", thread_ts=event["ts"], blocks=[{"type": "actions", "elements": [button]}])
        tell(mention=event["text"], by=event["user"])

    @app.event("message")
    def said(event: dict[str, Any], context: Any) -> None:
        tell(message=event.get("text"), subtype=event.get("subtype"), kind=event.get("channel_type"))

    @app.action("yes")
    def pressed(ack: Any, body: dict[str, Any], respond: Any) -> None:
        ack()
        respond(text="pressed", replace_original=True)
        tell(pressed=body["actions"][0]["value"], by=body["user"]["id"])

    @app.command("/ask")
    def commanded(ack: Any, command: dict[str, Any], respond: Any) -> None:
        ack("one moment")
        respond(text="done", response_type="in_channel")
        tell(command=command["text"])

    return app


def use_web_api(client: WebClient, channel: str, user: str, root: str) -> None:
    """What an app does without being asked: stream, upload, page, meet limits and refusals."""
    stream = client.chat_stream(
        channel=channel,
        thread_ts=root,
        recipient_team_id=str(client.auth_test()["team_id"]),
        recipient_user_id=user,
        buffer_size=50,
    )
    for word in GROWING.split():
        stream.append(markdown_text=word + " ")
    stopped = stream.stop()
    tell(streamed=stopped["message"]["text"].strip() == GROWING.strip())
    uploaded = client.files_upload_v2(
        channel=channel, content="the text of a file", filename="a.txt", initial_comment="see", thread_ts=root
    )
    tell(uploaded=uploaded["file"]["name"])
    pages = [page["messages"] for page in client.conversations_history(channel=channel, limit=2)]
    order = [message["ts"] for page in pages for message in page]
    tell(pages=[len(page) for page in pages], newest_first=order == sorted(order, reverse=True))
    replies = client.conversations_replies(channel=channel, ts=root, limit=200)
    tell(replies=[one["text"][:12].strip() for one in replies["messages"]])
    names = [
        channel["name"] for page in client.users_conversations(types="public_channel", limit=1) for channel in page["channels"]
    ]
    tell(mine=names, me=client.bots_info(bot=str(client.auth_test()["bot_id"]))["bot"]["name"])
    client.reactions_add(channel=channel, timestamp=root, name="eyes")
    client.assistant_threads_setStatus(channel_id=channel, thread_ts=root, status="is thinking")
    tell(dm=client.conversations_open(users=[user])["channel"]["id"][0])
    tell(ephemeral="message_ts" in client.chat_postEphemeral(channel=channel, user=user, text="only you").data)
    for wrong in (
        {"text": "x", "channel": "C0NONE"},
        {"text": "", "channel": channel},
        {"blocks": [{"type": "section"}], "channel": channel},
    ):
        try:
            client.api_call("chat.postMessage", json=wrong)
        except SlackApiError as error:
            tell(error=error.response["error"], messages=error.response.get("response_metadata", {}).get("messages"))


def meet_limit(client: WebClient, channel: str) -> None:
    """A call that is answered by 429 first."""
    started = time.monotonic()
    client.retry_handlers.append(RateLimitErrorRetryHandler(max_retry_count=1))
    answer = client.chat_postMessage(channel=channel, text="after the limit")
    tell(after_limit=answer["ok"], waited=time.monotonic() - started >= 1)


def main() -> None:
    mode, api_base, token, secret = sys.argv[1:5]
    client = WebClient(token=token, base_url=api_base + "/")
    if mode == "socket":
        handler = SocketModeHandler(app_of(client, "unused"), secret, web_client=WebClient(base_url=api_base + "/"))
        handler.connect()  # type: ignore[no-untyped-call]
        tell(connected=True)
    else:
        development = SlackAppDevelopmentServer(0, "/slack/events", app_of(client, secret), http_server_logger_enabled=False)
        web = development._server
        threading.Thread(target=web.serve_forever, daemon=True).start()
        tell(port=web.server_address[1])
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["do"] == "web_api":
            use_web_api(client, asked["channel"], asked["user"], asked["root"])
        elif asked["do"] == "limit":
            meet_limit(client, asked["channel"])
        tell(done=asked["do"])


if __name__ == "__main__":
    main()
