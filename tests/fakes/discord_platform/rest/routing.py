"""Routes by the names that Discord's OpenAPI gives their paths, and what an endpoint gets and gives."""

import re
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from tests.fakes.discord_platform.errors import ApiError, Json, invalid_form
from tests.fakes.discord_platform.rest.bodies import Body

_TOP_LEVEL = ("channel_id", "guild_id", "webhook_id", "webhook_token")


class Call(Struct):
    """One request to a route. ``at`` is Trio's clock at receipt; ``status`` is None until it is answered, 0 for a cut one."""

    route: str
    ids: dict[str, str]
    query: dict[str, str]
    body: Body
    at: float
    status: int | None = None
    answer: Any = None

    @property
    def fields(self) -> Json:
        return self.body.fields

    @property
    def resource(self) -> str:
        """The top-level resources of the path, which have limits of their own ("Rate Limits")."""
        return "/".join(self.ids[name] for name in _TOP_LEVEL if name in self.ids)

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A number of the query.

        :raises ApiError: 50035.
        """
        raw = self.query.get(name, str(default))
        if not raw.isdigit() or not least <= int(raw) <= most:
            raise invalid_form(name, "NUMBER_TYPE_MAX", f"int value should be between {least} and {most}.")
        return int(raw)

    def snowflake(self, name: str) -> str | None:
        """An id of the query.

        :raises ApiError: 50035.
        """
        raw = self.query.get(name)
        if raw is not None and not raw.isdigit():
            raise invalid_form(name, "NUMBER_TYPE_COERCE", f'Value "{raw}" is not snowflake.')
        return raw


class Answer(Struct):
    """What an endpoint gives: 200 with JSON, or another status; None with 204."""

    value: Any = None
    status: int = 200


NO_CONTENT = Answer(None, 204)
Endpoint = Callable[[Call], Answer]


class Routes:
    """Finds a route by method and path."""

    def __init__(self, endpoints: dict[str, Endpoint]) -> None:
        self._endpoints = endpoints
        self._patterns = [(name, re.compile(_pattern(name))) for name in endpoints]

    def find(self, method: str, path: str) -> tuple[str, dict[str, str], Endpoint] | None:
        """The route's name, the ids in the path, and the endpoint.

        :raises ApiError: 405 for a path that has other methods.
        """
        wanted = f"{method} {path}"
        for name, pattern in self._patterns:
            match = pattern.fullmatch(wanted)
            if match is not None:
                return name, match.groupdict(), self._endpoints[name]
        if any(
            pattern.fullmatch(f"{other} {path}")
            for other in ("GET", "POST", "PUT", "PATCH", "DELETE")
            for _, pattern in self._patterns
        ):
            raise ApiError(405, 0, "405: Method Not Allowed")
        return None


def _pattern(name: str) -> str:
    def group(match: re.Match[str]) -> str:
        kind = r"\d+" if match[1].endswith("_id") else "[^/]+"
        return f"(?P<{match[1]}>{kind})"

    return re.sub(r"\{(\w+)\}", group, name)
