"""Finds the daemon and its token.

A running daemon writes ``endpoint.json`` (its URL and pid) into its state directory, beside the ``token``. Both have mode 0600,
so a reader of them is the operator. The token is sent to that URL only. For any other URL the user must name a token.
"""

import ipaddress
import os
import pwd
import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from gatewayd.cli.ctl.exit_codes import Unreachable, UsageError
from gatewayd.cli.ctl.wording import clean
from gatewayd.kit.json import Malformed, decode
from gatewayd.model.secret import Secret

_START = "Start it with `gatewayd`, or `systemctl start gatewayd` where it is a service"
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")
_PROBE_SECONDS = 1.0
_PORTS = {"http": 80, "https": 443}


class Target(Struct, frozen=True):
    """The daemon and the token. ``url`` does not end in a slash. ``token_from`` names the source of the token. ``socket`` is a
    Unix socket of the same daemon, for when its port has no free connection."""

    url: str
    token: Secret
    token_from: str
    pid: int | None = None
    socket: Path | None = None


class Endpoint(Struct, frozen=True):
    """The content of ``endpoint.json``, and its ``directory``. ``socket`` is the name of a Unix socket beside it."""

    url: str
    pid: int
    socket: str | None = None
    directory: Path = Path()


def locate(
    directories: Sequence[Path],
    *,
    url: str | None = None,
    token_file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Target:
    """The daemon of ``url`` or ``$GATEWAYD_URL``, else of the first endpoint.json with a live process. ``directories`` are the
    possible state directories (``config.state_dirs``), the most likely first.

    :raises Unreachable: no daemon runs there, a file is not readable, or the URL has no token.
    :raises UsageError: it is not a URL.
    """
    named_url = url or environ.get("GATEWAYD_URL") or None
    named_token = _named_token(url, token_file, environ)
    if named_url is None:
        endpoint = _find_endpoint(directories)
        return replace(_with_token(endpoint, named_token), socket=_socket_of(endpoint))
    base = _parse_url(named_url)
    if named_token is not None:
        return Target(base.geturl(), *named_token)
    return _with_token(_endpoint_of(base, directories), None)


def _named_token(url: str | None, token_file: Path | None, environ: Mapping[str, str]) -> tuple[Secret, str] | None:
    if token_file is not None:
        return _read_token(token_file), str(token_file)
    token = environ.get("GATEWAYD_TOKEN")
    if not token:
        return None
    home = environ.get("GATEWAYD_URL")
    if url and home and _origin(_parse_url(url)) != _origin(_parse_url(home)):
        raise Unreachable("The token in $GATEWAYD_TOKEN belongs to $GATEWAYD_URL. Name the token for --url with --token-file.")
    return _check_token(token, "$GATEWAYD_TOKEN"), "$GATEWAYD_TOKEN"


def _find_endpoint(directories: Sequence[Path]) -> Endpoint:
    stale: Endpoint | None = None
    denied: Path | None = None
    for directory in directories:
        try:
            endpoint = _read_endpoint(directory)
        except PermissionError:
            denied = denied or directory
            continue
        if endpoint is not None and _is_alive(endpoint.pid):
            return endpoint
        stale = stale or endpoint
    if stale is not None:
        raise Unreachable(
            f"gatewayd is not running: {stale.directory / 'endpoint.json'} names process {stale.pid}, which has ended. {_START}; "
            "if it runs elsewhere (in a container), name it with --url and --token-file."
        )
    if denied is not None:
        raise Unreachable(_no_permission(denied, "$GATEWAYD_URL and $GATEWAYD_TOKEN"))
    searched = ", ".join(str(directory) for directory in directories)
    raise Unreachable(f"No running gatewayd found (no endpoint.json in {searched}). {_START}, or name another with --url.")


def _endpoint_of(base: SplitResult, directories: Sequence[Path]) -> Endpoint:
    """The local daemon with the URL ``base``. Its own spelling of the URL is used: `localhost` could be another program on
    [::1]."""
    for directory in directories:
        try:
            endpoint = _read_endpoint(directory)
        except PermissionError:
            continue
        if endpoint is not None and _origin(_parse_url(endpoint.url)) == _origin(base) and _is_alive(endpoint.pid):
            return endpoint
    raise Unreachable(
        f"There is no token for {base.geturl()}, and a local daemon's token is only sent to that daemon. "
        "Name the token with --token-file or $GATEWAYD_TOKEN."
    )


def _socket_of(endpoint: Endpoint) -> Path | None:
    """The operators' socket, if the daemon listens on it. At a stop it closes earlier than a port of the service manager."""
    if endpoint.socket is None or "/" in endpoint.socket:
        return None
    path = endpoint.directory / endpoint.socket
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(str(path))
        except OSError:
            return None
    return path


def _with_token(endpoint: Endpoint, named: tuple[Secret, str] | None) -> Target:
    url = _parse_url(endpoint.url).geturl()
    if named is not None:
        return Target(url, *named, pid=endpoint.pid)
    path = endpoint.directory / "token"
    return Target(url, _read_token(path, of_daemon=True), str(path), pid=endpoint.pid)


def _read_endpoint(directory: Path) -> Endpoint | None:
    """None: there is no file. :raises PermissionError: it is not readable. :raises Unreachable: it is damaged."""
    path = directory / "endpoint.json"
    try:
        found = decode(path.read_bytes(), Endpoint)
    except PermissionError:
        raise
    except OSError:
        return None
    except Malformed as error:
        raise Unreachable(f"{path} is damaged ({error}). Restart gatewayd: it writes the file again.") from None
    return Endpoint(_own_url(found.url), found.pid, found.socket, directory)


def _own_url(url: str) -> str:
    """A daemon that is bound to all addresses has a URL on loopback."""
    return url.replace("://0.0.0.0", "://127.0.0.1", 1).replace("://[::]", "://[::1]", 1)


def _read_token(path: Path, *, of_daemon: bool = False) -> Secret:
    try:
        with path.open("rb") as file:
            text = file.read(8192).decode("utf-8-sig", "replace")
    except PermissionError:
        raise Unreachable(_no_permission(path, "$GATEWAYD_TOKEN")) from None
    except FileNotFoundError:
        why = "This gatewayd has the tokens of its configuration. Name" if of_daemon else "Name"
        raise Unreachable(f"There is no file {path}. {why} one with --token-file or $GATEWAYD_TOKEN.") from None
    except OSError as error:
        raise Unreachable(f"The token file {path} cannot be read: {error.strerror}.") from None
    return _check_token(text.strip(), str(path))


def _check_token(token: str, source: str) -> Secret:
    if not _TOKEN.fullmatch(token):
        raise Unreachable(f"{source} does not hold a token: one line of printable ASCII characters without spaces is expected.")
    return Secret(token)


def _no_permission(path: Path, variables: str) -> str:
    try:
        owner = pwd.getpwuid(path.stat().st_uid).pw_name
    except (OSError, KeyError):
        owner = "root"
    return f"You may not read {path}. Try `sudo -u {owner} gatewayctl …`, or set {variables}."


def _is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _parse_url(text: str) -> SplitResult:
    """:raises UsageError: it is not an http(s) URL, or has a user, query or fragment."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in _PORTS and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or not text.isprintable() or not text.isascii() or " " in text:
        raise UsageError(f"{clean(text)!r} is not the URL of a gatewayd. It looks like http://127.0.0.1:18790.")
    if parts.username is not None or parts.query or parts.fragment:
        raise UsageError(
            "The URL of a gatewayd has no user, query or fragment. Name the token with --token-file or $GATEWAYD_TOKEN."
        )
    return parts._replace(path=parts.path.rstrip("/"))


def _origin(url: SplitResult) -> tuple[str, str, int, str]:
    host = url.hostname or ""
    return url.scheme, "loopback" if is_loopback(host) else host, url.port or _PORTS[url.scheme], url.path


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
