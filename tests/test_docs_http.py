"""docs/reference/http.md names every route and every error code there is."""

import re
from pathlib import Path

import pytest

from gatewayd.web.refusal import STATUS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/reference/http.md").read_text()
_ROUTE = re.compile(r"""\.(get|post)\(\s*f?"(/[^"]*)"|add_url_rule\(\s*"(/[^"]*)".*?methods=\["(\w+)"\]""")


def routes() -> list[str]:
    """``METHOD /path`` of every route that a module of web/ registers."""
    found = []
    for module in sorted((ROOT / "gatewayd/web").glob("*.py")):
        for method, path, ruled, ruled_method in _ROUTE.findall(module.read_text()):
            found.append(f"{(method or ruled_method).upper()} {path or ruled}")
    return found


def test_there_are_routes_to_look_for() -> None:
    assert {"GET /health", "POST /v1/chat/inbound", "POST /v1/webchat/login"} <= set(routes())


@pytest.mark.parametrize("route", routes())
def test_every_route_is_described(route: str) -> None:
    assert route in PAGE


@pytest.mark.parametrize(("code", "status"), STATUS.items())
def test_every_error_code_is_described_with_its_status(code: str, status: int) -> None:
    [line] = [line for line in PAGE.splitlines() if line.startswith(f"| `{code}` |")]
    assert str(status) in line.split("|")[2]
