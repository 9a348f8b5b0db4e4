"""The files of the pages, read from the package once, with headers that make a browser distrust everything else."""

from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from string import Template
from typing import Final

from msgspec import Struct
from quart import Response, request

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # The browser asks each time and gets 304: after an upgrade no page runs an old script against the new daemon.
    "Cache-Control": "no-cache",
}
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

    def respond(self) -> Response:
        """The response to the present request: the file, or 304 when the browser has it."""
        response = Response(self.body, content_type=self.content_type, headers=_HEADERS)
        response.set_etag(self.etag)
        if request.if_none_match.contains(self.etag):
            response.status_code = 304
            response.set_data(b"")
        return response


@cache
def load_pages() -> Mapping[str, Asset]:
    """Every file of the folders in ``web/pages``, by its name alone: ``/static/NAME`` does not name the folder."""
    folders = files("gatewayd.web").joinpath("pages").iterdir()
    found = [file for folder in folders if folder.is_dir() for file in folder.iterdir()]
    pages = {file.name: _asset(file.name, file.read_bytes()) for file in found}
    assert len(pages) == len(found), "two files of the pages have one name"
    return pages


def compose(shell: Asset, **texts: str) -> Asset:
    """An HTML page: ``shell`` with these texts at its ``$name``s."""
    return _asset(".html", Template(shell.body.decode()).substitute(texts).encode())


def _asset(name: str, body: bytes) -> Asset:
    return Asset(body=body, content_type=_TYPES[name[name.rindex(".") :]], etag=sha256(body).hexdigest()[:32])
