"""End to end: from an update at the Bot API to the reply that arrives there, through an instant agent.

    python -m contrib.bench.end_to_end [--chats 200] [--messages 20] [--alone 300] [--warm-up 50] [--directory PATH]

This process is the Bot API (the tests' fake) and its users; gatewayd and the baseline (``poll_and_send``, which stores
nothing) run one after the other as processes of their own, against the same server. Each user sends a message, waits for the
reply, and sends the next. Latency is from the moment an update is available to the arrival of the sendMessage request.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import trio
from msgspec import Struct

from contrib.bench.figures import Latencies, describe_machine, load, verdict
from contrib.bench.processes import cpu_seconds, run_gatewayd, run_process, telegram_account, write_token
from tests.fakes.bot_api import FakeBotApi
from tests.fakes.bot_api.bot import Call

FIRST_CHAT = 10_000


class Run(Struct):
    """What one run of users saw."""

    seconds: float
    latencies: Latencies

    @property
    def per_second(self) -> float:
        return self.latencies.count / self.seconds


class Users:
    """People who each send a message, wait for the reply, and send the next."""

    def __init__(self, api: FakeBotApi) -> None:
        self._api = api
        self._replies: dict[int, trio.MemorySendChannel[Call]] = {}
        api.watch(self._seen)

    def _seen(self, call: Call) -> None:
        if call.method == "sendMessage":
            self._replies[call.params["chat_id"]].send_nowait(call)

    async def talk(self, chats: int, messages: int, *, at_most_seconds: float) -> Run:
        """``messages`` round trips in each of ``chats`` chats, side by side.

        :raises RuntimeError: they were not all answered in time, or not as an echo answers.
        """
        latencies: list[float] = []
        started = time.perf_counter()
        with trio.move_on_after(at_most_seconds):
            async with trio.open_nursery() as nursery:
                for number in range(chats):
                    nursery.start_soon(self._talk_in, FIRST_CHAT + number, messages, latencies)
        seconds = time.perf_counter() - started
        if len(latencies) != chats * messages:
            raise RuntimeError(f"{len(latencies)} of {chats * messages} messages were answered in {at_most_seconds} s")
        return Run(seconds, Latencies.of(latencies))

    async def _talk_in(self, chat_id: int, messages: int, latencies: list[float]) -> None:
        self._replies[chat_id], replies = trio.open_memory_channel[Call](10)
        for number in range(messages):
            text = f"message {number} of {chat_id}"
            available = trio.current_time()
            self._api.user_sends(chat_id, text)
            call = await replies.receive()
            if text not in call.params["text"] or call.status != 200:
                raise RuntimeError(f"{text!r} was answered with {call}")
            latencies.append(call.at - available)


class Figures(Struct):
    """``cpu_ms`` is what the contender's process spent per reply when all talk at once."""

    alone: Run
    together: Run
    cpu_ms: float


async def measure(api: FakeBotApi, pid: int, options: argparse.Namespace) -> Figures:
    """The users' side of one contender, the process ``pid``, warmed up first."""
    users = Users(api)
    await users.talk(1, options.warm_up, at_most_seconds=60)
    alone = await users.talk(1, options.alone, at_most_seconds=120)
    spent = cpu_seconds(pid)
    together = await users.talk(options.chats, options.messages, at_most_seconds=300)
    return Figures(alone, together, 1000 * (cpu_seconds(pid) - spent) / together.latencies.count)


async def measure_gatewayd(directory: Path, options: argparse.Namespace, env: Mapping[str, str] | None = None) -> Figures:
    async with FakeBotApi.serve() as api:
        account = telegram_account(
            "bench", write_token(directory, "bench", api.token), api.url, 'dm_policy = "open"', 'allow_from = ["*"]'
        )
        config = f'[gateway]\nbind = "127.0.0.1:0"\nlog_level = "warning"\n[agents.echo]\ncore = "echo"\n{account}'
        async with run_gatewayd(config, directory, env=env) as daemon:
            return await measure(api, daemon.pid, options)


async def measure_baseline(directory: Path, options: argparse.Namespace) -> Figures:
    async with FakeBotApi.serve() as api:
        command = [sys.executable, "-m", "contrib.bench.baselines.poll_and_send", api.url, api.token]
        async with run_process(command, directory / "poll_and_send.log") as process:
            return await measure(api, process.pid, options)


async def compare(directory: Path, options: argparse.Namespace) -> None:
    print(describe_machine(directory))
    ours = await measure_gatewayd(directory, options)
    base = await measure_baseline(directory, options)
    for name, figures in (("gatewayd, durable", ours), ("poll and send", base)):
        print(f"{name:18} one message at a time   {figures.alone.latencies}   {figures.alone.per_second:7.1f} replies/s")
        print(f"{name:18} {options.chats:>4} chats at once     {figures.together.latencies}   ", end="")
        print(f"{figures.together.per_second:7.1f} replies/s   {figures.cpu_ms:.2f} ms of CPU each")
    added = ours.alone.latencies.p50 - base.alone.latencies.p50
    rate = ours.together.per_second
    print(f"added by gatewayd at p50, one at a time: {added:.2f} ms: {verdict(added, at_most=10)}")
    print(f"durable replies per second: {rate:.0f}: {verdict(rate, at_least=300)}")
    print(f"ratio of replies per second to poll and send: {rate / base.together.per_second:.2f}; {load()}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chats", type=int, default=200, help="users at once in the throughput run")
    parser.add_argument("--messages", type=int, default=20, help="messages of each of them")
    parser.add_argument("--alone", type=int, default=300, help="messages of the single user in the latency run")
    parser.add_argument("--warm-up", type=int, default=50, help="messages before that, not counted")
    parser.add_argument("--directory", type=Path, default=None, help="where the state is written, on the disk to be measured")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        trio.run(compare, Path(name), options)


if __name__ == "__main__":
    main()
