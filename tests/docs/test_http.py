"""docs/reference/http.md names every route, every error code and every field of a connector's message there is."""

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest
from msgspec import inspect

from gatewayd.channels.webchat import PLUGIN
from gatewayd.web.api.chat import ChatBody
from gatewayd.web.http.errors import STATUS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/http.md").read_text()
_ROUTE = re.compile(r"""\.(get|post)\(\s*f?"(/[^"]*)"|add_url_rule\(\s*"(/[^"]*)".*?methods=\["(\w+)"\]""")


def routes() -> list[str]:
    """``METHOD /path`` of every route that a module of web/ registers, and of the channel that gatewayd brings with routes."""
    found = []
    for module in sorted((ROOT / "gatewayd/web").rglob("*.py")):
        for method, path, ruled, ruled_method in _ROUTE.findall(module.read_text()):
            found.append(f"{(method or ruled_method).upper()} {path or ruled}")
    return [*found, *(f"{route.method} /v1/{PLUGIN.id}/{route.path}" for route in PLUGIN.routes if route.path)]


def test_there_are_routes_to_look_for() -> None:
    assert {"GET /health", "POST /v1/chat/inbound", "POST /v1/webchat/login"} <= set(routes())


@pytest.mark.parametrize("route", routes())
def test_every_route_is_described(route: str) -> None:
    assert route in PAGE


@pytest.mark.parametrize(("code", "status"), STATUS.items())
def test_every_error_code_is_described_with_its_status(code: str, status: int) -> None:
    [line] = [line for line in PAGE.splitlines() if line.startswith(f"| `{code}` |")]
    assert str(status) in line.split("|")[2]


def fields_of(kind: inspect.Type) -> Iterator[str]:
    """The names of all fields of a struct, also of the structs in it."""
    if isinstance(kind, inspect.StructType):
        for field in kind.fields:
            yield field.encode_name
            yield from fields_of(field.type)


BODY_FIELDS = sorted(set(fields_of(inspect.type_info(ChatBody))))


def test_there_are_fields_to_look_for() -> None:
    assert {"channel", "thread", "username", "addressed"} <= set(BODY_FIELDS)


@pytest.mark.parametrize("field", BODY_FIELDS)
def test_every_field_of_a_connectors_message_is_described(field: str) -> None:
    section = PAGE.partition("\n## Messages\n")[2].partition("\n## ")[0]
    assert f'"{field}"' in section or f"`{field}`" in section


@cache
def kinds_emitted() -> frozenset[str]:
    return frozenset(_kinds_emitted())


def _kinds_emitted() -> Iterator[str]:
    """The first argument of every ``emit(…)`` of ours; ``*`` is what is filled in. A channel names the end of its kinds only."""
    for module in sorted((ROOT / "gatewayd").rglob("*.py")):
        text = module.read_text()
        channel = module.relative_to(ROOT / "gatewayd").parts[1] if "channels" in module.parts else None
        for node in ast.walk(ast.parse(text)) if ".emit(" in text else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "emit" and node.args:
                kind = node.args[0]
                if isinstance(kind, ast.Constant):
                    yield str(kind.value) if channel is None else f"channels.{channel}.{kind.value!s}"
                elif isinstance(kind, ast.JoinedStr):
                    yield "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in kind.values)


def kinds_described() -> set[str]:
    """Those of the table under the heading "Events"."""
    table = PAGE.partition("## Events\n")[2].partition("\n## ")[0]
    return {
        kind for line in table.splitlines() if line.startswith("| `") for kind in re.findall(r"`([a-z_.]+)`", line.split("|")[1])
    }


def test_there_are_events_to_look_for() -> None:
    assert {"gateway.ready", "inbound.*", "approval.vote"} <= kinds_emitted()


@pytest.mark.parametrize("kind", sorted(kinds_emitted()))
def test_every_kind_of_event_is_described(kind: str) -> None:
    assert any(fnmatch(known, kind) for known in kinds_described())


@pytest.mark.parametrize("kind", sorted(kinds_described() - {"gateway.gap"}))
def test_every_kind_that_is_described_is_emitted(kind: str) -> None:
    said = {
        *kinds_emitted(),
        "dead_letter.retried",
        "dead_letter.dropped",
    }  # hub/operations/dead_letter_queue.py names these two beside each other
    assert any(fnmatch(kind, known) for known in said)
