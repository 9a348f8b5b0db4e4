"""What sends for one account, against the fake Slack."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from msgspec import Struct

from gatewayd.channels.slack.api import SlackApi
from gatewayd.channels.slack.sending.outbound import Sender
from gatewayd.channels.slack.settings import SlackSettings
from gatewayd.channels.slack.wire.answers import AuthTest
from gatewayd.kit.http import create_client
from gatewayd.kit.text.markdown import render
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import EditText, Receipt, SendText
from gatewayd.model.secret import Secret
from gatewayd.testing.channel_contract import Services
from tests.fakes.slack_platform import BOT, BOT_USER, TEAM, FakeSlack, Json

EPOCH = 1_800_000_000.0
ME = AuthTest(team_id=TEAM, user_id=BOT_USER, bot_id=BOT)


def now() -> float:
    """Unix seconds of the fake clock, ours and Slack's."""
    return EPOCH + trio.current_time()


class Rig(Struct):
    """``general`` is a channel that alice and the bot are in, ``asked`` a message of hers there, which a thread begins with."""

    slack: FakeSlack
    services: Services
    sender: Sender
    alice: str
    general: str
    asked: str

    @property
    def peer(self) -> Peer:
        return Peer("group", self.general)

    @property
    def thread(self) -> Peer:
        return Peer("group", self.general, self.asked)

    @property
    def direct(self) -> Peer:
        return Peer("dm", self.alice)

    @property
    def reply_to(self) -> str:
        return f"{self.general}:{self.asked}"

    async def send(self, text: str = "hello", peer: Peer | None = None, *, key: str = "k", **more: Any) -> Receipt:
        return await self.sender.send(SendText(peer or self.thread, render(text), **more), key=key)

    async def edit(self, receipt: Receipt, text: str, **more: Any) -> Receipt:
        return await self.sender.edit(EditText(self.thread, render(text), of=1, message_id=receipt.message_id, **more))

    async def grow(self, receipt: Receipt, text: str) -> None:
        assert receipt.message_id is not None
        await self.sender.grow(self.thread, receipt.message_id, render(text))

    async def find(
        self, peer: Peer | None = None, *, since: float, text: str = "hello", key: str = "k", **more: Any
    ) -> Receipt | None:
        return await self.sender.find_sent(SendText(peer or self.thread, render(text), **more), key=key, since=since)

    def restarted(self, *, streaming: bool = False) -> "Rig":
        """The same account in another life of the process."""
        sender = sender_for(self.slack, self.services, streaming=streaming)
        return Rig(self.slack, self.services, sender, self.alice, self.general, self.asked)

    def command_url(self) -> str:
        """The response_url of a command that alice has used in the channel."""
        url: str = self.slack.command(self.alice, self.general, "/ask").payload["response_url"]
        return url

    def message(self, receipt: Receipt) -> Json:
        """What Slack has of a message."""
        channel, _, ts = (receipt.message_id or "").partition(":")
        return next(one for one in self.slack.messages(channel) if one["ts"] == ts)


def sender_for(slack: FakeSlack, services: Services, *, streaming: bool = False, link_previews: bool = False) -> Sender:
    settings = SlackSettings(bot_token=Secret(slack.bot_token), api_base=slack.api_base, request_timeout_seconds=10)
    return Sender(SlackApi(services.http, settings), services, lambda: ME, streaming=streaming, link_previews=link_previews)


@asynccontextmanager
async def sending(*, streaming: bool = False, link_previews: bool = False) -> AsyncIterator[Rig]:
    async with FakeSlack.serve(now=now) as slack, create_client() as http:
        services = Services(http)
        sender = sender_for(slack, services, streaming=streaming, link_previews=link_previews)
        alice = slack.add_user("alice")
        general = slack.add_channel("general", [alice])
        yield Rig(slack, services, sender, alice, general, slack.say(alice, general, "a question"))
