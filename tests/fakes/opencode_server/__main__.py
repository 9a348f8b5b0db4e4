"""A fake as a program, as a sidecar is one: ``python -m tests.fakes.opencode_server opencode|openagentic --port N``.

The prompt says what happens: "die" ends the process, "child" starts one that would outlive it, "ask" needs a permission; anything
else is said back. OpenCode's takes connections before it listens, and says when it does. Further words, before --port: ``silent``
never answers, ``dies`` ends at once.
"""

import os
import subprocess
import sys

import trio

from tests.fakes.opencode_server.openagentic import FakeOpenAgentic
from tests.fakes.opencode_server.opencode import FakeOpenCode
from tests.fakes.opencode_server.script import ModelRun


async def script(run: ModelRun) -> None:
    match run.text:
        case "die":
            sys.stderr.write("out of memory\n")
            sys.stderr.flush()
            os._exit(3)
        case "child":
            child = await trio.lowlevel.open_process(["sleep", "600"], stdout=subprocess.DEVNULL)
            await run.say(str(child.pid))
        case "ask":
            await run.say(await run.tool("bash", {"command": "ls"}))
        case "environment":
            await run.say(" ".join(sorted(os.environ)))
        case "directory":
            await run.say(os.getcwd())
        case name if name.startswith("value of "):
            await run.say(os.environ[name.removeprefix("value of ")])
        case text:
            await run.say(f"echo: {text}")


async def main(*words: str) -> None:
    port = int(words[words.index("--port") + 1]) if "--port" in words else int(os.environ["PORT"])
    if "dies" in words:
        sys.stderr.write("no model is configured\n")
        sys.exit(7)
    server = (
        FakeOpenAgentic(script)
        if words[0] == "openagentic"
        else FakeOpenCode(script, cwd=os.getcwd(), password=os.environ["OPENCODE_SERVER_PASSWORD"])
    )
    server.http.port = port
    if isinstance(server, FakeOpenCode):
        server.listening = False
    async with server.serve():
        if isinstance(server, FakeOpenCode) and "silent" not in words:
            await trio.sleep(0.3)
            server.listening = True
            sys.stdout.write(f"opencode server listening on {server.url}\n")
            sys.stdout.flush()
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
