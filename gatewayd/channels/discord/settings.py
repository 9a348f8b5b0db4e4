"""An account's own keys in the configuration."""

import re
from typing import Annotated, Final, Literal
from urllib.parse import SplitResult, urlsplit

from msgspec import Meta, Struct

from gatewayd.kit.proxy import problem_of
from gatewayd.model.config import GatewaySection
from gatewayd.model.secret import MaybeSecret, Secret

PUBLIC_API: Final = "https://discord.com/api/v10"


class DiscordSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[channels.discord.accounts.NAME]: one app with its bot, in any number of guilds."""

    token: Secret
    """The token of the bot, from the page "Bot" of the app: { file = "…" }, { env = "…" } or { credential = "…" }."""
    interactions: Literal["gateway", "http"] = "gateway"
    """How buttons and slash commands come: gateway (works behind any firewall), http (Discord calls gateway.public_url)."""
    public_key: str | None = None
    """For interactions = "http": the Public Key of the app, 64 hexadecimal digits, from "General Information"."""
    message_content: bool = True
    """true: asks for the privileged intent "Message Content". false: in guilds, only what mentions the bot has a text."""
    thread_replies: Literal["all", "mentioned"] = "all"
    """Which messages are for the bot in a thread that it is in: all of them, or those that mention it."""
    commands: bool = True
    """true: gatewayd's commands are registered with Discord, which then offers them behind a slash."""
    link_previews: bool = False
    """true: Discord shows previews of the links in a reply."""
    api_base: str = PUBLIC_API
    """The address of the REST API, with its version. The token goes to its host and to the gateway that it names."""
    request_timeout_seconds: Annotated[float, Meta(gt=0, le=600)] = 30.0
    """How long a call may take, all in all; a file has one second more for each MiB. A send that takes longer is of unknown
    outcome."""
    max_attachment_bytes: Annotated[int, Meta(ge=1, le=1_073_741_824)] = 20_971_520
    """Larger files are not fetched for an agent."""
    proxy: MaybeSecret | None = None
    """By which proxy Discord is reached: an http, https, socks5 or socks5h URL (one with a password in a file), or "environment"
    for what HTTPS_PROXY and NO_PROXY say. The default is none."""
    backfill_minutes: Annotated[int, Meta(ge=0, le=10_080)] = 60
    """After a gap that no resumed session fills, messages of at most this age are fetched and answered. 0: none are."""
    backfill_calls: Annotated[int, Meta(ge=1, le=10_000)] = 200
    """How many calls of the REST API one such look back may use."""

    def problems(self, gateway: GatewaySection) -> list[str]:
        """What is wrong beyond types, one sentence each, without a secret; called by the configuration loader."""
        found = [] if (wrong := _wrong_token(self.token.reveal())) is None else [wrong]
        base = _split(self.api_base)
        if base is None or base.scheme not in ("http", "https") or base.query or base.fragment:
            found.append(f"api_base must be an http or https URL, found {self.api_base!r}")
        if self.proxy is not None and (why := problem_of(self.proxy)) is not None:
            found.append(f"proxy {why}")
        if self.public_key is not None and not _PUBLIC_KEY.fullmatch(self.public_key):
            found.append('public_key must be the 64 hexadecimal digits of "Public Key" under "General Information"')
        if self.interactions == "http" and self.public_key is None:
            found.append('interactions = "http" needs public_key, the Public Key of the app under "General Information"')
        if self.interactions == "http" and gateway.public_url is None:
            found.append('interactions = "http" needs gateway.public_url, the https URL under which Discord reaches this daemon')
        return found


_PUBLIC_KEY: Final = re.compile(r"[0-9a-fA-F]{64}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{18,40}\.[A-Za-z0-9_-]{5,10}\.[A-Za-z0-9_-]{20,80}")
"""Base64 of the bot's id, of a time, and of a signature ("Reference", "Authentication", example)."""

_KINDS: Final = (
    (re.compile(r"Bot\s", re.IGNORECASE), 'the value of a header: leave out the word "Bot" in front'),
    (re.compile(r"Bearer\s", re.IGNORECASE), "the token of an OAuth2 login, of which no bot can live"),
    (re.compile(r"mfa\."), "the token of a person's login, by which Discord forbids to run a bot"),
    (re.compile(r"https?://"), "an address, perhaps of a webhook"),
    (re.compile(r"[0-9]{15,20}\Z"), "an id of the app or the bot"),
    (re.compile(r"[0-9a-fA-F]{64}\Z"), "something like the app's public key"),
    (re.compile(r"[A-Za-z0-9_-]{32}\Z"), 'something like a client secret, of the page "OAuth2"'),
)


def _wrong_token(token: str) -> str | None:
    """Why this is no token of a bot; None: it looks like one."""
    if _TOKEN.fullmatch(token):
        return None
    kind = next((kind for begin, kind in _KINDS if begin.match(token)), "something else")
    return f'token must be that of a bot, from the page "Bot" of the app, three parts with dots between, and it is {kind}'


def _split(url: str) -> SplitResult | None:
    """The parts of a URL that has a host and a possible port, else None."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.hostname else None
