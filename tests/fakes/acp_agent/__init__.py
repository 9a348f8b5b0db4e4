"""An agent that speaks ACP over stdio, as a program of its own: the prompt decides its reply.

Run it as a path (``python tests/fakes/acp_agent``): it needs nothing but Python. ``__main__`` lists the commands in a prompt.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec


def command(*options: str) -> Sequence[str]:
    """How to start it."""
    return (sys.executable, str(Path(__file__).parent), *options)


def received(directory: Path) -> list[dict[str, Any]]:
    """What an agent that worked in this directory has read so far, message by message."""
    file = directory / "received.jsonl"
    return [msgspec.json.decode(line) for line in file.read_bytes().splitlines()] if file.exists() else []


def ran(directory: Path) -> list[str]:
    """The commands that its tools have run."""
    file = directory / "ran.txt"
    return file.read_text().splitlines() if file.exists() else []
