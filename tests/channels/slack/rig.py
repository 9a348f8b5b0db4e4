"""A Slack account against the fake Slack, opened by its manifest as the hub does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from gatewayd.channels.slack.channel import SlackChannel, open_slack
from gatewayd.channels.slack.settings import SlackSettings
from gatewayd.kit.http import create_client
from gatewayd.model.secret import Secret
from gatewayd.ports.channel import AccountConfig
from gatewayd.testing.channel_contract import Journal, Services
from tests.fakes.slack_platform import FakeSlack, Json

WEBHOOK_URL = "https://bot.example.org/v1/webhooks/slack/main"


def now() -> float:
    """The clock of ``Services``: the platform's has to be the same."""
    return 1_800_000_000.0 + trio.current_time()


def account_of(slack: FakeSlack, *, mode: str = "socket", **settings: object) -> AccountConfig:
    fields: dict[str, object] = {"bot_token": Secret(slack.bot_token), "api_base": slack.api_base, "mode": mode}
    if mode == "socket":
        fields["app_token"] = Secret(slack.app_token)
    else:
        fields["signing_secret"] = Secret(slack.signing_secret)
    return AccountConfig(
        channel="slack",
        account="main",
        settings=SlackSettings(**{**fields, **settings}),  # type: ignore[arg-type]
        webhook_url=WEBHOOK_URL if mode == "events" else None,
    )


class Rig:
    """One open account. ``services`` is the hub's side, ``journal`` what was delivered, ``slack`` the platform."""

    def __init__(self, slack: FakeSlack, services: Services, channel: SlackChannel) -> None:
        self.slack = slack
        self.services = services
        self.channel = channel
        self.journal = Journal(services)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.channel.listen, self.journal)
            await self.services.is_connected.wait()
            yield
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def rig_for(slack: FakeSlack, *, kept: dict[str, str] | None = None, **settings: object) -> AsyncIterator[Rig]:
    """``kept`` is the state of an earlier rig: a restart."""
    async with create_client() as http:
        services = Services(http, kept)
        async with open_slack(account_of(slack, **settings), services) as channel:  # type: ignore[arg-type]
            yield Rig(slack, services, channel)


def plain_of(message: Json) -> str:
    """What a person reads in a message: the texts of its rich text, each part of it on lines of its own; without blocks, its
    ``text``."""
    parts = [part for block in message.get("blocks", ()) if block["type"] == "rich_text" for part in block["elements"]]
    if not parts:
        return str(message["text"]).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return "\n".join("".join(str(it.get("text", it.get("url", ""))) for it in part["elements"]) for part in parts)
