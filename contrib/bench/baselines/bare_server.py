"""The ingest benchmark's baseline: an accept loop on Trio and httptools that reads each POST, decodes it, answers 200 and keeps
nothing.

    python -m contrib.bench.baselines.bare_server        (its first line is its URL)
"""

import sys

import httptools
import msgspec
import trio

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n"
_READ_BYTES = 65_536


class Requests:
    """Counts whole requests, whose bodies are JSON."""

    def __init__(self) -> None:
        self.whole = 0
        self._body = b""

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        msgspec.json.decode(self._body)
        self.whole += 1
        self._body = b""


async def serve(stream: trio.SocketStream) -> None:
    requests = Requests()
    parser = httptools.HttpRequestParser(requests)
    while data := await stream.receive_some(_READ_BYTES):
        parser.feed_data(data)
        if requests.whole:
            await stream.send_all(_ANSWER * requests.whole)
            requests.whole = 0


async def main() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=4096)
    sys.stdout.write(f"http://127.0.0.1:{listener.socket.getsockname()[1]}\n")
    sys.stdout.flush()
    await trio.serve_listeners(serve, [listener])


if __name__ == "__main__":
    trio.run(main)
