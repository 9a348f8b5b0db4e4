"""HTTP proxies by URL. A URL may hold a password: no text of this module repeats one."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed has one

from gatewayd.model.errors import NeedsOperator
from gatewayd.model.secret import MaybeSecret, Secret

ENVIRONMENT: Final = "environment"
"""Stands for the variables HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, in upper or lower case."""
SCHEMES: Final = ("http", "https", "socks5", "socks5h")


def problem_of(proxy: MaybeSecret) -> str | None:
    """The problem of a proxy in the configuration, as the end of a sentence about it; None: no problem is visible."""
    text = proxy.reveal()
    if text == ENVIRONMENT:
        return None
    if (why := _why_not(text)) is not None:
        return why
    if isinstance(proxy.value, Secret) or urlsplit(text).password is None:
        return None
    return 'holds a password: put the URL into a file of its own, and name that: proxy = { file = "…" }'


def proxy_for(url: str, proxy: MaybeSecret | None) -> str | None:
    """The configured proxy's URL for requests to ``url``; None: no proxy.

    :raises NeedsOperator: the proxy of the environment is configured, and cannot be used.
    """
    if proxy is None or proxy.reveal() != ENVIRONMENT:
        return None if proxy is None else proxy.reveal()
    found = _of_environment(urlsplit(url), getproxies_environment())
    if found is not None and (why := _why_not(found)) is not None:
        raise NeedsOperator(f"the proxy that the environment names {why}")
    return found


def _of_environment(url: SplitResult, proxies: Mapping[str, str]) -> str | None:
    if proxy_bypass_environment(url.netloc.rpartition("@")[2], dict(proxies)):
        return None
    found = proxies.get(url.scheme) or proxies.get("all")
    return found if not found or "://" in found else f"http://{found}"


def _why_not(text: str) -> str | None:
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        return "is not a URL"
    if url.scheme not in SCHEMES:
        return f'must be "{ENVIRONMENT}" or a URL that begins with {", ".join(f"{scheme}://" for scheme in SCHEMES)}'
    if not url.hostname or any(char.isspace() or char in "<>" for char in text):
        return "has no host"
    if url.path not in ("", "/") or url.query or url.fragment:
        return "must end after its host and port"
    if url.scheme.startswith("socks") and find_spec("socksio") is None:
        return "is a SOCKS proxy, which needs the package socksio: pip install socksio"
    return None
