"""Errors of the connection and of responses, as sentences that say what to do next."""

import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from msgspec import Struct

from gatewayd import __version__
from gatewayd.cli.ctl.connection.locate import Target
from gatewayd.cli.ctl.connection.sync_http import httpx2
from gatewayd.cli.ctl.exit_codes import ApiError, CtlError, IncompatibleResponse, ItemError, TemporaryError, Unreachable
from gatewayd.cli.ctl.wording import clean
from gatewayd.kit.json import Malformed, decode
from gatewayd.model.config import Scope
from gatewayd.model.operator_api import ConfigErrorBody, ErrorBody

_OTHER_RELEASE = f"Use the gatewayctl of the daemon's release (this one is {__version__})"


NO_SUCH_PATH = "there is nothing at this path"
"""The message of gatewayd for an unknown path, unlike that for an unknown item."""


_LISTS: Mapping[str, str] = {
    "/v1/agents/": "agents list",
    "/v1/approvals/": "approvals list",
    "/v1/channels/": "channels list",
    "/v1/dead-letters/": "dead-letters list",
    "/v1/pairing/": "pairing list",
    "/v1/webchat/": "webchat sessions",
}
"""The command that lists the items of a path."""


class _Versioned(Struct, frozen=True):
    version: str


def transport_error(target: Target, error: httpx2.RequestError | httpx2.InvalidURL, seconds: float) -> Unreachable:
    """No response: no connection, a broken or slow one, or no HTTP."""
    match error:
        case httpx2.TimeoutException():
            return Unreachable(
                f"{target.url} did not answer within {seconds:g} s. Is it overloaded, or is there a firewall between?"
            )
        case httpx2.ProxyError():
            return Unreachable(f"The proxy between here and {target.url} refuses ({clean(str(error))}). Check $HTTPS_PROXY.")
        case httpx2.ConnectError() if tls := _tls_error(error):
            return Unreachable(_tls_sentence(target, tls))
        case httpx2.ConnectError():
            return Unreachable(_not_connected(target, error))
        case httpx2.NetworkError() | httpx2.RemoteProtocolError() if _was_cut(error):
            return Unreachable(
                f"{target.url} closed the connection without an answer: gatewayd is stopping, or it is not gatewayd."
            )
    return Unreachable(f"What listens at {target.url} does not speak HTTP as gatewayd does ({clean(str(error))}).")


def response_error(target: Target, status: int, body: bytes, *, scope: Scope, path: str, headers: Mapping[str, str]) -> CtlError:
    """A response that is not 2xx."""
    try:
        problem = decode(body, ErrorBody).error
    except Malformed:
        return _foreign_response(target, status, headers)
    said = clean(problem.message).rstrip(".")
    match status, problem.code:
        case 401, _:
            return ApiError(
                f"gatewayd refused the token from {target.token_from} (401: {said}). "
                "If it was replaced, name the new one with --token-file or $GATEWAYD_TOKEN."
            )
        case 403, "forbidden":
            return ApiError(
                f"The token from {target.token_from} lacks the scope {scope!r} (403: {said}). "
                "Use a token that has it: see [auth.tokens] in the configuration."
            )
        case 404, "not_found" if said not in ("", NO_SUCH_PATH):
            return ItemError(f"{said} (404).", hint=_where_to_look(path))
        case ((404 | 405), _):
            return ApiError(f"This gatewayd does not know {path}: it is of another release. {_OTHER_RELEASE}.")
        case 409, _:
            return ItemError(f"{said} (409).")
        case 422, "invalid_config":
            return ApiError("\n".join([f"{said} (422):", *_config_problems(body)]))
        case 421, _:
            host = urlsplit(target.url).hostname
            return ApiError(f"gatewayd does not answer as {host} (421). Add it to gateway.allowed_hosts, or use another --url.")
        case 429, _:
            return TemporaryError(f"gatewayd asks to slow down (429: {said}). Try again in a minute.")
        case 503, "draining":
            return TemporaryError("gatewayd is stopping (503). Try again when it has started.")
        case ((500 | 502 | 503 | 504), _):
            return TemporaryError(f"gatewayd could not do it ({status}: {said}). Its log says why: `journalctl -u gatewayd`.")
    return ApiError(f"{said} ({status}).")


def _where_to_look(path: str) -> str:
    """The command that lists what there is, for the path of one item."""
    command = next((command for prefix, command in _LISTS.items() if path.startswith(prefix)), None)
    return "" if command is None else f"See: gatewayctl {command}"


def _config_problems(body: bytes) -> list[str]:
    try:
        problems = decode(body, ConfigErrorBody).problems
    except Malformed:
        return ["  no reason that can be read here"]
    return [f"  {clean(str(problem))}" for problem in problems]


def decode_error(target: Target, error: Malformed, body: bytes) -> Unreachable:
    """A 2xx response that cannot be decoded."""
    if not error.is_json:
        return content_type_error(target)
    try:
        who = f"gatewayd {clean(decode(body, _Versioned).version, at_most=40)}"
    except Malformed:
        who = f"What listens at {target.url}"
    return IncompatibleResponse(f"{who} gives an answer that is not understood here ({clean(str(error))}). {_OTHER_RELEASE}.")


def content_type_error(target: Target) -> Unreachable:
    """A 2xx response in another format."""
    return Unreachable(f"What listens at {target.url} is not gatewayd: its answer is of another kind. Check the URL.")


def _foreign_response(target: Target, status: int, headers: Mapping[str, str]) -> CtlError:
    if 300 <= status < 400:
        to = clean(headers.get("location", "elsewhere"), at_most=200)
        return Unreachable(f"{target.url} redirects to {to}, and a token is not sent on. If that is the daemon, use it as --url.")
    if status in (502, 503, 504):
        return Unreachable(f"The proxy at {target.url} answers {status}: it does not reach gatewayd. Is the daemon running?")
    return Unreachable(f"What listens at {target.url} is not gatewayd (it answers {status}). Check the URL and the port.")


def _not_connected(target: Target, error: httpx2.ConnectError) -> str:
    if target.pid is not None:
        return f"gatewayd (process {target.pid}) does not listen at {target.url}: it may be starting or stopping. See its log."
    return f"Nothing answers at {target.url} ({clean(str(error))}). Is gatewayd running there, and is this its bind address?"


def _tls_error(error: BaseException) -> ssl.SSLError | None:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def _tls_sentence(target: Target, error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = clean(error.verify_message)
        return f"The certificate of {target.url} is not trusted: {why}. If it is your own CA, name it in $SSL_CERT_FILE."
    if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
        return f"{target.url} does not speak TLS. gatewayd itself speaks plain HTTP: is it http:// instead of https://?"
    return f"TLS with {target.url} failed ({clean(error.reason or str(error))})."


def _was_cut(error: httpx2.RequestError) -> bool:
    return isinstance(error, httpx2.NetworkError) or "disconnected" in str(error) or "closed connection" in str(error)
