"""A gatewayd of canned answers: a real HTTP server on loopback, in a thread, that writes down what it was asked."""

import json
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from ssl import SSLContext
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Struct

NOW = 1_790_000_000.0
"""The fake's time in its Date header: 2026-09-21 14:13:20 UTC."""
TOKEN = "operator-token-0123456789"


class Asked(Struct, frozen=True):
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> object:
        return json.loads(self.body)


class Answer(Struct, frozen=True):
    """``body`` is sent as it is; ``stream`` (without Content-Length) is sent and the connection closed after it."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    stream: bool = False


def of(value: object, status: int = 200) -> Answer:
    return Answer(status, msgspec.json.encode(value))


def error(status: int, code: str, message: str) -> Answer:
    return of({"error": {"code": code, "message": message}}, status)


def sse(*events: tuple[int, str, dict[str, object]]) -> Answer:
    """A stream of these (number, kind, data), which then ends."""
    text = ": hello\n\n"
    for seq, kind, data in events:
        line = json.dumps({"seq": seq, "at": NOW, "kind": kind, "data": data})
        text += f"id: {seq}\nevent: {kind}\ndata: {line}\n\n: heartbeat\n\n"
    return Answer(200, text.encode(), "text/event-stream", stream=True)


class FakeGatewayd:
    """``answers`` maps (method, path) to what is answered in turn; the last one is repeated. ``otherwise`` answers the rest."""

    def __init__(self, scheme: str = "http") -> None:
        self.scheme = scheme
        self.answers: dict[tuple[str, str], deque[Answer]] = {}
        self.asked: list[Asked] = []
        self.otherwise: Answer | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def on(self, method: str, path: str, *answers: Answer) -> None:
        self.answers[method, path] = deque(answers)

    def settle_into(self, state_dir: Path, *, pid: int, token: str = TOKEN) -> None:
        """Write what a running daemon writes into its state directory."""
        state_dir.mkdir(parents=True, exist_ok=True)
        (state_dir / "endpoint.json").write_text(json.dumps({"url": self.url, "pid": pid}))
        (state_dir / "token").write_text(token + "\n")

    def answer_to(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return error(401, "unauthorized", "the token is not known")
        answers = self.answers.get((asked.method, asked.path))
        if not answers:
            return self.otherwise or error(404, "not_found", f"there is no {asked.path}")
        return answers.popleft() if len(answers) > 1 else answers[0]


class Server(ThreadingHTTPServer):
    """A client that has read enough is no error."""

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextmanager
def serve(tls: SSLContext | None = None) -> Iterator[FakeGatewayd]:
    """Listens on a free port of 127.0.0.1 until the block ends."""
    fake = FakeGatewayd("https" if tls else "http")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            url = urlsplit(self.path)
            headers = {key.lower(): value for key, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", "0")))
            answer = fake.answer_to(Asked(self.command, url.path, dict(parse_qsl(url.query)), headers, body))
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            for name, value in answer.headers:
                self.send_header(name, value)
            if answer.stream:
                self.close_connection = True
                self.send_header("Connection", "close")
            else:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = handle_any
        do_POST = handle_any

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(int(NOW))

        def log_message(self, format: str, *args: object) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        fake.port = server.server_address[1]
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()
