"""The baseline of Discord: the least code that listens by the gateway, echoes, and keeps nothing.

Chats are answered side by side, each in order. It has one connection, which is not opened again, and knows of no limits.

    python -m contrib.bench.baselines.gateway_and_send API_BASE GATEWAY_URL TOKEN
"""

import sys
from typing import Any
from urllib.parse import urlsplit

import msgspec
import trio

from contrib.bench.baselines.lean_http import Connections
from contrib.bench.baselines.lean_socket import Chats, Socket

HELLO, HEARTBEAT, IDENTIFY = 10, 1, 2
INTENTS = 1 << 12 | 1 << 15  # DIRECT_MESSAGES, MESSAGE_CONTENT


def payload(op: int, data: Any) -> str:
    return msgspec.json.encode({"op": op, "d": data}).decode()


async def main(api_base: str, gateway_url: str, token: str) -> None:
    base = urlsplit(api_base)
    http = Connections(f"{base.scheme}://{base.netloc}", authorization=f"Bot {token}")
    socket = await Socket.open(f"{gateway_url}/?v=10&encoding=json")
    last: int | None = None

    async def beat(seconds: float) -> None:
        while True:
            await trio.sleep(seconds)
            await socket.send(payload(HEARTBEAT, last))

    async def answer(message: dict[str, Any]) -> None:
        path = f"{base.path}/channels/{message['channel_id']}/messages"
        await http.post(path, msgspec.json.encode({"content": message["content"], "allowed_mentions": {"parse": []}}))

    async with trio.open_nursery() as nursery:
        chats = Chats(nursery, answer)
        while (messages := await socket.receive()) is not None:
            for frame in map(msgspec.json.decode, messages):
                if frame["op"] == HELLO:
                    properties = {"os": "linux", "browser": "baseline", "device": "baseline"}
                    await socket.send(payload(IDENTIFY, {"token": token, "intents": INTENTS, "properties": properties}))
                    nursery.start_soon(beat, frame["d"]["heartbeat_interval"] / 1000)
                last = frame["s"] or last
                if frame["t"] == "MESSAGE_CREATE" and not frame["d"]["author"].get("bot"):
                    await chats.put(frame["d"]["channel_id"], frame["d"])


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
