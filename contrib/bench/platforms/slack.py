"""Slack, in Socket Mode, in direct messages."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from contrib.bench.platforms import Channels, Platform, Reply, Seen
from contrib.bench.processes import write_token
from tests.fakes.slack_platform import FakeSlack

MOST_AT_ONCE = 80
"""The driver sends a channel one message a second, with three at once, and a workspace twenty, with a hundred at once
(gatewayd/channels/slack/limits.py)."""


def slack_account(directory: Path, slack: FakeSlack, *more: str) -> str:
    """One account's table; ``more`` are further lines of TOML."""
    lines = [
        "[channels.slack.accounts.bench]",
        f'bot_token = {{ file = "{write_token(directory, "bot", slack.bot_token)}" }}',
        f'app_token = {{ file = "{write_token(directory, "app", slack.app_token)}" }}',
        f'api_base = "{slack.api_base}"',
        *more,
    ]
    return "\n".join(lines) + "\n"


def rest_seconds(replies: int, *, in_a_chat: int) -> float:
    """See ``Platform``."""
    return 0.5 + max(in_a_chat, replies / 20)


class Slack:
    alone_in = MOST_AT_ONCE
    most_at_once: int | None = MOST_AT_ONCE

    def __init__(self, slack: FakeSlack, nursery: trio.Nursery) -> None:
        self._slack = slack
        self._nursery = nursery
        self._people: list[tuple[str, str]] = []
        self._chats: dict[str, int] = {}

    def rest_seconds(self, replies: int, *, in_a_chat: int) -> float:
        return rest_seconds(replies, in_a_chat=in_a_chat)

    def account(self, directory: Path) -> str:
        return slack_account(directory, self._slack, 'dm_policy = "open"', 'allow_from = ["*"]')

    def baseline(self) -> Sequence[str]:
        slack = self._slack
        module = "contrib.bench.baselines.socket_and_send"
        return [sys.executable, "-m", module, slack.api_base, slack.bot_token, slack.app_token]

    async def wait_ready(self) -> None:
        await self._slack.wait_connections()

    def say(self, chat: int, text: str) -> None:
        while len(self._people) <= chat:
            person = self._slack.add_user(f"user{len(self._people)}")
            place = self._slack.dm(person)
            self._chats[place] = len(self._people)
            self._people.append((person, place))
        self._slack.say(*self._people[chat], text)

    def watch(self, seen: Seen) -> None:
        self._nursery.start_soon(self._watch, seen)

    async def _watch(self, seen: Seen) -> None:
        calls, read = self._slack.log, 0
        while True:
            for call in calls[read:]:
                if call.method == "chat.postMessage":
                    seen(self._chats[call.params["channel"]], Reply(call.params["text"], call.at, is_taken=True))
            read = len(calls)
            await self._slack.wait_until(partial(_is_longer, calls, read))


def _is_longer(calls: Sequence[object], read: int) -> bool:
    return len(calls) > read


@asynccontextmanager
async def open_slack() -> AsyncIterator[Platform]:
    async with FakeSlack.serve() as slack, trio.open_nursery() as nursery:
        yield Slack(slack, nursery)
        nursery.cancel_scope.cancel()


class SlackChannels:
    """Each mention opens a thread."""

    def __init__(self, slack: FakeSlack) -> None:
        self._slack = slack

    def account(self, directory: Path) -> str:
        return slack_account(directory, self._slack, 'groups = ["*"]')

    async def talk(self, channels: int) -> None:
        slack = self._slack
        alice = slack.add_user("alice")
        for first in range(0, channels, MOST_AT_ONCE):
            some = range(first, min(first + MOST_AT_ONCE, channels))
            for number in some:
                slack.say(alice, slack.add_channel(f"channel{number}", [alice]), f"<@{slack.bot_user}> hello")
            await trio.sleep(rest_seconds(len(some), in_a_chat=1))
        await slack.wait_call("chat.postMessage", count=channels)


@asynccontextmanager
async def open_slack_channels() -> AsyncIterator[Channels]:
    async with FakeSlack.serve() as slack:
        yield SlackChannels(slack)
