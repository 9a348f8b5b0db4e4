"""What gatewayd adds to a turn of each kind of agent: through it, and the same agent called directly, in the same run.

    python -m contrib.bench.agents [--agents echo,opencode] [--turns 50] [--warm-up 5] [--sessions 200] [--directory PATH]

The agents are real; their model is the tests' scripted one, one process for all of them, which answers at once. A message
goes to POST /v1/chat/inbound, which waits for the reply; directly, it goes to the agent's own interface. First one session with
one turn after the other, then many sessions with one turn each, all at once, whose making is counted in.
"""

import argparse
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from pathlib import Path

import httpx2
import trio
from msgspec import Struct

from contrib.bench.baselines.direct import Direct, http_client
from contrib.bench.contenders import CONTENDERS, Contender, as_toml
from contrib.bench.figures import Latencies, describe_machine, load
from contrib.bench.processes import Daemon, allow_many_files, rss_below_mib, rss_mib, run_gatewayd
from tests.fakes.model_server import RemoteModelServer

WAIT_SECONDS = 100
AT_MOST_SECONDS = 900.0


class Figures(Struct):
    """``together`` is seconds until every session had its reply; memory is in MiB, before and after that."""

    alone: Latencies
    together: float
    before: float
    after: float
    agent: float


class Gatewayd:
    """The agent by way of a connector's messages; a session is a person who writes."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client
        self._keys = count(1)

    async def new_session(self) -> str:
        return f"person-{next(self._keys)}"

    async def turn(self, session: str, text: str) -> str:
        place = {"channel": "webchat", "account": "main", "peer": {"kind": "dm", "id": session}, "sender": {"id": session}}
        body = {**place, "event_key": f"key-{next(self._keys)}", "text": text}
        while True:
            answer = await self._client.post("/v1/chat/inbound", params={"wait": WAIT_SECONDS}, json=body)
            if answer.status_code != 202:  # else it takes longer than one request may wait
                answer.raise_for_status()
                return "".join(payload["text"] for payload in answer.json()["payloads"])


async def measure(agent: Direct, options: argparse.Namespace, memory: Callable[[], tuple[float, float]]) -> Figures:
    """:raises RuntimeError: a reply is wrong. :raises trio.TooSlowError: they did not all come in time."""
    latencies: list[float] = []

    async def take_turn(session: str, number: int) -> None:
        reply = await agent.turn(session, f"say reply {number}")
        if not reply.rstrip().endswith(f"reply {number}"):
            raise RuntimeError(f"turn {number} was answered with {reply!r}")

    async def open_and_take(number: int) -> None:
        await take_turn(await agent.new_session(), number)

    with trio.fail_after(AT_MOST_SECONDS):
        session = await agent.new_session()
        for number in range(options.warm_up + options.turns):
            started = time.perf_counter()
            await take_turn(session, number)
            latencies.append(time.perf_counter() - started)
        before, _ = memory()
        taken = await _all_at_once(open_and_take, options.sessions)
    after, of_agent = memory()
    return Figures(Latencies.of(latencies[options.warm_up :]), taken, before, after, of_agent)


async def _all_at_once(do: Callable[[int], Awaitable[None]], times: int) -> float:
    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for number in range(times):
            nursery.start_soon(do, number)
    return time.perf_counter() - started


async def through_gatewayd(
    contender: Contender, directory: Path, options: argparse.Namespace, env: Mapping[str, str] | None = None
) -> Figures:
    config = (
        '[gateway]\nbind = "127.0.0.1:0"\nlog_level = "warning"\n'
        f"[agents.bench]\n{as_toml(contender.settings)}"
        '[channels.webchat.accounts.main]\ndm_policy = "open"\nallow_from = ["*"]\n'
    )
    async with run_gatewayd(config, directory, env={**contender.env, **(env or {})}) as daemon, http_client(daemon.url) as client:
        client.headers["authorization"] = f"Bearer {daemon.token}"
        return await measure(Gatewayd(client), options, lambda: _memory(daemon))


def _memory(daemon: Daemon) -> tuple[float, float]:
    return rss_mib(daemon.pid), rss_below_mib(daemon.pid)


async def directly(contender: Contender, options: argparse.Namespace) -> Figures:
    async with contender.direct() as (agent, pid):
        return await measure(agent, options, lambda: (0.0, 0.0 if pid is None else rss_mib(pid) + rss_below_mib(pid)))


async def compare(directory: Path, options: argparse.Namespace) -> None:
    print(describe_machine(directory), flush=True)
    async with RemoteModelServer.start() as model:
        for name in options.agents.split(","):
            root = directory / name
            await trio.Path(root).mkdir()
            contender = CONTENDERS[name](root, model.url)
            direct = await directly(contender, options)
            ours = await through_gatewayd(contender, root, options)
            tell(name, ours, direct, options.sessions)


def tell(name: str, ours: Figures, direct: Figures, sessions: int) -> None:
    for side, figures in (("gatewayd", ours), ("directly", direct)):
        print(f"{name:16} {side:9} {figures.alone}   {sessions} sessions at once: {figures.together:6.2f} s", end="")
        print(f"   agent {figures.agent:.0f} MiB" if figures.agent else "")
    added = ours.alone.p50 - direct.alone.p50
    each = 1000 * (ours.together - direct.together) / sessions
    print(f"{name:16} added at p50: {added:.2f} ms; per session of {sessions} at once: {each:.2f} ms; ", end="")
    print(f"gatewayd {ours.before:.1f} MiB before, {ours.after:.1f} MiB after; {load()}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", default=",".join(CONTENDERS), help="which, with commas between them")
    parser.add_argument("--turns", type=int, default=50, help="turns in the one session")
    parser.add_argument("--warm-up", type=int, default=5, help="turns before that, not counted")
    parser.add_argument("--sessions", type=int, default=200, help="sessions at once")
    parser.add_argument("--directory", type=Path, default=None, help="where the state is written, on the disk to be measured")
    options = parser.parse_args(arguments)
    if unknown := set(options.agents.split(",")) - CONTENDERS.keys():
        parser.error(f"no such agent: {', '.join(sorted(unknown))}; there are {', '.join(CONTENDERS)}")
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        trio.run(compare, Path(name), options)


if __name__ == "__main__":
    allow_many_files()
    main()
