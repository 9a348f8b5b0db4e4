"""The host of a link's target, as browsers read it, and the hosts that the link's text shows. Pure.

Addresses are read as by browsers (WHATWG URL Standard, section 4.4): a backslash is a slash, further slashes are ignored, and the
part before an @ is no host. Names are compared in ASCII (UTS 46): letters that look the same are not the same.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from gatewayd.kit.text.visible import UNSEEN

_TURNS_ROUND: Final = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")  # Unicode, annex 9: explicit controls
_DOTS: Final = str.maketrans("\u3002\uff0e\uff61", "...")
_AUTHORITY: Final = re.compile(r"https?:[/\\]*([^/\\?#]*)", re.IGNORECASE)
_SHOWN_AUTHORITY: Final = re.compile(r"//([^\s/\\?#]*)")
_FIRST_ADDRESS: Final = re.compile(r"\s*(?:https?://)?([^\s/\\?#@]+)(?:[/?#]\S*)?", re.IGNORECASE)
_WORD: Final = re.compile(r"[^\s!-,/:-@\[-^`{-~]+")  # what is between spaces and signs, other than . - _
_PORT: Final = re.compile(r":[0-9]*\Z")
_QUOTES: Final = "“”‘’„«»‹›…·•–—.-"


def unshown_host(url: str, shown: str) -> str | None:
    """The host of ``url`` (of a mailto, the address), if a reader of ``shown`` may take it for another one.

    None: ``shown`` names no host, or only this one. A host that is not ASCII is returned if ``shown`` has one that looks like it.
    """
    if url.lower().startswith("mailto:"):
        return _unshown_address(url, shown)
    authority = _authority(url)
    real = ascii_host(authority.rpartition("@")[2])
    if _TURNS_ROUND.search(shown):
        return real
    rest = _beyond_first_address(shown, real)
    seen = [*hosts_in(rest)]
    is_plain = "@" not in authority and "xn--" not in real and all(_same(host, real) for host in seen)
    return None if is_plain or (not seen and rest == shown) else real


def hosts_in(text: str) -> Iterator[str]:
    """The words in ``text`` that look like hosts, in ASCII: after ``//``, or with a dot and a possible top-level domain."""
    plain = _plain(text)
    for authority in _SHOWN_AUTHORITY.findall(plain):
        yield from (ascii_host(part) for part in authority.split("@") if part)
    for word in _WORD.findall(plain):
        labels = word.strip(_QUOTES).split(".")
        if len(labels) > 1 and all(labels) and (_is_top_level(labels[-1]) or (len(labels) == 4 and "".join(labels).isdecimal())):
            yield ascii_host(".".join(labels))


def ascii_host(authority: str) -> str:
    """The host of ``host[:port]`` as a browser resolves it."""
    name = _plain(unquote(_PORT.sub("", authority))).strip(".")
    return ".".join(map(_ascii_label, name.split(".")))


def _unshown_address(url: str, shown: str) -> str | None:
    address = _visible(unquote(url[len("mailto:") :].partition("?")[0]))
    domains = {ascii_host(one.rpartition("@")[2]) for one in address.split(",")}
    lies = _TURNS_ROUND.search(shown) or any(not any(_same(host, real) for real in domains) for host in hosts_in(shown))
    return address if lies else None


def _authority(url: str) -> str:
    found = _AUTHORITY.match(re.sub(r"[\t\r\n]", "", url))
    return found[1] if found else url


def _beyond_first_address(shown: str, real: str) -> str:
    """``shown`` without its first address, if that is of ``real``: names in its path are no hosts."""
    found = _FIRST_ADDRESS.match(shown)
    return shown[found.end() :] if found and _same(ascii_host(found[1]), real) else shown


def _same(host: str, other: str) -> bool:
    return host.removeprefix("www.") == other.removeprefix("www.")


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", _visible(text)).translate(_DOTS).lower()


def _visible(text: str) -> str:
    return "".join(char for char in text if char not in UNSEEN and unicodedata.category(char) != "Cf")


def _is_top_level(label: str) -> bool:
    return len(label) > 1 and not label.isdecimal() and label[0].isalpha()


def _ascii_label(label: str) -> str:
    if label.isascii():
        return label
    try:
        return "xn--" + label.encode("punycode").decode("ascii")
    except UnicodeError:
        return label
