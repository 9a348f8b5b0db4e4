"""Inputs that were right elsewhere and wrong here once: a JSON file each in data/, with its right outcome. One test module for
each kind.

Keys of every file: ``kind`` (which module reads it), ``right`` (the right outcome, in words), ``source`` (public reports of the
kind, or "own input"), ``happened`` (what was wrong here). The other keys are the input, in the form that its kind has:
``sse`` bytes of a model's stream, ``http`` one response, ``acp`` what an agent writes after ``session/prompt``, ``updates`` Bot
API Update objects without update_id, ``markdown`` a reply of an agent, ``refusals`` answers of sendMessage.
"""

import json
from pathlib import Path
from typing import Any

_DATA = Path(__file__).parent / "data"


def cases(kind: str) -> list[tuple[str, dict[str, Any]]]:
    """The files of a kind: their names without ``.json``, and what they hold."""
    read = [(path.stem, json.loads(path.read_text("utf-8"))) for path in sorted(_DATA.glob("*.json"))]
    return [(name, case) for name, case in read if case["kind"] == kind]
