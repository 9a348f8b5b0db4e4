"""The program of the tests: it does what the user writes, ACT:ARGUMENT. What it does, it notes in files of its directory."""

import json
import os
import sys
import time
from pathlib import Path


def post(**line: object) -> None:
    print(json.dumps(line), flush=True)


def read() -> dict[str, object]:
    line: dict[str, object] = json.loads(sys.stdin.readline())
    return line


start = read()
act, _, argument = str(start["text"]).partition(":")
memory = Path(str(start["session"]))
before = memory.read_text() if memory.exists() else ""
memory.write_text(before + argument + "\n")
match act:
    case "say":
        for word in argument.split(" "):
            post(type="text", text=f"{word} ")
    case "recall":
        post(type="text", text=before)
    case "tool" | "two tools" | "tool, then die":
        tools = argument.split(" | ")
        for tool in tools:
            post(type="tool", ref=tool, tool="shell", input={"command": tool})
        for _ in tools:
            if (answer := read())["allowed"]:
                with open("used.txt", "a") as used:
                    used.write(f"{answer['ref']}\n")
        if act == "tool, then die":
            os._exit(3)
        post(type="text", text="used what I may")
    case "ask":
        post(type="ask", ref="1", text=argument, options=["red", "blue"])
        post(type="text", text=str(read()["answers"]))
    case "fail":
        post(type="done", error="the model refused")
    case "die":
        post(type="text", text="so far")
        os._exit(3)
    case "hang":
        Path("hanging").write_text(str(os.getpid()))
        time.sleep(600)
post(type="done")
