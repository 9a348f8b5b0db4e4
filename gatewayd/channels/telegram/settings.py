"""An account's own keys in the configuration."""

import re
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from msgspec import Meta, Struct

from gatewayd.kit.proxy import problem_of
from gatewayd.model.config import GatewaySection
from gatewayd.model.secret import MaybeSecret, Secret

PUBLIC_API = "https://api.telegram.org"
_WEBHOOK_PORTS = (None, 443, 80, 88, 8443)  # setWebhook: the ports that Telegram's own servers connect to
_TOKEN = re.compile(r"[0-9]{1,16}:[A-Za-z0-9_-]{1,64}")  # the server refuses more than 80 characters


class TelegramSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[channels.telegram.accounts.NAME]: one bot."""

    token: Secret
    """The token that BotFather gave: { file = "…" }, { env = "…" } or { credential = "…" }."""
    mode: Literal["poll", "webhook"] = "poll"
    """How updates come: poll (gatewayd asks; works behind any firewall), webhook (Telegram calls gateway.public_url)."""
    api_base: str = PUBLIC_API
    """The Bot API server; set it when you host your own."""
    poll_timeout_seconds: Annotated[int, Meta(ge=1, le=50)] = 50
    """How long Telegram may hold a poll open when there is nothing new. Its servers take 50 at most."""
    request_timeout_seconds: Annotated[float, Meta(gt=0, le=600)] = 30.0
    """How long any other call may take, all in all. A send that takes longer is of unknown outcome."""
    webhook_max_connections: Annotated[int, Meta(ge=1, le=100)] = 40
    """How many updates Telegram may deliver at the same time by webhook."""
    link_previews: bool = False
    """true: Telegram shows a preview of the first link in a reply."""
    menu: bool = True
    """true: Telegram shows the chat commands of gatewayd in the bot's menu; false: the menu is left as it is."""
    proxy: MaybeSecret | None = None
    """By which proxy Telegram is reached: an http, https, socks5 or socks5h URL (one with a password in a file), or "environment"
    for what HTTPS_PROXY and NO_PROXY say. The default is none."""
    drafts: bool = True
    """true: in private chats a reply is shown while it is being written, once a second."""
    on_lost_topic: Literal["general", "dead"] = "general"
    """What becomes of a reply to a group's topic that was closed or deleted: general (it is sent to the group itself), dead."""
    max_attachment_bytes: Annotated[int, Meta(ge=1, le=2_147_483_648)] = 20_971_520
    """Larger files are not fetched for an agent. Telegram's own servers give out 20 MiB at most."""

    def problems(self, gateway: GatewaySection) -> list[str]:
        """What is wrong beyond types, one sentence each, without a secret; called by the configuration loader."""
        found: list[str] = []
        if not _TOKEN.fullmatch(self.token.reveal()):
            found.append("token does not look like one of BotFather's: digits, a colon, then letters, digits, _ and -")
        base = _split(self.api_base)
        if base is None or base.scheme not in ("http", "https") or base.query or base.fragment:
            found.append(f"api_base must be an http or https URL, found {self.api_base!r}")
        if self.proxy is not None and (why := problem_of(self.proxy)) is not None:
            found.append(f"proxy {why}")
        if self.mode == "webhook":
            found += self._webhook_problems(gateway.public_url)
        return found

    def _webhook_problems(self, public_url: str | None) -> list[str]:
        if public_url is None:
            return ['mode = "webhook" needs gateway.public_url, the https URL under which Telegram reaches this daemon']
        if self.api_base.rstrip("/") != PUBLIC_API:
            return []  # a server of your own takes http and any port
        url = _split(public_url)
        if url is None or url.scheme != "https" or url.port not in _WEBHOOK_PORTS:
            return [f"Telegram's webhooks need https on port 443, 80, 88 or 8443, but gateway.public_url is {public_url!r}"]
        return []


def _split(url: str) -> SplitResult | None:
    """The parts of a URL that has a host and a possible port, else None."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.hostname else None
