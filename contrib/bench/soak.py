"""Does anything grow? 10,000 turns and 10,000 failed reconnects through one gatewayd, and clients that never read.

    python -m contrib.bench.soak [--turns 10000] [--reconnects 10000] [--seconds 300] [--plot docs/soak.svg] [--directory PATH]

gatewayd is a process of its own; this one is the Bot API (the tests' fake), its users, a connector and the operator. Half of the
turns come from Telegram users, half by POST /v1/chat/inbound. Forty further accounts never connect: a quarter is refused the
connection, one is reset, one is answered 502, one 401; where their own attempts are too few, the operator restarts them one
after the other, so that no back-off has to be waited for. Every few seconds a client subscribes to the events and never reads.
Once in a second the process is looked at: resident memory, open descriptors and threads by /proc, living Trio tasks by /metrics.

Flat is said as a ratio: the mean of the last quarter of the time over that of the second; the first is for warming up.
"""

import argparse
import re
import select
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx2
import trio
from msgspec import Struct

from contrib.bench.figures import describe_machine, load, verdict
from contrib.bench.plot import Series, draw
from contrib.bench.processes import Daemon, rss_mib, run_gatewayd, telegram_account, write_token
from tests.fakes.bot_api import FakeBotApi
from tests.fakes.bot_api.bot import Call

FIRST_CHAT: Final = 10_000
CHATS: Final = 200
KINDS: Final = ("refused", "reset", "502", "401")
ACCOUNTS_OF_KIND: Final = 10
AT_ONCE: Final = 32
DEAF_EVERY_SECONDS: Final = 5.0
DEAF_FOR_SECONDS: Final = 30.0
"""A client that has not read for so long has been dropped: what is stored fills at once what the kernel holds for it, and then
the server waits ten seconds."""


class Sample(Struct, frozen=True):
    """The process at one moment; ``at`` is seconds since the start of the work."""

    at: float
    rss: float
    descriptors: int
    threads: int
    tasks: float
    turns: int
    reconnects: int


class Soak:
    """One gatewayd at work, and what was seen of it."""

    def __init__(self, daemon: Daemon, api: FakeBotApi, http: httpx2.AsyncClient, options: argparse.Namespace) -> None:
        self._daemon = daemon
        self._api = api
        self._http = http
        self._options = options
        self._started = time.perf_counter()
        self._deaf: list[socket.socket] = []
        self.posted = 0
        self.replied = 0
        self.samples: list[Sample] = []
        api.watch(self._seen)

    async def run(self) -> None:
        """All of it.

        :raises RuntimeError: a turn was answered wrongly, or a reconnect is missing.
        :raises trio.TooSlowError: a minute after the last message it was still not answered.
        """
        seconds, turns = self._options.seconds, self._options.turns
        async with trio.open_nursery() as watching:
            watching.start_soon(self._sample)
            if self._options.deaf:
                watching.start_soon(self._subscribe)
            async with trio.open_nursery() as work:
                work.start_soon(spread, turns // 2, seconds, self._post)
                work.start_soon(spread, turns - turns // 2, seconds, self._write)
                work.start_soon(spread, self._options.reconnects, seconds, self._restart)
            watching.cancel_scope.cancel()
        await self._wait_replied(turns - turns // 2)
        reconnects = await self.reconnects()
        if reconnects < self._options.reconnects:
            raise RuntimeError(f"only {reconnects} of {self._options.reconnects} reconnects were seen")

    async def deaf(self) -> tuple[int, int]:
        """How many never read, and how many of them gatewayd still holds."""
        with trio.move_on_after(DEAF_FOR_SECONDS):
            while not all(map(is_cut, self._deaf)):  # noqa: ASYNC110 - our sockets, but poll(2) of nothing has no event in Trio
                await trio.sleep(0.5)
        held = len(self._deaf) - sum(map(is_cut, self._deaf))
        for client in self._deaf:
            client.close()
        return len(self._deaf), held

    async def reconnects(self) -> int:
        """Lives of the accounts that never connect, but their first."""
        return _restarts(await self._scrape())

    async def _post(self, number: int) -> None:
        peer = {"kind": "dm", "id": str(number % CHATS)}
        body = {"channel": "loopback", "account": "main", "peer": peer, "sender": {"id": "bench"}, "text": f"turn {number}"}
        answer = await self._http.post("/v1/chat/inbound", params={"wait": 60}, json=body)
        answer.raise_for_status()
        if answer.status_code != 200 or answer.json()["payloads"] != [{"text": f"turn {number}"}]:
            raise RuntimeError(f"turn {number} was answered with {answer.status_code} {answer.text}")
        self.posted += 1

    async def _write(self, number: int) -> None:
        self._api.user_sends(FIRST_CHAT + number % CHATS, f"turn {number}")

    def _seen(self, call: Call) -> None:
        self.replied += call.method == "sendMessage" and call.status == 200

    async def _wait_replied(self, count: int) -> None:
        with trio.fail_after(60):
            while self.replied < count:  # noqa: ASYNC110 - counted by a callback of the fake
                await trio.sleep(0.05)

    async def _restart(self, number: int) -> None:
        # The accounts try by themselves, too.
        if self.samples and self.samples[-1].reconnects > number:
            return
        account = f"bad{number % (len(KINDS) * ACCOUNTS_OF_KIND)}"
        answer = await self._http.post("/v1/channels/telegram/restart", params={"account_id": account})
        answer.raise_for_status()

    async def _subscribe(self) -> None:
        """One client after the other that asks for the events and never reads them."""
        url = urlsplit(self._daemon.url)
        ask = f"GET /v1/events?after=0 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self._daemon.token}\r\n\r\n"
        while True:
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((str(url.hostname), int(url.port or 80)))
            client.sendall(ask.encode())
            self._deaf.append(client)
            await trio.sleep(DEAF_EVERY_SECONDS)

    async def _sample(self) -> None:
        while True:
            scraped = await self._scrape()
            pid = self._daemon.pid
            self.samples.append(
                Sample(
                    at=time.perf_counter() - self._started,
                    rss=rss_mib(pid),
                    descriptors=entries(pid, "fd"),
                    threads=entries(pid, "task"),
                    tasks=_number(scraped, "tasks"),
                    turns=self.posted + self.replied,
                    reconnects=_restarts(scraped),
                )
            )
            await trio.sleep(min(1.0, self._options.seconds / 20))

    async def _scrape(self) -> str:
        answer = await self._http.get("/metrics")
        answer.raise_for_status()
        return answer.text


def _number(scraped: str, name: str) -> float:
    found = re.search(rf"^gatewayd_{name} (\S+)$", scraped, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"gatewayd does not tell {name}")
    return float(found[1])


def _restarts(scraped: str) -> int:
    lives = re.findall(r"^gatewayd_account_restarts_total\{(.*)\} (\S+)$", scraped, re.MULTILINE)
    return int(sum(float(number) for labels, number in lives if 'account="bad' in labels))


async def spread(total: int, seconds: float, act: Callable[[int], Awaitable[None]]) -> None:
    """``act`` for each number, evenly over the time, a few at once; what lags behind is made up for as fast as it goes."""
    started, limit = trio.current_time(), trio.CapacityLimiter(AT_ONCE)

    async def one(number: int) -> None:
        async with limit:
            await act(number)

    async with trio.open_nursery() as nursery:
        for number in range(total):
            await trio.sleep_until(started + seconds * number / total)
            while len(nursery.child_tasks) >= AT_ONCE:  # noqa: ASYNC110
                await trio.sleep(0.005)
            nursery.start_soon(one, number)


def is_cut(client: socket.socket) -> bool:
    """The other side has reset the connection: poll(2) says so without being asked, and without a byte being read."""
    poll = select.poll()
    poll.register(client, 0)
    return bool(poll.poll(0))


def entries(pid: int, folder: str) -> int:
    """How many descriptors (fd) or threads (task) a process has, by /proc."""
    return sum(1 for _ in Path(f"/proc/{pid}/{folder}").iterdir())


def flatness(values: Sequence[float]) -> float:
    """The mean of the last quarter over the mean of the second.

    :raises ValueError: fewer than four values.
    """
    quarter = len(values) // 4
    if not quarter:
        raise ValueError("too few samples for quarters")
    second, last = values[quarter : 2 * quarter], values[-quarter:]
    return (sum(last) / len(last)) / (sum(second) / len(second))


def bad_accounts(api: FakeBotApi, directory: Path) -> str:
    """Accounts that are each refused in the way of their kind, for ever."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        refusing = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    tables: list[str] = []
    for number in range(len(KINDS) * ACCOUNTS_OF_KIND):
        kind, token = KINDS[number % len(KINDS)], f"{700_000 + number}:AAsoak_token_{number:06}_0123456789abcdef"
        bot = api.add_bot(token, f"soak_{number}_bot")
        match kind:
            case "reset":
                bot.drop_next("*", processed=False, times=None)
            case "502":
                bot.garble_next("*", times=None)
            case "401":
                bot.revoke_token()
        name = f"bad{number}"
        tables.append(telegram_account(name, write_token(directory, name, token), refusing if kind == "refused" else api.url))
    return "".join(tables)


async def measure(directory: Path, options: argparse.Namespace) -> None:
    machine = describe_machine(directory)
    async with FakeBotApi.serve() as api:
        token = write_token(directory, "good", api.token)
        good = telegram_account("good", token, api.url, 'dm_policy = "open"', 'allow_from = ["*"]')
        config = (
            '[gateway]\nbind = "127.0.0.1:0"\nlog_level = "error"\n[limits]\nevent_rows = 20000\n'
            '[agents.echo]\ncore = "echo"\n[channels.loopback.accounts.main]\ndm_policy = "open"\nallow_from = ["*"]\n'
            f"{good}{bad_accounts(api, directory)}"
        )
        async with run_gatewayd(config, directory, until_ready=False) as daemon:
            headers = {"Authorization": f"Bearer {daemon.token}"}
            async with httpx2.AsyncClient(base_url=daemon.url, headers=headers, timeout=90.0, trust_env=False) as http:
                soak = Soak(daemon, api, http, options)
                await soak.run()
                report(soak, *await soak.deaf(), await soak.reconnects(), machine, options)


def report(soak: Soak, deaf: int, held: int, reconnects: int, machine: str, options: argparse.Namespace) -> None:
    samples = soak.samples
    panels = [
        ("resident memory, MiB", [sample.rss for sample in samples]),
        ("open descriptors", [float(sample.descriptors) for sample in samples]),
        ("threads", [float(sample.threads) for sample in samples]),
        ("living tasks", [sample.tasks for sample in samples]),
    ]
    took = samples[-1].at
    done = f"{soak.posted + soak.replied:,} turns, {reconnects:,} failed reconnects in {took:.0f} s; {load()}"
    print(machine, done, sep="\n")
    for name, values in panels:
        ratio = flatness(values)
        first, last = values[len(values) // 4], values[-1]
        print(f"{name:22} {first:8.1f} after a quarter, {last:8.1f} at the end; last quarter / second {ratio:.3f}: ", end="")
        print(verdict(ratio, at_most=1.1))
    print(f"clients that never read: {deaf}, still held: {held}")
    if options.plot is not None:
        series = [Series(name, list(zip((sample.at for sample in samples), values, strict=True))) for name, values in panels]
        options.plot.write_text(draw("gatewayd: what grows", [done, machine.partition("\n")[0]], series))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=10_000, help="messages that are answered")
    parser.add_argument("--reconnects", type=int, default=10_000, help="lives of accounts whose platform refuses them")
    parser.add_argument("--seconds", type=float, default=300.0, help="over which they are spread")
    parser.add_argument("--no-deaf", dest="deaf", action="store_false", help="without clients that never read")
    parser.add_argument("--plot", type=Path, default=None, help="the SVG to write")
    parser.add_argument("--directory", type=Path, default=None, help="where the state is written")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        trio.run(measure, Path(name), options)


if __name__ == "__main__":
    main(sys.argv[1:])
