"""The states of rows stand in gatewayd/model/lifecycle.py: not in SQL, not in sets here and there; and their tables are whole."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

from gatewayd.model import lifecycle
from gatewayd.model.lifecycle import LIFE_CYCLES
from gatewayd.model.turn import TurnState

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for path in ROOT.glob("gatewayd/**/*.py") if path.name != "lifecycle.py")
STATES = {str(state) for cycle in LIFE_CYCLES for state in cycle.stages}
IN_SQL = re.compile(rf"'({'|'.join(sorted(STATES))})'|\bstate\s*(=|==|<>|!=|(NOT\s+)?IN\b)\s*\(?\s*['\"]", re.IGNORECASE)
HELPERS = {"among", "outside", "quoted"}
# What is keyed by a state has an entry for each: which types, and the keys.
TYPES = {
    name: set(get_args(getattr(lifecycle, name)))
    for name in (
        "InboundState",
        "OutboundState",
        "ApprovalState",
        "QuestionState",
        "PairingState",
        "EndState",
        "SendOutcome",
        "Outcome",
        "QuestionEnd",
        "DeadLetterState",
        "OutboundReason",
    )
} | {
    "TurnState": {*get_args(TurnState)},
    "InboundReason": {reason for part in get_args(lifecycle.InboundReason) for reason in get_args(part)},
}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def place(path: Path, node: ast.expr | ast.stmt) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno}"


def literal_states(found: ast.Module) -> Iterator[ast.expr]:
    """Where a state's name stands within a text, or is given to what renders SQL."""
    for node in ast.walk(found):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and IN_SQL.search(node.value):
            yield node
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in HELPERS:
            words = [word for argument in node.args for word in ast.walk(argument) if isinstance(word, ast.Constant)]
            if any(word.value in STATES for word in words):
                yield node


def test_no_state_is_named_in_sql() -> None:
    assert [place(path, node) for path in MODULES for node in literal_states(tree(path))] == []


@pytest.mark.parametrize(
    "code",
    [
        "sql = \"UPDATE inbound SET state = 'running' WHERE id = ?\"",
        "sql = f\"SELECT id FROM outbound WHERE o.state IN ('ready', {more})\"",
        "where = \"state <> 'new'\"",
        "where = \"state NOT IN ('x')\"",
        "where = among(['dead'])",
        "sql = f\"SET state = {quoted('sent')}\"",
    ],
)
def test_one_that_is_named_is_found(code: str) -> None:
    assert [node.lineno for node in literal_states(ast.parse(code))][:1] == [1]


def test_statements_are_built_at_import() -> None:
    """A text of SQL that is the same each time is found in the statement cache, and nothing is put together per call."""
    late = [
        place(path, node)
        for path in MODULES
        for function in ast.walk(tree(path))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        and not (isinstance(function, ast.FunctionDef) and function.name in HELPERS)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in HELPERS
    ]
    assert late == []


def loose_sets(found: ast.Module) -> Iterator[ast.Compare]:
    """``row.state in ("dead", "parked")``: mypy says nothing when one of these is no state."""
    known = STATES | TYPES["TurnState"]
    for node in ast.walk(found):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            [*words] = node.comparators[0].elts if isinstance(node.comparators[0], ast.Tuple | ast.List | ast.Set) else ()
            names = {word.value for word in words if isinstance(word, ast.Constant)}
            if names and isinstance(node.left, ast.Attribute) and node.left.attr in ("state", "_state") and names <= known:
                yield node


def test_sets_of_states_have_names() -> None:
    assert [place(path, node) for path in MODULES for node in loose_sets(tree(path))] == []


def tables(found: ast.Module) -> Iterator[tuple[ast.AnnAssign, str, set[str]]]:
    """Each ``dict`` or ``Mapping`` of constants whose keys are annotated as one of the types, with that type and its keys."""
    for node in ast.walk(found):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.value, ast.Dict) or not node.value.keys:
            continue
        keyed = re.match(r"(?:Final\[)?(?:dict|Mapping)\[(\w+),", ast.unparse(node.annotation))
        if keyed and keyed[1] in TYPES:
            yield node, keyed[1], {str(key.value) for key in node.value.keys if isinstance(key, ast.Constant)}


def test_each_table_of_states_or_reasons_is_whole() -> None:
    found = [(place(path, node), kind, keys) for path in MODULES for node, kind, keys in tables(tree(path))]
    assert len(found) > 8
    for where, kind, keys in found:
        # What an agent is told of a request is why it was not allowed.
        told = {"allowed"} if kind == "Outcome" and "/agents/" in where else set()
        assert keys | told == TYPES[kind], where
