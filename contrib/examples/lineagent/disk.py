"""An agent that says how large a folder is, when it may look."""

import json
import subprocess
import sys


def post(**line: object) -> None:
    print(json.dumps(line), flush=True)


def read() -> dict[str, object]:
    line: dict[str, object] = json.loads(sys.stdin.readline())
    return line


folder = str(read()["text"]).strip()
command = ["du", "-sh", "--", folder]
post(type="tool", ref="1", tool="shell", input={"command": command})
if read()["allowed"]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    post(type="text", text=done.stdout or done.stderr or "It said nothing.")
else:
    post(type="text", text=f"I did not look at {folder}.")
post(type="done")
