"""Tells the service manager how we are: sd_notify(3), one datagram per message to $NOTIFY_SOCKET."""

import socket
from collections.abc import Mapping
from typing import Final

MAX_STATUS: Final = 500
"""Characters. Status is one line for ``systemctl status``; a datagram has a size limit of its own."""


class Notifier:
    """The manager named by $NOTIFY_SOCKET. Without one, or with one that does not take a message, every call does nothing.

    Each method returns whether the message was handed over, never waits, and never raises: how we run does not depend on
    who watches.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        address = env.get("NOTIFY_SOCKET", "")
        # "@" stands for the NUL byte of an abstract address. vsock addresses are for machines, not for services.
        self._address = "\0" + address[1:] if address.startswith("@") else address if address.startswith("/") else None

    def ready(self, status: str = "") -> bool:
        """READY=1: the start is complete."""
        return self._send("READY=1" + _line(status))

    def stopping(self, status: str = "") -> bool:
        """STOPPING=1: the stop has begun."""
        return self._send("STOPPING=1" + _line(status))

    def status(self, text: str) -> bool:
        """STATUS=…: one line for a person."""
        return self._send(_line(text).lstrip("\n"))

    def _send(self, message: str) -> bool:
        if self._address is None or not message:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as channel:
                channel.connect(self._address)
                channel.send(message.encode("utf-8", "replace"))
        except OSError:
            return False
        return True


def _line(status: str) -> str:
    """The assignments of one message are separated by newlines, so a text must not bring its own."""
    text = " ".join(status.split())[:MAX_STATUS]
    return f"\nSTATUS={text}" if text else ""
