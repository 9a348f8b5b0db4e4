"""A client for the terminal: python -m linechat.client PATH"""

import json
import socket
import sys
import threading
import uuid


def post(connection: socket.socket, **frame: object) -> None:
    connection.sendall(json.dumps(frame).encode() + b"\n")


def show(connection: socket.socket) -> None:
    """Print what comes in, and acknowledge it."""
    for line in connection.makefile():
        frame = json.loads(line)
        if frame["type"] == "message":
            print(frame["text"], flush=True)
            post(connection, type="got", id=frame["id"])


def main() -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(sys.argv[1])
        threading.Thread(target=show, args=(connection,), daemon=True).start()
        for line in sys.stdin:
            post(connection, type="say", id=uuid.uuid4().hex, text=line.rstrip("\n"))


if __name__ == "__main__":
    main()
