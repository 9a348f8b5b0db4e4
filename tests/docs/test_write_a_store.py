"""The walk of docs/how-to/write-a-store.md, done as it stands there: each file is written, each command is run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "write-a-store.md"
EXAMPLE = ROOT / "contrib" / "examples" / "memory_store.py"
FILE = re.compile(r"# (\S+\.\w+)\n")


def blocks() -> list[tuple[str, str]]:
    """The language and the text of each block of the page."""
    return re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_the_page_leads_from_an_empty_file_to_the_example(tmp_path: Path) -> None:
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {"PATH": search, "PYTHONPATH": str(ROOT), "GATEWAYD": str(ROOT), "HOME": str(tmp_path)}
    steps = blocks()
    ran = 0
    for number, (language, text) in enumerate(steps):
        if language == "sh":
            following = steps[number + 1] if number + 1 < len(steps) else ("", "")
            done = subprocess.run(
                ["bash", "-e", "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
            )
            said = done.stdout + done.stderr
            assert (done.returncode == 0) == (following[0] != "text"), f"{text}\n{said}"
            assert following[0] != "text" or following[1].strip() in said
            assert "no tests ran" not in said
            ran += 1
        elif (name := FILE.match(text)) is not None:
            (tmp_path / name[1]).write_text(text)
        elif language == "python":
            assert text in EXAMPLE.read_text(), "what the page shows of the example stands there"
    assert ran > 9
    assert (tmp_path / "my_store.py").read_text() == EXAMPLE.read_text()
