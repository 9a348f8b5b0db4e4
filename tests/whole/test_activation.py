"""Restarts behind a socket that outlives the daemon: nobody who connects is refused, and nothing is lost or doubled."""

import socket
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, closing
from functools import partial
from pathlib import Path

import httpx2
import pytest
import trio

from tests.fakes.bot_api import FakeBotApi
from tests.whole.process import Daemon, daemon
from tests.whole.test_telegram import ALICE, configuration

MESSAGES_BETWEEN = 10
TOKEN = "a-token-of-the-test-0123456789"
# The posters say more than turns can answer in the short lives between restarts: how many may wait is not asked here.
WEBCHAT = """\
[channels.webchat.accounts.main]
[agents.slow]
core = "echo"
word_delay_seconds = 0.25
[[bindings]]
match = { channel = "webchat", peer = "dm:slowly" }
agent = "slow"
[limits]
sender_backlog = 100_000
[auth.tokens.test]
token = { env = "PYTHON_TEST_TOKEN" }
scopes = ["read", "write"]
"""

Post = Callable[[str], Awaitable[int]]


class SocketUnit:
    """Holds a listening socket as systemd does, over any number of daemons."""

    def __init__(self, held: socket.socket, state_dir: Path) -> None:
        self.held = held
        self.state_dir = state_dir
        self.config = WEBCHAT
        self.url = f"http://127.0.0.1:{held.getsockname()[1]}"

    def service(self) -> AbstractAsyncContextManager[Daemon]:
        """A daemon. With systemd's tool it does not start before somebody connects."""
        fd = self.held.fileno()
        program = ("-m", "tests.whole.activated", str(fd))
        return daemon(self.state_dir, self.config, program=program, pass_fds=(fd,), env={"PYTHON_TEST_TOKEN": TOKEN})


@pytest.fixture
def unit(tmp_path: Path) -> Iterator[SocketUnit]:
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as held:
        yield SocketUnit(held, tmp_path / "state")


class Poster:
    """Says one thing after the other and never stops; what is not acknowledged is said again, under the same key."""

    def __init__(self, name: str, post: Post) -> None:
        self.name = name
        self.acknowledged: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.failures: list[str] = []
        self.enough = False
        self._post = post

    async def run(self) -> None:
        while not self.enough:
            text = f"{self.name} {len(self.acknowledged)}"
            while not await self._acknowledged(text):  # noqa: ASYNC110 - another process will be there
                await trio.sleep(0.02)
            self.acknowledged.append(text)

    async def _acknowledged(self, text: str) -> bool:
        try:
            status = await self._post(text)
        except (httpx2.HTTPError, ConnectionError) as error:
            self.failures.append(repr(error))
            return False
        self.statuses[status] += 1
        assert status in (200, 202, 503)
        return status != 503


def client_of(unit: SocketUnit) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        base_url=unit.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30.0, verify=False, trust_env=False
    )


async def say(client: httpx2.AsyncClient, text: str) -> int:
    """A message for chat/inbound, in a chat of its speaker."""
    peer = {"kind": "dm", "id": text.partition(" ")[0]}
    body = {"channel": "webchat", "account": "main", "event_key": text, "peer": peer, "sender": {"id": "bob"}, "text": text}
    return (await client.post("/v1/chat/inbound", json=body)).status_code


async def say_anew(unit: SocketUnit, text: str) -> int:
    """The same on a connection of its own."""
    async with client_of(unit) as client:
        return await say(client, text)


async def call_webhook(api: FakeBotApi, text: str) -> int:
    """An update, as Telegram brings it."""
    number = 10_000 + int(text.partition(" ")[2])
    alice = {"id": ALICE, "first_name": "Alice"}
    chat, sender = alice | {"type": "private"}, alice | {"is_bot": False}
    message = {"message_id": number, "date": 1, "chat": chat, "from": sender, "text": text}
    return await api.post_update({"update_id": number, "message": message})


def rows(state_dir: Path, query: str) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(f"file:{state_dir / 'gatewayd.db'}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("restarts", [pytest.param(1, marks=pytest.mark.slow), pytest.param(10, marks=pytest.mark.force)])
async def test_a_client_that_never_stops_notices_no_restart(unit: SocketUnit, tmp_path: Path, restarts: int) -> None:
    async with FakeBotApi.serve() as api, client_of(unit) as kept, trio.open_nursery() as nursery:
        webhooks = {"mode": "webhook", "gateway": 'public_url = "https://bots.example.org"'}
        unit.config = configuration(api, tmp_path, more=WEBCHAT, **webhooks)
        api.route_webhooks("https://bots.example.org", unit.url)
        anew, again = Poster("anew", partial(say_anew, unit)), Poster("again", partial(say, kept))
        hook = Poster("hook", partial(call_webhook, api))
        posters = [anew, again]
        nursery.start_soon(anew.run)
        nursery.start_soon(again.run)
        for life in range(restarts + 1):
            async with unit.service() as gateway:
                if life == 0:
                    with trio.fail_after(30):
                        await api.wait_webhook()
                        api.user_sends(ALICE, "hello")
                        await api.wait_texts(ALICE, 1)
                    posters.append(hook)
                    nursery.start_soon(hook.run)
                await all_said(posters, [len(poster.acknowledged) + MESSAGES_BETWEEN for poster in posters])
                # A turn that the stop waits for.
                assert await say_anew(unit, f"slowly {life}") == 202
                if life == restarts:
                    for poster in posters:
                        poster.enough = True
                    nursery.cancel_scope.deadline = trio.current_time() + 30  # each says its last
                    while nursery.child_tasks:  # noqa: ASYNC110
                        await trio.sleep(0.01)
                    gateway.token = TOKEN
                    await gateway.wait_status(lambda snapshot: snapshot.inbox.waiting == 0 and snapshot.outbox.ready == 0)
                assert await gateway.stop() == 0

    assert anew.failures == [], "a new connection is never refused, nor cut before it is answered"
    assert anew.statuses[503] <= restarts, "only one that was there already is sent away while the daemon finishes what runs"
    # A connection that is kept is closed some time, and perhaps when its client is about to speak (RFC 9112, section 9.3.1).
    assert len(again.failures) + len(hook.failures) <= restarts
    said = sorted(
        [*anew.acknowledged, *again.acknowledged, *hook.acknowledged, "hello", *map("slowly {}".format, range(restarts + 1))]
    )
    assert sorted(rows(unit.state_dir, "SELECT json_extract(envelope, '$.text'), state FROM inbound")) == [
        (text, "done") for text in said
    ]
    assert sorted(rows(unit.state_dir, "SELECT json_extract(payload, '$.body.text'), state FROM outbound")) == [
        (text, "sent") for text in said
    ]
    assert api.texts(ALICE) == ["hello", *hook.acknowledged]


async def all_said(posters: list[Poster], counts: list[int]) -> None:
    with trio.fail_after(60):
        while any(len(poster.acknowledged) < count for poster, count in zip(posters, counts, strict=True)):  # noqa: ASYNC110
            await trio.sleep(0.01)
