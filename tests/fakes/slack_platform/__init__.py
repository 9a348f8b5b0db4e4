"""A fake Slack: the Web API, Socket Mode, the Events API, files and response_urls, on one real port on Trio.

In process::

    async with FakeSlack.serve() as slack:                       # mode="events": over HTTP instead of Socket Mode
        alice = slack.add_user("alice")
        general = slack.add_channel("general", [alice])          # the bot is in it
        …  # the driver: api_base=slack.api_base, slack.bot_token, slack.app_token, slack.signing_secret
        await slack.wait_connections()
        ts = slack.say(alice, general, f"<@{slack.bot_user}> hello")        # app_mention and message, one ts
        await slack.wait_text(general, "hello")
        slack.rate_limit("chat.postMessage", 30)                 # 429 until 30 s are over
        slack.refuse("chat.postMessage", "fatal_error", after=True)         # done, and yet an error
        slack.press(alice, general, slack.messages(general)[-1]["ts"], value="yes")
        await slack.wait_delivered()

In mode "events", ``slack.set_request_urls(url)`` says where the app listens. Channels, users and ts are strings. Messages are as
conversations.history gives them. All times are Trio's, so a MockClock moves retries, limits, streams and response_urls along.

As a process of its own: ``python -m tests.fakes.slack_platform --control``, driven by :class:`RemoteSlack`. Facts come from
docs.slack.dev and the sources of slack_sdk and bolt; each module names them where they matter.
"""

from tests.fakes.slack_platform.errors import Json, SlackError
from tests.fakes.slack_platform.platform import APP_TOKEN, BOT_TOKEN, SIGNING_SECRET, FakeSlack
from tests.fakes.slack_platform.remote import RemoteSlack
from tests.fakes.slack_platform.workspace import APP, BOT, BOT_USER, OTHER_TEAM, TEAM

__all__ = [
    "APP",
    "APP_TOKEN",
    "BOT",
    "BOT_TOKEN",
    "BOT_USER",
    "OTHER_TEAM",
    "SIGNING_SECRET",
    "TEAM",
    "FakeSlack",
    "Json",
    "RemoteSlack",
    "SlackError",
]
