"""The baseline of Slack: the least code that listens by Socket Mode, echoes, and keeps nothing.

Chats are answered side by side, each in order. What is acknowledged is under way in memory only. It has one connection, which is
not opened again.

    python -m contrib.bench.baselines.socket_and_send API_BASE BOT_TOKEN APP_TOKEN
"""

import sys
from typing import Any
from urllib.parse import urlsplit

import msgspec
import trio

from contrib.bench.baselines.lean_http import Connections
from contrib.bench.baselines.lean_socket import Chats, Socket


async def main(api_base: str, bot_token: str, app_token: str) -> None:
    base = urlsplit(api_base)
    server = f"{base.scheme}://{base.netloc}"
    opened = await Connections(server, authorization=f"Bearer {app_token}").post(f"{base.path}/apps.connections.open", b"{}")
    socket = await Socket.open(msgspec.json.decode(opened)["url"])
    http = Connections(server, authorization=f"Bearer {bot_token}")

    async def answer(event: dict[str, Any]) -> None:
        reply = {"channel": event["channel"], "text": event["text"].replace("&", "&amp;").replace("<", "&lt;")}
        await http.post(f"{base.path}/chat.postMessage", msgspec.json.encode(reply))

    async with trio.open_nursery() as nursery:
        chats = Chats(nursery, answer)
        while (messages := await socket.receive()) is not None:
            frames = [frame for frame in map(msgspec.json.decode, messages) if "envelope_id" in frame]
            for frame in frames:
                said = frame["payload"]["event"]
                if said["type"] == "message" and "bot_id" not in said:
                    await chats.put(said["channel"], said)
            if frames:
                await socket.send(*(msgspec.json.encode({"envelope_id": it["envelope_id"]}).decode() for it in frames))


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
