"""The parts hold together one way: each gets its partners when it is made or run, and nobody reaches through another's."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [path for path in sorted(ROOT.glob("gatewayd/**/*.py")) if path.relative_to(ROOT).parts[1] not in ("kit", "testing")]
"""Parts; not tools over other people's objects."""
HUB = [path for path in MODULES if path.relative_to(ROOT).parts[1] == "hub"]
MOST_PARAMETERS = 8

FOREIGN = {
    "deadline",  # trio.CancelScope
    "total_tokens",  # trio.CapacityLimiter
    "timeout",  # quart.Response
    "status_code",
    "merge_slashes",  # werkzeug's Map
    "accesslog",  # hypercorn's Config
    "errorlog",
    "include_server_header",
    "h11_max_incomplete_size",
    "obj",  # click.Context
}
"""Attributes that libraries want to be set."""
HOLDERS = {
    "gatewayd/actor/supervisor.py": {"child.supervised", "child.stop_requested", "life.error"},
    "gatewayd/channels/telegram/channel.py": {"error.scope"},
}
"""Values of another module that are filled in: an error, what a child is to do."""
VALUES = {"config", "settings", "migrations", "running", "request", "accounts", "agents", "plugins", "voters"}
"""Attributes of parts that are values: whoever reads them may read on in them."""


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def parsed(path: Path) -> ast.AST:
    return ast.parse(path.read_text())


@cache
def nodes(tree: ast.AST) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree))


def targets(node: ast.AST) -> list[ast.expr]:
    match node:
        case ast.Assign() | ast.Delete():
            return node.targets
        case ast.AugAssign() | ast.AnnAssign() | ast.For() | ast.AsyncFor():
            return [node.target]
        case ast.With() | ast.AsyncWith():
            return [item.optional_vars for item in node.items if item.optional_vars is not None]
        case ast.NamedExpr():
            return [node.target]
    return []


def is_own(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def set_attributes(tree: ast.AST) -> Iterator[ast.Attribute]:
    """Attributes that are assigned, of whatever object."""
    for node in nodes(tree):
        for target in targets(node):
            for inner in ast.walk(target):
                if isinstance(inner, ast.Attribute) and not isinstance(inner.ctx, ast.Load):
                    yield inner


def declared(tree: ast.AST) -> set[str]:
    """The attributes that the classes of a module declare, or set in their own methods: its records are its own matter."""
    found: set[str] = set()
    for kind in nodes(tree):
        if isinstance(kind, ast.ClassDef):
            found |= {each.attr for each in set_attributes(kind) if is_own(each.value)}
            fields = [line.target for line in kind.body if isinstance(line, ast.AnnAssign)]
            found |= {field.id for field in fields if isinstance(field, ast.Name)}
    return found


def bound_from_outside(tree: ast.AST, allowed: set[str]) -> list[str]:
    own = declared(tree) | FOREIGN
    written = [each for each in set_attributes(tree) if not is_own(each.value) and each.attr not in own]
    return [ast.unparse(each) for each in written if ast.unparse(each) not in allowed]


def calls_of(tree: ast.AST, *names: str) -> list[str]:
    calls = (node for node in nodes(tree) if isinstance(node, ast.Call))
    return [ast.unparse(call) for call in calls if isinstance(call.func, ast.Name) and call.func.id in names]


def open_ends(tree: ast.AST) -> list[str]:
    """Attributes that begin as a function that does nothing: somebody is to put another there later."""
    found = []
    for node in nodes(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Lambda):
            found += [ast.unparse(target) for target in targets(node) if isinstance(target, ast.Attribute)]
    return found


def test_no_attribute_is_bound_from_outside() -> None:
    found = {name(path): bound_from_outside(parsed(path), HOLDERS.get(name(path), set())) for path in MODULES}
    assert {path: written for path, written in found.items() if written} == {}


def test_every_value_holder_is_one() -> None:
    for path, allowed in HOLDERS.items():
        assert set(bound_from_outside(parsed(ROOT / path), set())) == allowed


def test_no_attribute_begins_as_a_function_that_does_nothing() -> None:
    found = {name(path): open_ends(parsed(path)) for path in MODULES}
    assert {path: ends for path, ends in found.items() if ends} == {}


def test_nothing_is_bound_by_its_name() -> None:
    found = {name(path): calls_of(parsed(path), "setattr", "delattr") for path in MODULES}
    del found["gatewayd/cli/streams.py"]  # sys.stdout and sys.stderr, one after the other
    assert {path: calls for path, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("outbox.post = manager.post", ["outbox.post"]),
        ("turns.taken, turns.ended = inbox.taken, inbox.ended", ["turns.taken", "turns.ended"]),
        ("def f(self):\n    self._part.called += 1", ["self._part.called"]),
        ("with opened() as part.inner: ...", ["part.inner"]),
        ("class Job:\n    error: int\ndef f(job):\n    job.error = 1", []),
        ("class Part:\n    def f(self):\n        self.a = 1", []),
    ],
)
def test_a_binding_is_seen(text: str, found: list[str]) -> None:
    assert bound_from_outside(ast.parse(text), set()) == found


def test_an_open_end_is_seen() -> None:
    assert open_ends(ast.parse("class Part:\n    def __init__(self):\n        self.told: object = lambda: None")) == ["self.told"]


def reaches_through(tree: ast.AST) -> list[str]:
    """``self._part.other.thing``, and ``gateway.part.other.thing``: what a part's part has."""
    found = []
    for node in nodes(tree):
        match node:
            case ast.Attribute(value=ast.Attribute(value=ast.Attribute(value=ast.Name(id=owner), attr=part), attr=other)):
                is_part = (owner == "self" and part in parts()) or owner == "gateway"
                if is_part and other not in VALUES and part not in VALUES:
                    found.append(ast.unparse(node))
    return found


def private_of_others(tree: ast.AST) -> list[str]:
    own = declared(tree)
    found = [node for node in nodes(tree) if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr)]
    return [ast.unparse(node) for node in found if not is_own(node.value) and node.attr not in own]


@cache
def parts() -> frozenset[str]:
    """Under which names the hub's parts hold each other."""
    held: set[str] = set()
    for path in HUB:
        for init in (node for node in nodes(parsed(path)) if isinstance(node, ast.FunctionDef)):
            if init.name == "__init__":
                held |= {argument.arg for argument in (*init.args.args, *init.args.kwonlyargs)}
    return frozenset(f"_{each}" for each in held - {"self", "configured", "context", "around", "now", "rng"})


def test_no_part_reaches_through_another() -> None:
    found = {name(path): reaches_through(parsed(path)) for path in MODULES}
    # The reload is the gateway's own.
    own = {"self._gateway"}
    found = {path: [each for each in reached if ".".join(each.split(".")[:2]) not in own] for path, reached in found.items()}
    assert {path: reached for path, reached in found.items() if reached} == {}


def test_no_part_of_the_hub_looks_into_another() -> None:
    found = {name(path): private_of_others(parsed(path)) for path in HUB}
    assert {path: private for path, private in found.items() if private} == {}


def test_a_reach_is_seen() -> None:
    tree = ast.parse("class A:\n    def f(self):\n        self._engine.calls.open()\n        gateway.turns.slots.statistics()")
    assert reaches_through(tree) == ["self._engine.calls.open", "gateway.turns.slots.statistics"]
    assert private_of_others(ast.parse("gateway.turns._lanes")) == ["gateway.turns._lanes"]


def test_no_constructor_has_many_parameters() -> None:
    many = {}
    for path in MODULES:
        for node in nodes(parsed(path)):
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                count = len(node.args.posonlyargs) + len(node.args.args) + len(node.args.kwonlyargs) - 1
                if count > MOST_PARAMETERS:
                    many[f"{name(path)}:{node.lineno}"] = count
    assert many == {}
