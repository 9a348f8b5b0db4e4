"""An app as the guide "Building an app with Bolt for Python" makes one, run by test_bolt.py as a process.

Usage: app.py <api base> <bot token> <app token>. It does what messages say: ``echo WORDS``, ``slow WORDS`` (after four seconds),
``parts`` (three messages), ``shout``. It prints a line of JSON for each event that a listener gets.
"""

import json
import sys
import threading
import time
from typing import Any

from slack_bolt import App
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_sdk import WebClient

SLOW_SECONDS = 4.0


def tell(**seen: Any) -> None:
    sys.stdout.write(json.dumps(seen) + "\n")
    sys.stdout.flush()


def do(event: dict[str, Any], say: Any) -> None:
    _, _, asked = event.get("text", "").rpartition("> ")
    verb, _, words = asked.partition(" ")
    tell(seen=event["type"], subtype=event.get("subtype"), asked=asked)
    match verb:
        case "echo":
            say(text=words)
        case "slow":
            time.sleep(SLOW_SECONDS)
            say(text=words)
        case "parts":
            say(text="part 1")
            tell(part=1)
            time.sleep(1)
            say(text="part 2")
            say(text="part 3")
        case "shout":
            say(text="<!channel> hello")


def main() -> None:
    api_base, bot_token, app_token = sys.argv[1:4]
    app = App(client=WebClient(token=bot_token, base_url=api_base + "/"))
    app.event("app_mention")(do)
    app.event("message")(do)
    handler = SocketModeHandler(app, app_token, web_client=WebClient(base_url=api_base + "/"))
    handler.connect()  # type: ignore[no-untyped-call]
    threading.Event().wait()


if __name__ == "__main__":
    main()
