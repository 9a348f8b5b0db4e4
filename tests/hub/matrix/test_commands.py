"""Every command x sender x kind of message, through the real driver and the real front: what becomes of it is what stands in
answers.txt."""

from pathlib import Path
from typing import Final

import pytest
import trio.testing

from tests.hub.matrix.rows import Row, answers, rows
from tests.hub.matrix.world import Effect, World

ROWS: Final = list(rows())
BATCHES: Final = 4
"""Daemons, one after the other: each has a bounded number of strangers."""


def effects(row: Row, text: str) -> dict[str, Effect]:
    """What each word of answers.txt means, all of it; ``text`` is what was sent. The driver takes the bot's own name off."""
    text = text if row.form == "connector" else text.replace("@echo_bot", "")
    said = ("help", "start", "whoami", "status", "refused", "unasked", "shown", "pair")
    return {
        **{word: Effect(said=(word,)) for word in said},
        "nothing": Effect(),
        "agent": Effect(sent=text),
        "stopped": Effect(said=("stopped",), stopped=True),
        "renewed": Effect(said=("renewed",), sessions=2),
        "fresh": Effect(sessions=2, sent=text.removeprefix("/new ")),
        "allowed": Effect(said=("allowed",), request="allowed"),
        "denied": Effect(said=("denied",), request="denied"),
        "skipped": Effect(question="dismissed"),
        "answer": Effect(question="answered"),
    }


def test_every_row_has_an_answer_and_every_answer_a_row() -> None:
    assert len(set(ROWS)) == len(ROWS)
    assert set(answers()) == set(ROWS)


@pytest.fixture
def clock() -> trio.testing.MockClock:
    """A clock that jumps when nothing happens for 20 ms: bytes on their way through the kernel are not nothing."""
    return trio.testing.MockClock(autojump_threshold=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(BATCHES))
async def test_what_becomes_of_each(tmp_path: Path, clock: trio.testing.MockClock, batch: int) -> None:
    mine, expected = ROWS[batch::BATCHES], answers()
    found: dict[Row, Effect] = {}
    async with World.open(tmp_path, mine) as world:
        found |= await world.play()
        texts = {chat.row: world.text_of(chat) for chat in world.chats}
    assert set(found) == set(mine)
    wrong = {row: (expected[row], found[row]) for row in mine if found[row] != effects(row, texts[row])[expected[row]]}
    assert not wrong, "\n".join(f"{row}: {answer}, but {effect}" for row, (answer, effect) in wrong.items())
