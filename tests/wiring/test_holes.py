"""The program that leaves things out: everything once, and what nobody misses is told."""

import ast

from tests.wiring.holes import ROOT, WIRING, mutants

SOURCE = '''
async def f(a):
    """Words."""
    b = g(a, h(1), c=2)
    with b:
        return b
'''


def test_each_statement_and_each_argument_is_left_out_once() -> None:
    found = list(mutants(SOURCE))
    assert [(each.line, each.what) for each in found] == [
        (4, "b = g(a, h(1), c=2)"),
        (5, "with b:"),
        (6, "return b"),
        (4, "a"),
        (4, "h(1)"),
        (4, "c=2"),
        (4, "1"),
    ]
    bodies = [ast.unparse(ast.parse(each.source).body[0]).partition('"""Words."""\n')[2] for each in found]
    assert bodies[0] == "    with b:\n        return b"
    assert bodies[2] == "    b = g(a, h(1), c=2)\n    with b:\n        pass"
    assert bodies[4].startswith("    b = g(a, c=2)\n")
    assert len({each.source for each in found}) == len(found)


def test_the_wiring_has_many_pieces() -> None:
    found = list(mutants((ROOT / WIRING).read_text()))
    assert len(found) > 200
    assert any(each.what == "notice=unknown.notice" for each in found)
