"""The baseline: the least code that polls, echoes, and keeps nothing.

Chats are answered side by side, each in order; the offset moves with the next poll, and what is under way at a crash is lost.

    python -m contrib.bench.baselines.poll_and_send URL TOKEN
"""

import html
import sys
from typing import Any

import msgspec
import trio

from contrib.bench.baselines.lean_http import Connections

WAITING_PER_CHAT = 1000

Update = dict[str, Any]


async def answer_chat(http: Connections, path: str, texts: trio.MemoryReceiveChannel[Update]) -> None:
    async for message in texts:
        reply = {"chat_id": message["chat"]["id"], "text": html.escape(message["text"]), "parse_mode": "HTML"}
        await http.post(f"{path}/sendMessage", msgspec.json.encode(reply))


async def main(url: str, token: str) -> None:
    path = f"/bot{token}"
    chats: dict[int, trio.MemorySendChannel[Update]] = {}
    offset = 0
    http = Connections(url)
    async with trio.open_nursery() as nursery:
        while True:
            body = await http.post(f"{path}/getUpdates", msgspec.json.encode({"offset": offset, "timeout": 30}))
            for update in msgspec.json.decode(body)["result"]:
                offset = update["update_id"] + 1
                message = update["message"]
                chat_id = message["chat"]["id"]
                if chat_id not in chats:
                    chats[chat_id], receive = trio.open_memory_channel[Update](WAITING_PER_CHAT)
                    nursery.start_soon(answer_chat, http, path, receive)
                await chats[chat_id].send(message)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
