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
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Event, Message, Ping, Request, TextMessage

from contrib.bench.baselines.lean_http import Connections

WAITING_PER_CHAT = 1000
READ_BYTES = 65_536

Json = dict[str, Any]


async def answer_chat(http: Connections, path: str, said: trio.MemoryReceiveChannel[Json]) -> None:
    async for event in said:
        reply = {"channel": event["channel"], "text": event["text"].replace("&", "&amp;").replace("<", "&lt;")}
        await http.post(f"{path}/chat.postMessage", msgspec.json.encode(reply))


async def main(api_base: str, bot_token: str, app_token: str) -> None:
    base = urlsplit(api_base)
    server = f"{base.scheme}://{base.netloc}"
    opened = await Connections(server, token=app_token).post(f"{base.path}/apps.connections.open", b"{}")
    url = urlsplit(msgspec.json.decode(opened)["url"])
    assert url.hostname is not None
    stream = await trio.open_tcp_stream(url.hostname, url.port or 80)
    socket = WSConnection(ConnectionType.CLIENT)
    await stream.send_all(socket.send(Request(host=url.netloc, target=f"{url.path}?{url.query}")))
    http = Connections(server, token=bot_token)
    chats: dict[str, trio.MemorySendChannel[Json]] = {}
    text = ""
    async with trio.open_nursery() as nursery:
        while data := await stream.receive_some(READ_BYTES):
            socket.receive_data(data)
            answers: list[Event] = []
            for event in socket.events():
                if isinstance(event, Ping):
                    answers.append(event.response())
                elif isinstance(event, TextMessage):
                    text += event.data  # a frame may come in pieces
                    if not event.message_finished:
                        continue
                    frame, text = msgspec.json.decode(text), ""
                    if "envelope_id" not in frame:
                        continue
                    answers.append(Message(data=msgspec.json.encode({"envelope_id": frame["envelope_id"]}).decode()))
                    said = frame["payload"]["event"]
                    if said["type"] != "message" or "bot_id" in said:
                        continue
                    if said["channel"] not in chats:
                        chats[said["channel"]], receive = trio.open_memory_channel[Json](WAITING_PER_CHAT)
                        nursery.start_soon(answer_chat, http, base.path, receive)
                    await chats[said["channel"]].send(said)
                else:
                    assert isinstance(event, AcceptConnection), event
            if answers:
                await stream.send_all(b"".join(map(socket.send, answers)))


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
