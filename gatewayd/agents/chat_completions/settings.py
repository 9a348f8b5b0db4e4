"""The chat_completions core's keys in the configuration."""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from msgspec import Meta, Struct

from gatewayd.model.config import GatewaySection, Seconds
from gatewayd.model.secret import Secret

Tokens = Annotated[int, Meta(ge=1, le=10_000_000)]

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")  # RFC 9110, section 5.1
_OUR_HEADERS = frozenset(
    ("authorization", "host", "content-type", "content-length", "transfer-encoding", "connection", "accept-encoding", "cookie")
)
_OPERATION = "/chat/completions"


class ChatCompletionsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """core = "chat_completions": a model behind any OpenAI-compatible endpoint, without tools."""

    url: str
    """The API's base, which usually ends in /v1, e.g. "http://127.0.0.1:11434/v1" for Ollama."""
    model: str
    """The model's name, as the server knows it."""
    api_key: Secret | None = None
    """The key, sent as a bearer token: { file = "…" }, { env = "…" } or { credential = "…" }. Servers at home often need none."""
    system_prompt: str = ""
    """What the model is told before each conversation."""
    max_history_tokens: Annotated[int, Meta(ge=0, le=10_000_000)] = 8000
    """How much of the conversation is sent with each message; the oldest messages are left out first. A token is taken for three
    bytes of text. The system prompt, the new message and the reply come on top."""
    max_reply_tokens: Tokens | None = None
    """How long a reply may get. Without it, the server decides. A reply that reaches the limit says so."""
    reply_limit_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls that limit: max_tokens nearly everywhere, max_completion_tokens for OpenAI's own newer models."""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    """How freely the model chooses its words. Without it, the server decides."""
    session_header: str | None = None
    """The name of a header that gets the session's id, for a server that keeps the conversation itself: then only the new message
    is sent. "X-Hermes-Session-Id" for Hermes, "x-openclaw-session-key" for OpenClaw."""
    first_token_seconds: Seconds = 180.0
    """How long the server may take to begin its answer. One that loads its model first can take minutes."""
    between_tokens_seconds: Seconds = 60.0
    """How long it may pause in the middle of an answer, before that counts as broken."""

    def problems(self, gateway: GatewaySection) -> Iterator[str]:
        """What is wrong beyond types, one sentence each, without a secret; called by the configuration loader."""
        url = _split(self.url)
        if (
            url is None
            or url.scheme not in ("http", "https")
            or not url.hostname
            or "@" in url.netloc
            or url.query
            or url.fragment
        ):
            yield "url must be an http or https URL without user, query and fragment, e.g. http://127.0.0.1:11434/v1"
        elif url.path.rstrip("/").endswith(_OPERATION):
            yield f"url is the API's base: leave out {_OPERATION}"
        if not self.model.strip():
            yield "model is empty"
        if self.api_key is not None and not re.fullmatch(r"[\x21-\x7e]+", self.api_key.reveal()):
            yield "api_key holds characters that no header can carry"
        name = self.session_header
        if name is not None and (not _HEADER_NAME.fullmatch(name) or name.lower() in _OUR_HEADERS):
            yield f"session_header: {name!r} is not the name of a header of one's own"

    def warnings(self) -> Iterator[str]:
        """See ``model.config.ChecksMachine``."""
        url = _split(self.url)
        if self.api_key is not None and url is not None and url.scheme == "http" and not _is_local(url.hostname or ""):
            yield f"api_key goes to {url.hostname} unencrypted: url begins with http"

    @property
    def endpoint(self) -> str:
        return self.url.rstrip("/") + _OPERATION


def _split(url: str) -> SplitResult | None:
    try:
        split = urlsplit(url)
        _ = split.port  # which is where a bad one is found
    except ValueError:
        return None
    return split


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
