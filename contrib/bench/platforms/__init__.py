"""The networks of the end-to-end benchmark: their fakes in this process, and the people on them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from msgspec import Struct


class Reply(Struct, frozen=True):
    """What arrived at the network. ``at`` is Trio's clock at the receipt of the request."""

    text: str
    at: float
    is_taken: bool


Seen = Callable[[int, Reply], None]


class Platform(Protocol):
    """Chats are numbers from 0 on.

    ``alone_in`` is in how many chats a single person writes, in turn. ``most_at_once`` is how many replies the network takes at
    once. Its limits are in no figure.
    """

    alone_in: int
    most_at_once: int | None

    def rest_seconds(self, replies: int, *, in_a_chat: int) -> float:
        """The pause after so many replies, after which the network takes as many at once as before them."""
        ...

    def account(self, directory: Path) -> str:
        """The account's tables in gatewayd's configuration, with its secrets in ``directory``. Everybody may write to it."""
        ...

    def baseline(self) -> Sequence[str]:
        """The command of the least code that does the same work."""
        ...

    async def wait_ready(self) -> None:
        """Until somebody is there who gets what people write."""
        ...

    def say(self, chat: int, text: str) -> None:
        """A person writes."""
        ...

    def watch(self, seen: Seen) -> None:
        """``seen`` is called for each reply, with its chat."""
        ...


class Channels(Protocol):
    """A network with many channels."""

    def account(self, directory: Path) -> str:
        """As ``Platform.account``; everybody may write in every channel."""
        ...

    async def talk(self, channels: int) -> None:
        """A person mentions the bot once in each of so many channels, which are new. Returns when all are answered."""
        ...


Open = Callable[[], AbstractAsyncContextManager[Platform]]
OpenChannels = Callable[[], AbstractAsyncContextManager[Channels]]


def platforms() -> Mapping[str, Open]:
    from contrib.bench.platforms.discord import open_discord
    from contrib.bench.platforms.slack import open_slack
    from contrib.bench.platforms.telegram import open_telegram

    return {"telegram": open_telegram, "slack": open_slack, "discord": open_discord}


def networks_with_channels() -> Mapping[str, OpenChannels]:
    from contrib.bench.platforms.discord import open_discord_channels
    from contrib.bench.platforms.slack import open_slack_channels

    return {"slack": open_slack_channels, "discord": open_discord_channels}
