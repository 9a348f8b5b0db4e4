"""Every route x whoever may ask, over HTTP against a running site: the answer and what it has changed are what stands in
answers.txt."""

from pathlib import Path

import pytest
import trio.testing

from tests.web.matrix.rows import answers, rules, rules_of, senders
from tests.web.matrix.world import World, is_so

EXPECTED = answers()


@pytest.fixture
def clock() -> trio.testing.MockClock:
    """A clock that jumps when nothing happens for 50 ms: bytes on their way through the kernel are not nothing."""
    return trio.testing.MockClock(autojump_threshold=0.05)


async def test_every_route_has_a_row_and_every_row_a_route(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with World.open(tmp_path) as world:
        url_map = world.app.url_map
    asked = rules_of(EXPECTED, url_map)
    assert [row.name for row, rule in asked.items() if rule is None] == []
    assert rules(url_map) - set(asked.values()) == set()


async def test_a_head_is_as_hard_to_get_as_the_whole(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with World.open(tmp_path) as world:
        found = {row.name: (letters["none"], await world.peek(row)) for row, letters in EXPECTED.items() if row.method == "GET"}
    assert {name for name, (letter, status) in found.items() if (status == 401) != (letter == "u")} == set()


@pytest.mark.slow
async def test_who_is_answered_what(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    wrong: list[str] = []
    async with World.open(tmp_path) as world:
        for row, letters in EXPECTED.items():
            assert letters.keys() == set(senders())
            for sender, letter in letters.items():
                seen = await world.ask(row, sender)
                if not is_so(letter, row.effect, seen):
                    found = f"{seen.status} {sorted(seen.touched)} {seen.text[-300:]}"
                    wrong.append(f"{row.name} by {sender}: {letter} {row.effect}, but {found}")
    assert not wrong, "\n".join([f"{len(wrong)} are wrong", *wrong])
