"""The baseline: a bot as one would write it in an afternoon. It polls, echoes, and keeps nothing.

Chats are answered side by side, each in order; the offset moves with the next poll, and what is under way at a crash is lost.

    python -m contrib.bench.poll_and_send URL TOKEN
"""

import html
import sys
from typing import Any

import httpx2
import trio

CONNECTIONS = 64
WAITING_PER_CHAT = 1000


async def answer_chat(http: httpx2.AsyncClient, base: str, texts: trio.MemoryReceiveChannel[dict[str, Any]]) -> None:
    async for message in texts:
        reply = {"chat_id": message["chat"]["id"], "text": html.escape(message["text"]), "parse_mode": "HTML"}
        (await http.post(f"{base}/sendMessage", json=reply)).raise_for_status()


async def main(url: str, token: str) -> None:
    base = f"{url}/bot{token}"
    chats: dict[int, trio.MemorySendChannel[dict[str, Any]]] = {}
    offset = 0
    limits = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    async with httpx2.AsyncClient(timeout=60.0, limits=limits) as http, trio.open_nursery() as nursery:
        while True:
            answer = await http.post(f"{base}/getUpdates", json={"offset": offset, "timeout": 30})
            for update in answer.json()["result"]:
                offset = update["update_id"] + 1
                message = update["message"]
                chat_id = message["chat"]["id"]
                if chat_id not in chats:
                    chats[chat_id], receive = trio.open_memory_channel[dict[str, Any]](WAITING_PER_CHAT)
                    nursery.start_soon(answer_chat, http, base, receive)
                await chats[chat_id].send(message)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
