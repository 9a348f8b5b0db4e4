"""End to end: from a message that a network has to the reply that arrives there, through an instant agent.

    python -m contrib.bench.end_to_end [--channel telegram|slack|discord] [--chats 200] [--messages 20] [--rounds 1] [--alone 300]
                                       [--warm-up 50] [--directory PATH]

This process is the network (the tests' fake) and its users; gatewayd and the baseline (the least code, which stores nothing) run
one after the other as processes of their own, each against a fresh network. Each user sends a message, waits for the reply, and
sends the next. Latency is from the moment a message is available to the arrival of the request with its reply.

The limits of Slack and Discord, which the drivers keep, are in no figure: all talk at once in rounds, with a rest before each.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import trio
from msgspec import Struct
from msgspec.structs import replace

from contrib.bench.figures import Latencies, describe_machine, load, verdict
from contrib.bench.platforms import Platform, Reply, platforms
from contrib.bench.processes import cpu_seconds, run_gatewayd, run_process


class Load(Struct, frozen=True):
    """``alone`` messages of a single user after ``warm_up`` others; then in each of the ``rounds`` ``messages`` of each of
    ``chats`` users at once."""

    chats: int
    messages: int
    alone: int
    warm_up: int
    rounds: int = 1


USUAL: Mapping[str, Load] = {
    "telegram": Load(200, 20, 300, 50),
    "slack": Load(80, 1, 60, 80, rounds=3),
    "discord": Load(18, 1, 18, 18, rounds=5),
}


class Run(Struct):
    """What one run of users saw."""

    seconds: float
    sample: list[float]

    @property
    def latencies(self) -> Latencies:
        return Latencies.of(self.sample)

    @property
    def per_second(self) -> float:
        return len(self.sample) / self.seconds


class Users:
    """People who each send a message, wait for the reply, and send the next."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._replies: dict[int, trio.MemorySendChannel[Reply]] = {}
        platform.watch(lambda chat, reply: self._replies[chat].send_nowait(reply))

    async def talk_alone(self, messages: int) -> Run:
        """``messages`` round trips of one person. Raises as :meth:`talk`."""
        return await self._talk([range(self._platform.alone_in)], messages, at_most_seconds=120)

    async def talk(self, chats: int, messages: int) -> Run:
        """``messages`` round trips in each of ``chats`` chats, side by side.

        :raises RuntimeError: they were not all answered in time, or not as an echo answers; or they are too many.
        """
        most = self._platform.most_at_once
        if most is not None and chats * messages > most:
            raise RuntimeError(f"the limits of the network would be measured: it takes {most} replies at once")
        return await self._talk([range(chat, chat + 1) for chat in range(chats)], messages, at_most_seconds=300)

    async def _talk(self, people: Sequence[range], messages: int, *, at_most_seconds: float) -> Run:
        latencies: list[float] = []
        started = time.perf_counter()
        with trio.move_on_after(at_most_seconds):
            async with trio.open_nursery() as nursery:
                for chats in people:
                    nursery.start_soon(self._talk_in, chats, messages, latencies)
        seconds = time.perf_counter() - started
        if len(latencies) != len(people) * messages:
            raise RuntimeError(f"{len(latencies)} of {len(people) * messages} messages were answered in {at_most_seconds} s")
        return Run(seconds, latencies)

    async def _talk_in(self, chats: range, messages: int, latencies: list[float]) -> None:
        """Of one person, in these chats in turn."""
        for number in range(messages):
            chat = chats[number % len(chats)]
            self._replies[chat], replies = trio.open_memory_channel[Reply](10)
            text = f"message {number} of {chat}"
            available = trio.current_time()
            self._platform.say(chat, text)
            reply = await replies.receive()
            if text not in reply.text or not reply.is_taken:
                raise RuntimeError(f"{text!r} was answered with {reply}")
            latencies.append(reply.at - available)


class Figures(Struct):
    """``cpu_ms`` is what the contender's process spent per reply when all talk at once."""

    alone: Run
    together: Run
    cpu_ms: float


async def measure(platform: Platform, pid: int, load: Load) -> Figures:
    """The users' side of one contender, the process ``pid``, warmed up first."""
    await platform.wait_ready()
    users = Users(platform)
    await users.talk_alone(load.warm_up)
    await trio.sleep(platform.rest_seconds(load.warm_up, in_a_chat=1))
    alone = await users.talk_alone(load.alone)
    together, spent = Run(0.0, []), 0.0
    for number in range(load.rounds):
        before_it = load.chats * load.messages if number else load.alone
        await trio.sleep(platform.rest_seconds(before_it, in_a_chat=load.messages if number else 1))
        before = cpu_seconds(pid)
        run = await users.talk(load.chats, load.messages)
        spent += cpu_seconds(pid) - before
        together = Run(together.seconds + run.seconds, together.sample + run.sample)
    return Figures(alone, together, 1000 * spent / len(together.sample))


async def measure_gatewayd(directory: Path, channel: str, load: Load, env: Mapping[str, str] | None = None) -> Figures:
    async with platforms()[channel]() as platform:
        account = platform.account(directory)
        config = f'[gateway]\nbind = "127.0.0.1:0"\nlog_level = "warning"\n[agents.echo]\ncore = "echo"\n{account}'
        async with run_gatewayd(config, directory, env=env) as daemon:
            return await measure(platform, daemon.pid, load)


async def measure_baseline(directory: Path, channel: str, load: Load) -> Figures:
    async with platforms()[channel]() as platform, run_process(platform.baseline(), directory / "baseline.log") as process:
        return await measure(platform, process.pid, load)


async def compare(directory: Path, channel: str, conversations: Load) -> None:
    print(describe_machine(directory))
    ours = await measure_gatewayd(directory, channel, conversations)
    base = await measure_baseline(directory, channel, conversations)
    for name, figures in (("gatewayd, durable", ours), ("the least code", base)):
        print(f"{name:18} one message at a time   {figures.alone.latencies}   {figures.alone.per_second:7.1f} replies/s")
        print(f"{name:18} {conversations.chats:>4} chats at once     {figures.together.latencies}   ", end="")
        print(f"{figures.together.per_second:7.1f} replies/s   {figures.cpu_ms:.2f} ms of CPU each")
    added = ours.alone.latencies.p50 - base.alone.latencies.p50
    rate = ours.together.per_second
    if channel == "telegram":  # the aims are for it
        print(f"added by gatewayd at p50, one at a time: {added:.2f} ms: {verdict(added, at_most=10)}")
        print(f"durable replies per second: {rate:.0f}: {verdict(rate, at_least=300)}")
    ratios = [ours.alone.latencies.p50 / base.alone.latencies.p50, rate / base.together.per_second]
    print(f"ratios to the least code: p50 of one user {ratios[0]:.2f}, replies per second {ratios[1]:.2f}", end="")
    print(f", CPU per reply {ours.cpu_ms / base.cpu_ms:.2f}; {load()}" if base.cpu_ms else f"; {load()}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channel", choices=tuple(USUAL), default="telegram")
    parser.add_argument("--chats", type=int, help="users at once in the throughput run")
    parser.add_argument("--messages", type=int, help="messages of each of them, in each round")
    parser.add_argument("--rounds", type=int, help="of the throughput run")
    parser.add_argument("--alone", type=int, help="messages of the single user in the latency run")
    parser.add_argument("--warm-up", type=int, help="messages before that, not counted")
    parser.add_argument("--directory", type=Path, default=None, help="where the state is written, on the disk to be measured")
    options = parser.parse_args(arguments)
    usual = USUAL[options.channel]
    given = {name: getattr(options, name) for name in usual.__struct_fields__ if getattr(options, name) is not None}
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        trio.run(compare, Path(name), options.channel, replace(usual, **given))


if __name__ == "__main__":
    main()
