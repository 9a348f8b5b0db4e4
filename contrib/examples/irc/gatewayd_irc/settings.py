"""The keys of an account in the configuration."""

import re
from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, Struct

from gatewayd.model.config import GatewaySection
from gatewayd.model.secret import Secret

_WORD = re.compile(r"[^\s:@!*?,\0][^\s@!*?,\0]*")
_CHANNEL = re.compile(r"[#&+!][^\s,:\x07\0]*")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class IrcSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[channels.irc.accounts.NAME]: one connection to one network."""

    server: str
    """The host of the server, such as "irc.libera.chat"."""
    nick: str
    """The nick that is wanted. While somebody else has it, the account is there under another one."""
    port: Annotated[int, Meta(ge=1, le=65535)] = 6697
    tls: bool = True
    """false: the connection is not encrypted, as on port 6667."""
    ca_file: str | None = None
    """The certificates (PEM) that vouch for the server, instead of those of the system."""
    username: str = "gatewayd"
    realname: str = "gatewayd"
    password: Secret | None = None
    """The server's password (PASS), as few networks and most bouncers want it."""
    sasl_account: str | None = None
    """The account of services, for a login with sasl_password (SASL PLAIN)."""
    sasl_password: Secret | None = None
    client_certificate: str | None = None
    """A file (PEM) with a certificate and its key, for a login with it (SASL EXTERNAL)."""
    channels: tuple[str, ...] = ()
    """The channels to be in. Those in which the account answers are in groups, as for every account."""
    keys: dict[str, Secret] = {}
    """The keys of channels that have one (mode +k), by the channel."""
    burst_lines: Annotated[int, Meta(ge=1, le=1000)] = 5
    """How many lines may be sent at once."""
    seconds_per_line: Annotated[float, Meta(ge=0, le=60)] = 2.0
    """After that, a line each so many seconds. Servers end the connection of those who are faster (Excess Flood)."""

    def problems(self, gateway: GatewaySection) -> Iterator[str]:
        """What is wrong beyond types, one sentence each, without a secret; called by the configuration loader."""
        for key in ("server", "nick", "username", "sasl_account"):
            value = getattr(self, key)
            if value is not None and not _WORD.fullmatch(value):
                yield f"{key} {value!r} cannot be one: it has a character that IRC does not allow there"
        if re.search("[\r\n\0]", self.realname):
            yield "realname must be one line"
        for channel in self.channels:
            if not _CHANNEL.fullmatch(channel):
                yield f"channels: {channel!r} is no channel: it begins with # (seldom &, + or !), without space, comma or colon"
        for channel in sorted(self.keys.keys() - set(self.channels)):
            yield f"keys: {channel!r} is not one of channels"
        for name, secret in (("password", self.password), *((f"keys.{name}", key) for name, key in self.keys.items())):
            if secret is not None and re.search(r"[\s\0]|^:|^$", secret.reveal()):
                yield f"{name} has a space or a line end, or begins with a colon, which IRC cannot send"
        yield from self._login_problems()

    def _login_problems(self) -> Iterator[str]:
        if (self.sasl_account is None) != (self.sasl_password is None):
            yield "sasl_account and sasl_password belong together"
        if self.sasl_account is not None and self.client_certificate is not None:
            yield "sasl_account and client_certificate are two ways to log in: choose one"
        if not self.tls and (self.ca_file or self.client_certificate):
            yield "ca_file and client_certificate need tls"
        if not self.tls and self.sasl_password is not None and self.server not in _LOOPBACK:
            yield "sasl_password would be sent in clear: set tls"
