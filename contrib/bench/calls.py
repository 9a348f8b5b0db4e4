"""How many functions the daemon's main thread calls per reply: its work, counted where the machine's unrest changes nothing.

Threads of the store are not in it, and no call tells how long it takes: a figure for two revisions that do the same work.
Each count is the difference of two runs, one of them three times as long, so that the start is not in it.
"""

from collections.abc import Mapping
from pathlib import Path

import trio

from contrib.bench import end_to_end

COUNTED = Path(__file__).parent / "counted"


async def per_reply(directory: Path, chats: int, messages: int, env: Mapping[str, str]) -> float:
    """Calls per reply with ``chats`` users at once, from ``messages`` of each and from thrice as many."""
    few, many = [await _in_all(directory / f"{chats}-{times}", chats, times * messages, env) for times in (1, 3)]
    return (many - few) / (2 * chats * messages)


async def _in_all(directory: Path, chats: int, messages: int, env: Mapping[str, str]) -> int:
    await trio.Path(directory).mkdir()
    file = directory / "calls"
    path = f"{COUNTED}:{env['PYTHONPATH']}"
    load = end_to_end.Load(chats, messages, alone=1, warm_up=1)
    await end_to_end.measure_gatewayd(directory, "telegram", load, {**env, "PYTHONPATH": path, "COUNT_CALLS_INTO": str(file)})
    return int(await trio.Path(file).read_text())
