"""Secrets that cannot be printed by accident, and the redaction of secrets in texts."""

import json
from base64 import b64encode
from collections.abc import Iterable
from itertools import takewhile
from typing import Final, NoReturn
from urllib.parse import quote

SHORTEST_SECRET: Final = 8
"""In characters. A shorter secret cannot be redacted: it may be an ordinary word, and the gap would reveal it."""
SHORTEST_PIECE: Final = 12
"""In characters. The beginning of a secret with this length is redacted, too, because a text may be cut inside of it."""
REDACTED: Final = "***"


class Secret:
    """Holds a text. ``repr``, ``str``, format and pickling never show it; only :meth:`reveal` does."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not serialised")


class MaybeSecret:
    """A text of the configuration that holds a secret in some cases only, such as the URL of a proxy. It is written there, or
    named as a secret is; then ``value`` is a Secret."""

    __slots__ = ("value",)

    def __init__(self, value: str | Secret) -> None:
        self.value = value

    def reveal(self) -> str:
        return self.value.reveal() if isinstance(self.value, Secret) else self.value

    def __repr__(self) -> str:
        return repr(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MaybeSecret) and other.value == self.value

    def __hash__(self) -> int:
        return hash(("MaybeSecret", self.value))


class Redactor:
    """Replaces every known secret in a text by ``***``, also where it is written as in a URL, in JSON, by ``repr`` or in base64
    (HTTP Basic), and where only its beginning is left.

    The cost is one lookup for each position of the text, however many secrets there are: a thousand accounts have a thousand
    tokens, and each log line is checked for all of them.
    """

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._by_head: dict[str, set[str]] = {}
        self._longest = 0
        for secret in secrets:
            self.add(secret)

    @property
    def longest(self) -> int:
        """The length of the longest written form of all secrets, in characters."""
        return self._longest

    def add(self, secret: Secret) -> None:
        """Redact this secret from now on, unless it is shorter than ``SHORTEST_SECRET``."""
        value = secret.reveal()
        if len(value) < SHORTEST_SECRET:
            return
        for form in _written_forms(value):
            self._by_head.setdefault(form[:SHORTEST_SECRET], set()).add(form)
            self._longest = max(self._longest, len(form))

    def __call__(self, text: str) -> str:
        by_head = self._by_head
        if not by_head:
            return text
        heads = {text[at : at + SHORTEST_SECRET] for at in range(len(text) - SHORTEST_SECRET + 1)}
        if heads.isdisjoint(by_head):
            return text
        suspects = [form for head in heads & by_head.keys() for form in by_head[head]]
        for form in sorted(suspects, key=len, reverse=True):
            text = _without_beginnings(text.replace(form, REDACTED), form)
        return text


def _written_forms(value: str) -> set[str]:
    """The secret as it is, and as it is written in other notations. In base64 it has three forms, by its offset. Their ends are
    left out, because they depend on the text around."""
    forms = {value, quote(value), quote(value, safe=""), repr(value)[1:-1], json.dumps(value)[1:-1]}
    data = value.encode("utf-8", "surrogatepass")
    for before in range(3):
        middle = b64encode(b"\0" * before + data)[(0, 2, 3)[before] :].rstrip(b"=")
        whole = middle[: len(middle) - (1 if (before + len(data)) % 3 else 0)]
        if len(whole) >= SHORTEST_PIECE:
            forms.add(whole.decode())
    return forms


def _without_beginnings(text: str, form: str) -> str:
    """``text`` with each beginning of ``form`` redacted that has ``SHORTEST_PIECE`` characters or more."""
    at = text.find(form[:SHORTEST_PIECE]) if len(form) >= SHORTEST_PIECE else -1
    while at >= 0:
        same = takewhile(lambda pair: pair[0] == pair[1], zip(text[at : at + len(form)], form, strict=False))
        end = at + sum(1 for _ in same)
        text = text[:at] + REDACTED + text[end:]
        at = text.find(form[:SHORTEST_PIECE], at)
    return text
