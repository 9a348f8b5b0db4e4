"""The ways into gatewayd, each with its platform or client as it behaves: it repeats what was not acknowledged, in order."""

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal, get_args

import httpx2
import trio

from tests.channels.discord.reader import plain_of
from tests.fakes.bot_api import FakeBotApi
from tests.fakes.discord_platform import FakeDiscord
from tests.fakes.slack_platform import FakeSlack
from tests.fakes.slack_platform.delivery.deliveries import Delivery
from tests.fakes.slack_platform.remote import RemoteSlack
from tests.whole.process import Daemon

WalkName = Literal["telegram poll", "telegram webhook", "webchat", "chat/inbound", "slack socket", "slack events", "discord"]
WALKS: tuple[WalkName, ...] = get_args(WalkName)
PUBLIC = "https://bots.example.org"
_AGAIN_SECONDS = 0.05


async def until(condition: Callable[[], bool]) -> None:
    """Returns when it holds: for what happens in other processes, where there is nothing to wait on."""
    while not condition():  # noqa: ASYNC110
        await trio.sleep(0.01)


class Walk:
    """One way. Chats are numbers; what is said in a chat is said in that order."""

    def __init__(self, name: WalkName, api: FakeBotApi, folder: Path) -> None:
        self.name = name
        self.api = api
        self._folder = folder
        self.poll_seconds = 5

    @property
    def resends(self) -> bool:
        """Whether a send that was cut is looked up, or done again, because a repetition cannot be seen."""
        return self.name == "webchat"

    @property
    def public_url(self) -> str | None:
        """Where the platform reaches the daemon, if it has to."""
        return PUBLIC if self.name in ("telegram webhook", "slack events") else None

    @property
    def accounts(self) -> str:
        """What the configuration needs."""
        token = self._folder / "telegram.token"
        token.touch(mode=0o600)
        token.write_text(self.api.token)
        mode = "webhook" if self.name == "telegram webhook" else "poll"
        telegram = f'[channels.telegram.accounts.main]\ntoken = {{ file = "{token}" }}\napi_base = "{self.api.url}"\n'
        telegram += f'mode = "{mode}"\ndm_policy = "open"\npoll_timeout_seconds = {self.poll_seconds}\n'
        return "[channels.webchat.accounts.main]\n" if self.name == "webchat" else telegram

    async def attach(self, gateway: Daemon) -> None:
        """A daemon has started."""

    def say(self, chat: int, text: str) -> None:
        """A user says something, whether or not anybody is there to hear it."""
        raise NotImplementedError

    def all_acknowledged(self) -> bool:
        """The platform or client has been told that all of it arrived."""
        raise NotImplementedError

    def was_refused(self) -> bool:
        """The platform or client has been told that something was not taken. A poll is told nothing."""
        return True

    async def texts(self, chat: int, gateway: Daemon) -> list[str]:
        """What the user sees of the bot, without the notices of replies of unknown outcome."""
        with suppress(KeyError):
            return without_notices(self.api.texts(chat))
        return []


class TelegramWalk(Walk):
    """The fake Bot API keeps what was not confirmed, and posts again what a webhook did not take."""

    async def attach(self, gateway: Daemon) -> None:
        self.api.route_webhooks(PUBLIC, gateway.url)

    def say(self, chat: int, text: str) -> None:
        self.api.user_sends(chat, text)

    def all_acknowledged(self) -> bool:
        return not self.api.pending_update_count

    def was_refused(self) -> bool:
        return self.name == "telegram poll" or "503" in self.api.last_webhook_error


class ClientWalk(Walk):
    """Programs that post each message with a key of its own until they hear that it arrived: one program for each chat."""

    def __init__(self, name: WalkName, api: FakeBotApi, folder: Path, nursery: trio.Nursery) -> None:
        super().__init__(name, api, folder)
        self._nursery = nursery
        self._unsent: dict[int, deque[str]] = {}
        self.gateway: Daemon | None = None
        self.answers: list[int] = []

    async def attach(self, gateway: Daemon) -> None:
        self.gateway = gateway

    def say(self, chat: int, text: str) -> None:
        self.api.add_chat(chat)
        if chat not in self._unsent:
            self._unsent[chat] = deque()
            self._nursery.start_soon(self._run, chat, self._unsent[chat])
        self._unsent[chat].append(text)

    def all_acknowledged(self) -> bool:
        return not any(self._unsent.values())

    def was_refused(self) -> bool:
        return 503 in self.answers

    async def _run(self, chat: int, unsent: deque[str]) -> None:
        while True:
            if unsent and self.gateway is not None and await self._posted(self.gateway, chat, unsent[0]):
                unsent.popleft()
            else:
                await trio.sleep(_AGAIN_SECONDS)

    async def _posted(self, gateway: Daemon, chat: int, text: str) -> bool:
        try:
            answer = await self.post(gateway, chat, text)
        except httpx2.TransportError:
            return False
        self.answers.append(answer.status_code)
        assert answer.status_code in (202, 429, 503), answer.text
        return answer.status_code == 202

    async def post(self, gateway: Daemon, chat: int, text: str) -> httpx2.Response:
        raise NotImplementedError


class InboundWalk(ClientWalk):
    """A connector; the replies go to the chats of a Telegram account."""

    async def post(self, gateway: Daemon, chat: int, text: str) -> httpx2.Response:
        peer = {"kind": "dm", "id": str(chat)}
        body = {"channel": "telegram", "account": "main", "event_key": f"{chat} {text}", "peer": peer, "text": text}
        async with gateway.client() as client:
            return await client.post("/v1/chat/inbound", json=body | {"sender": {"id": str(chat)}})


class WebchatWalk(ClientWalk):
    """Pages in browsers, one name for each chat, whose cookies outlive the daemon."""

    def __init__(self, name: WalkName, api: FakeBotApi, folder: Path, nursery: trio.Nursery) -> None:
        super().__init__(name, api, folder, nursery)
        self._cookies: dict[int, httpx2.Cookies] = {}

    async def post(self, gateway: Daemon, chat: int, text: str) -> httpx2.Response:
        async with await self._page(chat, gateway) as page:
            key = text.encode().hex().rjust(8, "0")[-64:]
            return await page.post(f"/v1/webchat/messages?name=user{chat}", json={"id": key, "text": text})

    async def texts(self, chat: int, gateway: Daemon) -> list[str]:
        async with await self._page(chat, gateway) as page:
            answer = await page.get("/v1/webchat/history")
        return without_notices([_text_of(line["html"]) for line in answer.json()["lines"] if line["from"] == "agent"])

    async def _page(self, chat: int, gateway: Daemon) -> httpx2.AsyncClient:
        if chat not in self._cookies:
            async with gateway.client() as client:
                link = await client.post("/v1/webchat/links", json={"name": f"user{chat}"})
                login = await client.post("/v1/webchat/login", json={"code": link.json()["code"]})
            assert login.status_code == 200, login.text
            self._cookies[chat] = login.cookies
        return httpx2.AsyncClient(base_url=gateway.url, cookies=self._cookies[chat], timeout=30.0, verify=False, trust_env=False)


def slack_account(slack: FakeSlack | RemoteSlack, name: WalkName, folder: Path) -> str:
    """One account, open to everybody, with its secrets in files of this folder."""
    lines = ["[channels.slack.accounts.main]"]
    for key in ("bot_token", "app_token", "signing_secret"):
        file = folder / f"slack.{key}"
        file.touch(mode=0o600)
        file.write_text(getattr(slack, key))
        lines.append(f'{key} = {{ file = "{file}" }}')
    mode = name.removeprefix("slack ")
    return "\n".join([*lines, f'api_base = "{slack.api_base}"', f'mode = "{mode}"', 'dm_policy = "open"', ""])


class SlackWalk(Walk):
    """The fake Slack. An event that was not acknowledged is sent again soon, and only then the next one of its chat. A message is
    in its history at once, so a backfill may be the first to find it."""

    def __init__(self, name: WalkName, api: FakeBotApi, folder: Path, slack: FakeSlack, nursery: trio.Nursery) -> None:
        super().__init__(name, api, folder)
        self._slack = slack
        self._nursery = nursery
        self._chats: dict[int, str] = {}
        self._unsent: dict[int, deque[Delivery]] = {}
        self._refused = False
        slack.retry_events(False)

    @property
    def resends(self) -> bool:
        return True

    @property
    def accounts(self) -> str:
        return slack_account(self._slack, self.name, self._folder)

    async def attach(self, gateway: Daemon) -> None:
        self._slack.set_request_urls(f"{gateway.url}/v1/webhooks/slack/main")
        # What was written before an account was connected for the first time is not read back. This one may die on its way.
        with suppress(httpx2.TransportError):
            await gateway.wait_status(lambda snapshot: all(account.state == "connected" for account in snapshot.accounts))

    def say(self, chat: int, text: str) -> None:
        slack = self._slack
        if chat not in self._chats:
            user = slack.add_user(f"user{chat}")
            self._chats[chat], self._unsent[chat] = user, deque()
            self._nursery.start_soon(self._run, self._unsent[chat])
        slack.drop_events()
        slack.say(self._chats[chat], slack.dm(self._chats[chat]), text)
        slack.drop_events(False)
        self._unsent[chat].append(slack.deliveries.all.pop())

    def all_acknowledged(self) -> bool:
        return not any(self._unsent.values())

    def was_refused(self) -> bool:
        return self._refused

    async def texts(self, chat: int, gateway: Daemon) -> list[str]:
        return without_notices(self._slack.texts(self._slack.dm(self._chats[chat]))) if chat in self._chats else []

    async def _run(self, unsent: deque[Delivery]) -> None:
        while True:
            if not unsent or not await self._delivered(unsent[0]):
                await trio.sleep(_AGAIN_SECONDS)
            else:
                unsent.popleft()

    async def _delivered(self, event: Delivery) -> bool:
        delivery = self._slack.deliveries.add(Delivery(event.kind, event.payload))
        await self._slack.wait_until(lambda: delivery.outcome != "waiting")
        self._refused = self._refused or delivery.outcome == "lost"
        return delivery.outcome == "delivered"


class DiscordWalk(Walk):
    """The fake Discord. What was not stored comes again by the resumed session; a heartbeat tells what is stored. People write to
    the bot when it has been there once."""

    def __init__(self, name: WalkName, api: FakeBotApi, folder: Path, discord: FakeDiscord) -> None:
        super().__init__(name, api, folder)
        self._discord = discord
        self._chats: dict[int, str] = {}
        self._numbers: list[int] = []
        self._early: list[tuple[int, str]] = []
        discord.gateway.behave(heartbeat_seconds=1.0)
        discord.gateway.state.sessions.life_seconds = 3600.0
        discord.session_starts.max_concurrency = 1000

    @property
    def resends(self) -> bool:
        return True

    @property
    def accounts(self) -> str:
        file = self._folder / "discord.token"
        file.touch(mode=0o600)
        file.write_text(self._discord.token)
        account = f'[channels.discord.accounts.main]\ntoken = {{ file = "{file}" }}\napi_base = "{self._discord.api_url}"\n'
        return account + 'dm_policy = "open"\n'

    async def attach(self, gateway: Daemon) -> None:
        # What was written before an account was connected for the first time is not read back. This one may die on its way.
        with suppress(httpx2.TransportError):
            await gateway.wait_status(lambda snapshot: all(account.state == "connected" for account in snapshot.accounts))
            early, self._early = self._early, []
            for chat, text in early:
                self.say(chat, text)

    def say(self, chat: int, text: str) -> None:
        if not self._discord.gateway.identify_count:
            self._early.append((chat, text))
            return
        if chat not in self._chats:
            self._chats[chat] = self._discord.add_user(f"user{chat}")
        self._discord.say(self._chats[chat], self._discord.dm(self._chats[chat]), text)
        self._numbers.append(self._discord.gateway.newest_seq)

    def all_acknowledged(self) -> bool:
        return not self._early and max(self._numbers, default=0) <= self._discord.gateway.acknowledged_seq

    async def texts(self, chat: int, gateway: Daemon) -> list[str]:
        if chat not in self._chats:
            return []
        return without_notices([plain_of(text) for text in self._discord.texts(self._discord.dm(self._chats[chat]))])


@asynccontextmanager
async def walk_by(name: WalkName, folder: Path) -> AsyncIterator[Walk]:
    """The way of this name, with its platform. ``folder`` is for what the configuration refers to."""
    folder.mkdir(parents=True, exist_ok=True)
    makers: dict[str, Callable[[WalkName, FakeBotApi, Path, trio.Nursery], ClientWalk]] = {
        "chat/inbound": InboundWalk,
        "webchat": WebchatWalk,
    }
    async with FakeBotApi.serve() as api, AsyncExitStack() as stack:
        slack: FakeSlack | None = None
        if name in ("slack socket", "slack events"):
            slack = await stack.enter_async_context(FakeSlack.serve(mode="socket" if name == "slack socket" else "events"))
        discord = await stack.enter_async_context(FakeDiscord.serve()) if name == "discord" else None
        async with trio.open_nursery() as nursery:
            make = makers.get(name)
            if discord is not None:
                yield DiscordWalk(name, api, folder, discord)
            elif slack is not None:
                yield SlackWalk(name, api, folder, slack, nursery)
            else:
                yield TelegramWalk(name, api, folder) if make is None else make(name, api, folder, nursery)
            nursery.cancel_scope.cancel()


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words = ""

    def handle_data(self, data: str) -> None:
        self.words += data


def _text_of(html: str) -> str:
    parser = _Words()
    parser.feed(html)
    return parser.words.strip()


def without_notices(texts: list[str]) -> list[str]:
    return [text for text in texts if not text.startswith("The reply before this may not have arrived")]
