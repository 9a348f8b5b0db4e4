"""The files of the pages of gatewayd itself, and replies of plain data as responses."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from quart import Response, request

from gatewayd.kit.serving.pages import Asset, load_files
from gatewayd.ports.channel import HttpReply
from gatewayd.web.http.streams import NO_BUFFERING, StreamedBody


@cache
def load_pages() -> Mapping[str, Asset]:
    """Every file of the folders in ``web/pages``, by its name alone: ``/static/NAME`` does not name the folder."""
    folders = files("gatewayd.web").joinpath("pages").iterdir()
    return load_files(*(folder for folder in folders if folder.is_dir()))


def respond(asset: Asset) -> Response:
    """The response to the present request: the file, or 304 when the browser has it."""
    return response_of(asset.reply(request.headers.get("If-None-Match", "")))


def response_of(reply: HttpReply, stream: StreamedBody | None = None) -> Response:
    """A reply as a response. ``stream`` is its body, unless that is bytes; without one the head alone is sent."""
    body = reply.body if isinstance(reply.body, bytes) else stream or b""
    response = Response(body, status=reply.status, content_type=reply.content_type)
    if stream is not None:
        response.headers.extend(NO_BUFFERING)
        response.timeout = None
    for name, value in reply.headers:
        response.headers.add(name, value)
    return response
