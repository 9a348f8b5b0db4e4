"""Files of a page, read from a package once, with headers that make a browser distrust everything else."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from importlib.resources.abc import Traversable
from string import Template
from typing import Final

from msgspec import Struct

from gatewayd.ports.channel import HttpReply

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = (
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
    # The browser asks each time and gets 304: after an upgrade no page runs an old script against the new daemon.
    ("Cache-Control", "no-cache"),
)
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Asset(Struct, frozen=True):
    """One file, ready to be served."""

    body: bytes
    content_type: str
    etag: str

    def reply(self, if_none_match: str) -> HttpReply:
        """The file, or 304 when the browser has it, as the request's If-None-Match says (RFC 9110, section 13.1.2)."""
        known = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
        headers = (*_HEADERS, ("ETag", f'"{self.etag}"'))
        if f'"{self.etag}"' in known or "*" in known:
            return HttpReply(b"", 304, self.content_type, headers)
        return HttpReply(self.body, 200, self.content_type, headers)


def load_files(*folders: Traversable) -> Mapping[str, Asset]:
    """Every css, html, js and svg file in these folders, by its name alone."""
    found = [file for folder in folders for file in folder.iterdir() if _ending(file.name) in _TYPES]
    return _by_name(found)


def compose(shell: Asset, **texts: str) -> Asset:
    """An HTML page: ``shell`` with these texts at its ``$name``s."""
    return _asset(".html", Template(shell.body.decode()).substitute(texts).encode())


def _by_name(found: Iterable[Traversable]) -> Mapping[str, Asset]:
    pages: dict[str, Asset] = {}
    for file in found:
        assert file.name not in pages, "two files of the pages have one name"
        pages[file.name] = _asset(file.name, file.read_bytes())
    return pages


def _asset(name: str, body: bytes) -> Asset:
    return Asset(body=body, content_type=_TYPES[_ending(name)], etag=sha256(body).hexdigest()[:32])


def _ending(name: str) -> str:
    return name[name.rfind(".") :]
