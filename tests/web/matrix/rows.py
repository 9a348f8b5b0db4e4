"""The rows of the matrix: every route x whoever may ask, and where their answers stand.

Routes come from the app's table, senders from the roles, scopes and pages of the console. Answers stand in answers.txt,
written by hand.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final, get_args

from msgspec import Struct
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map

from gatewayd.model.config import SCOPES_OF_ROLE, Role, Scope
from gatewayd.model.operator_api import ConsolePage

ANSWERS: Final = Path(__file__).parent / "answers.txt"
NOBODY: Final = ("none", "wrong", "hook", "cookie")
"""Without a token of ours: with none, with a wrong one, with the secret of a webhook, and with a login of the web chat."""
SEVERAL: Final = "operator.approvals+write"
"""What the servers of agents need."""
ALL: Final = "*"
"""Every scope that the role can have."""
BEYOND: Final = "beyond"
"""A token that was stored with every scope there is, whatever its role can have."""


class Row(Struct, frozen=True):
    """One line of answers.txt. ``path`` is as it is asked, with {names} to be filled in; ``variant`` tells rows of one path
    apart. ``effect``: what is to be seen when it is done."""

    method: str
    path: str
    variant: str
    effect: str

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}{'#' if self.variant else ''}{self.variant}"


def senders() -> list[str]:
    return [sender for group in groups() for sender in group]


def groups() -> list[tuple[str, ...]]:
    """As the answers are grouped on a line."""
    found: list[tuple[str, ...]] = [NOBODY]
    for role in get_args(Role):
        scopes = [scope for scope in get_args(Scope) if scope in SCOPES_OF_ROLE[role]]
        whole = [ALL] if len(scopes) > 1 else []
        beyond = [BEYOND] if len(scopes) < len(get_args(Scope)) else []
        several = [SEVERAL] if SEVERAL.startswith(f"{role}.") else []
        found.append((*(f"{role}.{one}" for one in (*scopes, *whole, *beyond)), *several))
    return [*found, tuple(f"console.{page}" for page in get_args(ConsolePage))]


def answers() -> dict[Row, dict[str, str]]:
    """What each sender is answered, by the letters of answers.txt.

    :raises ValueError: a line has too many letters or too few, or a row is there twice.
    """
    found: dict[Row, dict[str, str]] = {}
    for line in ANSWERS.read_text().splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        method, target, effect, *letters = words
        path, _, variant = target.partition("#")
        row = Row(method, path, variant, effect)
        if row.name in {other.name for other in found}:
            raise ValueError(f"{row.name} is answered twice")
        found[row] = {
            sender: letter
            for group, given in zip(groups(), letters, strict=True)
            for sender, letter in zip(group, given, strict=True)
        }
    return found


def rules(url_map: Map) -> set[tuple[str, str]]:
    """Every (method, rule) that is served. HEAD is GET without its body."""
    return {(method, rule.rule) for rule in url_map.iter_rules() for method in (rule.methods or ()) if method != "HEAD"}


def rules_of(rows: Iterable[Row], url_map: Map) -> dict[Row, tuple[str, str] | None]:
    """The rule that each row asks; None where there is none."""
    adapter = url_map.bind("localhost")
    found: dict[Row, tuple[str, str] | None] = {}
    for row in rows:
        try:
            rule, _ = adapter.match(row.path.partition("?")[0], row.method, return_rule=True)
            found[row] = (row.method, rule.rule)
        except HTTPException:
            found[row] = None
    return found
