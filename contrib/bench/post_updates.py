"""A client process of the ingest benchmark: posts updates over kept-open connections as fast as they are taken.

    python -m contrib.bench.post_updates HOST:PORT PATH SECRET CONNECTIONS SECONDS FIRST_UPDATE_ID

Prints, as JSON, how many updates were answered with each status, and the seconds it took.
"""

import sys
import time
from collections import Counter

import msgspec
import trio

PAUSE_WHEN_REFUSED_SECONDS = 0.01
TEXT = "The quick brown fox jumps over the lazy dog. " * 8


def encode_update(update_id: int) -> bytes:
    """About 700 bytes, from one of 100 private chats."""
    person = {"id": 10_000 + update_id % 100, "first_name": "Alice", "username": "alice"}
    update = {
        "update_id": update_id,
        "message": {
            "message_id": update_id,
            "from": {**person, "is_bot": False, "language_code": "en"},
            "chat": {**person, "type": "private"},
            "date": int(time.time()),
            "text": TEXT,
        },
    }
    return msgspec.json.encode(update)


class Poster:
    """``connections`` clients that share the numbers."""

    def __init__(self, address: str, path: str, secret: str, first_update_id: int) -> None:
        self._host, _, port = address.partition(":")
        self._port = int(port)
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
            f"X-Telegram-Bot-Api-Secret-Token: {secret}\r\nContent-Length: "
        ).encode()
        self._next_id = first_update_id
        self.statuses: Counter[int] = Counter()

    async def post_until(self, until: float) -> None:
        stream = await trio.open_tcp_stream(self._host, self._port)
        async with stream:
            while time.perf_counter() < until:
                body = encode_update(self._next_id)
                self._next_id += 1
                await stream.send_all(self._head + str(len(body)).encode() + b"\r\n\r\n" + body)
                status = await read_status(stream)
                self.statuses[status] += 1
                if status != 200:
                    await trio.sleep(PAUSE_WHEN_REFUSED_SECONDS)


async def read_status(stream: trio.SocketStream) -> int:
    """Read one answer with a Content-Length, whole; its status."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await _receive(stream)
    head, _, body = data.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
    missing = int(fields.get(b"content-length", b"0")) - len(body)
    while missing > 0:
        missing -= len(await _receive(stream))
    return int(head.split(b" ", 2)[1])


async def _receive(stream: trio.SocketStream) -> bytes:
    data = bytes(await stream.receive_some(65536))
    if not data:
        raise ConnectionError("the server closed the connection")
    return data


async def main(arguments: list[str]) -> None:
    address, path, secret, connections, seconds, first = arguments
    poster = Poster(address, path, secret, int(first))
    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(int(connections)):
            nursery.start_soon(poster.post_until, started + float(seconds))
    result = {"statuses": dict(poster.statuses), "seconds": time.perf_counter() - started}
    sys.stdout.write(msgspec.json.encode(result).decode())


if __name__ == "__main__":
    trio.run(main, sys.argv[1:])
