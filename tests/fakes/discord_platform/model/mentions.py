"""Who is mentioned by a text ("Reference", Message Formatting; "Message Resource", Allowed Mentions Object)."""

import re
from collections.abc import Iterable

from msgspec import Struct

from tests.fakes.discord_platform.errors import Json, invalid_form

_USER = re.compile(r"<@!?(\d+)>")
_ROLE = re.compile(r"<@&(\d+)>")
_EVERYONE = re.compile(r"@(?:everyone|here)\b")
_KINDS = ("users", "roles", "everyone")


class Mentions(Struct):
    """Ids in order of appearance."""

    users: list[str]
    roles: list[str]
    everyone: bool


def mentions_in(content: str) -> Mentions:
    """Everything that the text names, allowed or not."""
    users = list(dict.fromkeys(_USER.findall(content)))
    roles = list(dict.fromkeys(_ROLE.findall(content)))
    return Mentions(users, roles, _EVERYONE.search(content) is not None)


def allowed(found: Mentions, rule: Json | None) -> Mentions:
    """What is left of it by ``allowed_mentions``; without a rule, all.

    :raises ApiError: 50035, the rule contradicts itself.
    """
    if rule is None:
        return found
    parse = rule.get("parse")
    for kind in parse or ():
        if kind not in _KINDS:
            raise invalid_form(
                "allowed_mentions.parse.0", "BASE_TYPE_CHOICES", "Value must be one of {'users', 'roles', 'everyone'}."
            )
    for kind in ("users", "roles"):
        if kind in (parse or ()) and rule.get(kind):
            raise invalid_form(
                "allowed_mentions",
                "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE",
                f'parse:["{kind}"] and {kind}: [ids...] are mutually exclusive.',
            )
    return Mentions(
        _kept(found.users, parse, "users", rule),
        _kept(found.roles, parse, "roles", rule),
        found.everyone and "everyone" in (parse or ()),
    )


def _kept(ids: Iterable[str], parse: list[str] | None, kind: str, rule: Json) -> list[str]:
    if kind in (parse or ()):
        return list(ids)
    return [one for one in ids if one in (rule.get(kind) or ())]
