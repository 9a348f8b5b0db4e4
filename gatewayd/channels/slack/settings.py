"""An account's own keys in the configuration."""

import re
from typing import Annotated, Final, Literal
from urllib.parse import SplitResult, urlsplit

from msgspec import Meta, Struct

from gatewayd.kit.proxy import problem_of
from gatewayd.model.config import GatewaySection
from gatewayd.model.secret import MaybeSecret, Secret

PUBLIC_API: Final = "https://slack.com/api"


class SlackSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[channels.slack.accounts.NAME]: one app in one workspace."""

    bot_token: Secret
    """The Bot User OAuth Token (xoxb-…), from "OAuth & Permissions": { file = "…" }, { env = "…" } or { credential = "…" }."""
    mode: Literal["socket", "events"] = "socket"
    """How events come: socket (gatewayd connects; works behind any firewall), events (Slack calls gateway.public_url)."""
    app_token: Secret | None = None
    """For socket: the app-level token (xapp-…) with the scope connections:write, from "Basic Information"."""
    signing_secret: Secret | None = None
    """For events: the Signing Secret, from "Basic Information"."""
    api_base: str = PUBLIC_API
    """The address of the Web API. The tokens go to its host, and for slack.com to files.slack.com, and nowhere else."""
    connections: Annotated[int, Meta(ge=1, le=10)] = 2
    """For socket: how many connections are open at once. Slack allows 10 for an app and gives each event to one of them."""
    replies: Literal["thread", "channel"] = "thread"
    """Where a mention in a channel is answered: thread (in a thread of its own), channel."""
    thread_replies: Literal["all", "mentioned"] = "all"
    """Which messages are for the bot in a thread that it is in: all of them, or those that mention it."""
    streaming: bool = False
    """true: a reply grows by Slack's streams (chat.startStream) where they can be used; false: by edits."""
    link_previews: bool = False
    """true: Slack shows previews of the links in a reply."""
    request_timeout_seconds: Annotated[float, Meta(gt=0, le=600)] = 30.0
    """How long a call may take, all in all; a file has one second more for each MiB. A send that takes longer is of unknown
    outcome."""
    max_attachment_bytes: Annotated[int, Meta(ge=1, le=1_073_741_824)] = 20_971_520
    """Larger files are not fetched for an agent. Slack takes 1 GB at most."""
    proxy: MaybeSecret | None = None
    """By which proxy Slack is reached: an http, https, socks5 or socks5h URL (one with a password in a file), or "environment"
    for what HTTPS_PROXY and NO_PROXY say. The default is none."""
    backfill_minutes: Annotated[int, Meta(ge=0, le=10_080)] = 60
    """After a gap in the connection, messages of at most this age are fetched and answered. 0: none are."""
    backfill_calls: Annotated[int, Meta(ge=1, le=10_000)] = 200
    """How many calls of the Web API one such look back may use."""

    def problems(self, gateway: GatewaySection) -> list[str]:
        """What is wrong beyond types, one sentence each, without a secret; called by the configuration loader."""
        found = _wrong_tokens(self)
        base = _split(self.api_base)
        if base is None or base.scheme not in ("http", "https") or base.query or base.fragment:
            found.append(f"api_base must be an http or https URL, found {self.api_base!r}")
        if self.proxy is not None and (why := problem_of(self.proxy)) is not None:
            found.append(f"proxy {why}")
        if self.mode == "socket" and self.app_token is None:
            found.append('mode = "socket" needs app_token, the app-level token (xapp-…) with the scope connections:write')
        if self.mode == "events" and self.signing_secret is None:
            found.append('mode = "events" needs signing_secret, the Signing Secret of the app under "Basic Information"')
        if self.mode == "events" and gateway.public_url is None:
            found.append('mode = "events" needs gateway.public_url, the https URL under which Slack reaches this daemon')
        return found


_KINDS: Final = (
    (re.compile(r"xoxe\.xox[bp]-"), "a token that expires (xoxe.xox…): token rotation is on, which gatewayd does not do"),
    (re.compile(r"xoxe-"), "a refresh token (xoxe-…)"),
    (re.compile(r"xoxb-"), "a bot token (xoxb-…)"),
    (re.compile(r"xapp-"), "an app-level token (xapp-…)"),
    (re.compile(r"xoxp-"), "a user token (xoxp-…)"),
    (re.compile(r"xox[cds]-"), "a token of a browser's session (xoxc-…, xoxd-…, xoxs-…)"),
    (re.compile(r"xoxa-|xoxr-"), "a token of an old kind of app (xoxa-…, xoxr-…)"),
    (re.compile(r"https?://"), "an address"),
    (re.compile(r"[0-9a-z]{32}\Z"), "something like a signing secret (32 digits and small letters)"),
)
_BOT: Final = re.compile(r"xoxb-[A-Za-z0-9-]{8,250}")
_APP: Final = re.compile(r"xapp-[A-Za-z0-9-]{8,250}")
_SIGNING: Final = re.compile(r"[0-9a-z]{32}")


def _wrong_tokens(settings: SlackSettings) -> list[str]:
    wanted = (
        ("bot_token", settings.bot_token, _BOT, "a bot token (xoxb-…)"),
        ("app_token", settings.app_token, _APP, "an app-level token (xapp-…)"),
        ("signing_secret", settings.signing_secret, _SIGNING, "32 digits and small letters"),
    )
    found: list[str] = []
    for key, secret, pattern, what in wanted:
        if secret is not None and not pattern.fullmatch(secret.reveal()):
            kind = next((kind for begin, kind in _KINDS if begin.match(secret.reveal())), "something else")
            rest = " with something that is not part of one" if kind == what else ""
            found.append(f"{key} must be {what}, and it is {kind}{rest}")
    return found


def _split(url: str) -> SplitResult | None:
    """The parts of a URL that has a host and a possible port, else None."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.hostname else None
