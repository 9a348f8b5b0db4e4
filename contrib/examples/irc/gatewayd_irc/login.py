"""From the first line to the welcome: capabilities (IRCv3 capability-negotiation 302), SASL (IRCv3 sasl-3.1 and 3.2), and a nick.

Pure: it is given what the server says, and says what to write.
"""

import re
from base64 import b64encode
from typing import Final

from gatewayd.kit.text.visible import visible
from gatewayd.model.errors import GatewayError, NeedsOperator, TryAgain

from .settings import IrcSettings
from .wire import Message, Support, render

WANTED: Final = frozenset(
    (
        "account-notify",
        "account-tag",
        "batch",
        "chghost",
        "draft/chathistory",
        "echo-message",
        "extended-join",
        "labeled-response",
        "message-tags",
        "server-time",
    )
)
NICKS: Final = 8
"""How many nicks are tried before it is said that none is free."""

_CHUNK: Final = 400
"""In characters of Base64: one AUTHENTICATE (sasl-3.1)."""
_REFUSED: Final = {
    "432": "the nick",
    "464": "the password",
    "465": "us",  # ERR_YOUREBANNEDCREEP
    **dict.fromkeys(("902", "904", "905", "908"), "the login with SASL"),
}
_NICK_TAKEN: Final = ("433", "436", "437")


class Login:
    """Who we are on the server. ``nick`` is the nick that was asked for last; after the welcome (``is_done``) it is ours, and
    ``caps`` are the capabilities in force. ``user_at_host`` is the rest of our name as others see it; empty: not known."""

    def __init__(self, settings: IrcSettings) -> None:
        self.nick = settings.nick
        self.user_at_host = ""
        self.caps: set[str] = set()
        self.support = Support()
        self.is_done = False
        self._settings = settings
        self._offered: dict[str, str] = {}
        self._asked: set[str] = set()
        self._tried = 1
        self._mechanism = "EXTERNAL" if settings.client_certificate else "PLAIN" if settings.sasl_account else None

    def begin(self) -> list[bytes]:
        own = self._settings
        return [
            render("CAP", "LS", "302"),
            *([render("PASS", own.password.reveal())] if own.password is not None else []),
            render("NICK", self.nick),
            render("USER", own.username, "0", "*", own.realname),
        ]

    def answer(self, message: Message) -> list[bytes]:
        """What to write after this message.

        :raises NeedsOperator: the server refuses us. :raises TryAgain: it does not take us now.
        """
        match message.command:
            case "CAP":
                return self._negotiate(message)
            case "AUTHENTICATE":
                return self._authenticate()
            case "903" | "907":
                return [render("CAP", "END")]
            case command if command in _REFUSED:
                raise NeedsOperator(f"the server refuses {_REFUSED[command]}: {visible(message.text)}", retries_slowly=True)
            case command if command in _NICK_TAKEN:
                return self._next_nick(message)
            case "001":
                self._welcomed(message)
            case "005":
                self.support.learn(message.params[1:-1])
            case "376" | "422":  # the end of the message of the day, or none: the last line of the welcome
                if self._mechanism is not None and "sasl" not in self.caps:
                    raise NeedsOperator("the server has no SASL, so the account cannot log in", retries_slowly=True)
                self.is_done = True
        return []

    def _welcomed(self, message: Message) -> None:
        """The text often ends with our whole name (RFC 2812, RPL_WELCOME)."""
        self.nick = message.target or self.nick
        name = message.text.split(" ")[-1]
        if name.startswith(f"{self.nick}!") and "@" in name:
            self.user_at_host = name.partition("!")[2]

    def _negotiate(self, message: Message) -> list[bytes]:
        _, subcommand, *rest = (*message.params, "", "")
        names = message.text.split()
        match subcommand.upper():
            case "LS":
                pairs = (name.partition("=") for name in names)
                self._offered.update((name, value) for name, _, value in pairs)
                return [] if rest[0] == "*" else self._request()
            case "ACK" | "NAK" as answer:
                return self._requested(set(names), answer == "ACK")
            case "DEL":
                self.caps -= set(names)
        return []

    def _request(self) -> list[bytes]:
        wanted = WANTED | ({"sasl"} if self._mechanism is not None else set())
        if self._mechanism is not None and "sasl" not in self._offered:
            raise NeedsOperator("the server has no SASL now, so the account cannot log in", retries_slowly=True)
        if (mechanisms := self._offered.get("sasl")) and self._mechanism not in (None, *mechanisms.split(",")):
            raise NeedsOperator(f"the server has no SASL {self._mechanism}, only {visible(mechanisms)}")
        found = wanted & self._offered.keys()
        return self._ask([" ".join(sorted(found))]) if found else self._end()

    def _ask(self, requests: list[str]) -> list[bytes]:
        self._asked.update(*(request.split() for request in requests))
        return [render("CAP", "REQ", request) for request in requests]

    def _requested(self, names: set[str], agreed: bool) -> list[bytes]:
        """A request is agreed to or refused as a whole. The parts of a refused one are asked for one by one."""
        self._asked -= names
        if agreed:
            self.caps |= {name for name in names if not name.startswith("-")}
        elif len(names) > 1:
            return self._ask(sorted(names))
        return [] if self._asked or self.is_done else self._end()

    def _end(self) -> list[bytes]:
        """Everything that was asked for is answered."""
        if "labeled-response" in self.caps and not {"batch", "message-tags"} <= self.caps:
            self.caps.discard("labeled-response")
        if self._mechanism is not None and "sasl" in self.caps:
            return [render("AUTHENTICATE", self._mechanism)]
        return [render("CAP", "END")]

    def _authenticate(self) -> list[bytes]:
        """RFC 4616: the identity to act as (none: the account's own), the account and the password. EXTERNAL says nothing."""
        own = self._settings
        plain = f"\0{own.sasl_account}\0{own.sasl_password.reveal()}" if own.sasl_password is not None else ""
        data = b64encode(plain.encode()).decode() if self._mechanism == "PLAIN" else ""
        chunks = [data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK)]
        if not chunks or len(chunks[-1]) == _CHUNK:
            chunks.append("+")
        return [render("AUTHENTICATE", chunk) for chunk in chunks]

    def _next_nick(self, message: Message) -> list[bytes]:
        if self._tried >= NICKS:
            raise TryAgain(f"{NICKS} nicks are in use: {visible(message.text)}")
        # At most 9 characters (RFC 1459): NICKLEN is not known yet.
        self.nick = f"{self._settings.nick[:8]}_" if self._tried == 1 else f"{self._settings.nick[:7]}{self._tried:02}"
        self._tried += 1
        return [render("NICK", self.nick)]


def error_of(reason: str) -> GatewayError:
    """What an ERROR of the server means: it has ended the connection. The words are free, these are common ones."""
    said = f"the server ended the connection: {visible(reason)}"
    if re.search(r"throttl|too (?:fast|many)|flood|try again later", reason, re.IGNORECASE):
        return TryAgain(said, after_seconds=60.0)
    if re.search(r"\bbanned\b|[kgzdq]-?lined?\b|not authori[sz]ed", reason, re.IGNORECASE):
        return NeedsOperator(said, retries_slowly=True)
    return TryAgain(said)
