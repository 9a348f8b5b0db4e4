"""A parent like gatewayd is really killed, and its children are found and ended. Real time."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from subprocess import DEVNULL, PIPE

import anyio
import pytest

from gatewayd.kit.orphans import end_all_orphans, end_orphans
from gatewayd.kit.process import open_process
from tests.kit.test_process import DEAF, FAILS_AFTER, exists, gone, parent, python

_PARENT = """
import sys, trio
from pathlib import Path
from gatewayd.kit.process import open_process

async def main():
    async with open_process(sys.argv[3:], cwd=Path(sys.argv[1]), env={}, marker=sys.argv[2]) as process:
        child = await process.wait_line(str.isdigit)
        print(f"{process.pid} {child}", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@pytest.fixture
def marker(tmp_path: Path) -> str:
    return f"test {tmp_path}/agents/a"


async def _orphans(tmp_path: Path, marker: str) -> tuple[int, int]:
    """A parent like gatewayd that is killed while its child and grandchild run."""
    command = [*python(_PARENT), str(tmp_path), marker, *parent(child=DEAF, own=DEAF, leaves_group=True)]
    async with await anyio.open_process(command, stdout=PIPE, stderr=None, stdin=DEVNULL) as started:
        assert started.stdout is not None
        child, grandchild = (int(word) for word in (await started.stdout.receive()).split())
        started.kill()
        await started.wait()
    return child, grandchild


@pytest.mark.parametrize("starts", [end_orphans, end_all_orphans, None])
async def test_what_a_killed_gatewayd_left_behind_is_ended(
    tmp_path: Path, marker: str, starts: Callable[[str], Awaitable[int]] | None
) -> None:
    with anyio.fail_after(FAILS_AFTER):
        child, grandchild = await _orphans(tmp_path, marker)
        try:
            assert exists(child)
            assert exists(grandchild)
            assert await end_orphans(f"{marker}/other") == 0
            assert exists(grandchild)
            if starts:
                for other in (f"{tmp_path}/other", f"{tmp_path.name}/agents", f"{tmp_path}/agent"):
                    assert await end_all_orphans(other) == 0
                assert await starts(marker if starts is end_orphans else f"{tmp_path}/agents") == 2
            else:
                async with open_process(python(""), cwd=tmp_path, env={}, marker=marker):
                    assert await gone(grandchild)
        finally:
            assert await gone(child)
            assert await gone(grandchild)


async def test_nothing_is_ended_that_does_not_have_the_marker(marker: str) -> None:
    assert await end_orphans(marker) == 0
