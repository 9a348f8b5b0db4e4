"""The ingest benchmark's baseline: a server on trio and httptools that reads each POST, answers 200 and keeps nothing.

python -m contrib.bench.bare_server        (its first line is its URL)
"""

import sys

import msgspec
import trio

from tests.fakes.bot_api.http_server import Request, Response, listen, port_of, serve_http


async def answer(request: Request) -> Response:
    msgspec.json.decode(request.body)
    return Response(200, b"", "text/plain")


async def main() -> None:
    listener = await listen(0)
    sys.stdout.write(f"http://127.0.0.1:{port_of(listener)}\n")
    sys.stdout.flush()
    await serve_http(listener, answer)


if __name__ == "__main__":
    trio.run(main)
