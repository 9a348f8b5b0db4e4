"""Files: attachments under signed URLs that expire ("Reference", Signed Attachment CDN URLs)."""

from collections.abc import Callable
from hashlib import sha256
from mimetypes import guess_type
from urllib.parse import parse_qs, quote

from msgspec import Struct

from tests.fakes.discord_platform.errors import Json
from tests.fakes.discord_platform.model.snowflakes import Snowflakes

LIFE_SECONDS = 86_400
"""Observed at the real CDN; the documentation says only "a preset expiry time"."""


class Upload(Struct):
    """A file of a request: its name, its bytes, and what the client says that it is."""

    filename: str
    content: bytes
    content_type: str = ""
    description: str | None = None


class Cdn:
    """Keeps the bytes by path. ``url`` is the base of every attachment's address; set it before files are stored."""

    def __init__(self, now: Callable[[], float], snowflakes: Snowflakes, url: str) -> None:
        self._now = now
        self._snowflakes = snowflakes
        self._url = url
        self._files: dict[str, tuple[bytes, str]] = {}
        self.life_seconds: float = LIFE_SECONDS
        self.downloads: list[str] = []

    def store(self, channel_id: str, upload: Upload) -> Json:
        """An Attachment object."""
        attachment_id = self._snowflakes.make()
        path = f"/attachments/{channel_id}/{attachment_id}/{quote(upload.filename)}"
        kind = upload.content_type or guess_type(upload.filename)[0] or "application/octet-stream"
        self._files[path] = (upload.content, kind)
        attachment: Json = {
            "id": attachment_id,
            "filename": upload.filename,
            "size": len(upload.content),
            "content_type": kind,
        }
        if upload.description is not None:
            attachment["description"] = upload.description
        return self.signed({**attachment, "url": self._url + path, "proxy_url": self._url + path})

    def signed(self, attachment: Json) -> Json:
        """The same with fresh URLs, as every answer and event has them."""
        base = attachment["url"].partition("?")[0]
        issued = int(self._now())
        expires = int(issued + self.life_seconds)
        path = base.removeprefix(self._url)
        url = f"{base}?ex={expires:x}&is={issued:x}&hm={_signature(path, expires, issued)}&"
        return {**attachment, "url": url, "proxy_url": url}

    def has(self, path: str) -> bool:
        return path in self._files

    def read(self, path: str, query: str) -> tuple[int, bytes, str]:
        """Status, bytes and content type; 404 for what is not there, is not signed or is too old."""
        self.downloads.append(path)
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        try:
            expires, issued = int(asked["ex"], 16), int(asked["is"], 16)
        except (KeyError, ValueError):
            return _gone()
        found = self._files.get(path)
        if found is None or asked.get("hm") != _signature(path, expires, issued) or self._now() >= expires:
            return _gone()
        return 200, *found


def _gone() -> tuple[int, bytes, str]:
    return 404, b"This content is no longer available.", "text/plain;charset=UTF-8"


def _signature(path: str, expires: int, issued: int) -> str:
    return sha256(f"a secret {path} {expires:x} {issued:x}".encode()).hexdigest()
