"""The bugs that are planted: that they still apply to the source as it is, and that some of them are found."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import trio.lowlevel

from tests.simulation.bugs.hunt import MARGIN
from tests.simulation.bugs.planted import ROOT, Bug, Change, DoesNotApply, bugs, changed_source, plant, planted_tree

SIMULATE = ROOT / "contrib/simulate"
QUICK = ("recover-resends-sending", "press-of-a-stranger", "core-not-asked", "acp-late-text-dropped")
BUGS = pytest.mark.parametrize("bug", bugs().values(), ids=lambda bug: bug.name)
TABLE = re.compile(r"^\| ([a-z0-9-]+) \| (.+?) \| (\d+|-) \| (\d+|-) \| (.+) \|$", re.MULTILINE)
HISTOGRAM = "tests/model/test_histogram.py"


def source_of(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text()


@BUGS
def test_each_planted_bug_still_applies(bug: Bug) -> None:
    for module in {change.module for change in bug.change if change.module}:
        source = source_of(module)
        changed = changed_source(module, source, [change for change in bug.change if change.module == module])
        assert changed != source
        compile(changed, module, "exec")
    with planted_tree(bug) as tree:
        for change in bug.change:
            if change.file:
                assert change.new in (tree / change.file).read_text()


SOURCES = "".join(file.read_text() for file in sorted((ROOT / "gatewayd").rglob("*.py")))
WORDS = frozenset(re.findall(r"\w+", SOURCES)) | {*dir(trio.lowlevel), *dir(type)}


@BUGS
def test_each_planted_text_names_what_there_is(bug: Bug) -> None:
    """A name that was changed since would break the daemon at once: something would be found, and not the bug."""
    for change in bug.change:
        known = frozenset(re.findall(r"\w+", source_of(change.module))) | set(dir(type)) if change.module else WORDS
        for name in re.findall(r"\.([A-Za-z_]\w*)", change.new if change.module else ""):
            assert name in (known if name.startswith("_") else WORDS), name


@BUGS
def test_the_test_of_each_is_there(bug: Bug) -> None:
    file, _, name = bug.test.partition("[")[0].partition("::")
    if file:
        source = (ROOT / file).read_text()
        [body] = re.findall(rf"^(?:async )?def {name}\(.*?(?=^\S(?<!\))|\Z)", source, re.MULTILINE | re.DOTALL)
        assert [line.strip() for line in body.splitlines()].count(bug.assertion) == 1


def test_they_are_many_and_each_says_why_and_how_it_is_found() -> None:
    assert len(bugs()) >= 50
    assert all(bug.why and bug.seeds <= 300 for bug in bugs().values())
    table = TABLE.findall((ROOT / "docs/simulation.md").read_text())
    assert [(name, why, within) for name, why, within, _, _ in table] == [
        (bug.name, bug.why, str(bug.seeds or "-")) for bug in bugs().values()
    ]
    for (_, _, within, after, by), bug in zip(table, bugs().values(), strict=True):
        assert by == f"`{bug.test}`" if bug.test else MARGIN * int(after) <= int(within), bug.name
    said = re.findall(
        r"^\| planted bugs \| (\d+), (\d+) .*? and (\d+) by the test", (ROOT / "docs/reliability.md").read_text(), re.MULTILINE
    )
    by_test = sum(bool(bug.test) for bug in bugs().values())
    assert said == [(str(len(bugs())), str(len(bugs()) - by_test), str(by_test))]


def test_a_text_that_is_not_there_once_does_not_apply() -> None:
    with pytest.raises(DoesNotApply, match="has this 0 times"):
        changed_source("m", "a = 1\n", [Change("b", "c", module="m")])
    with pytest.raises(DoesNotApply, match="has this 2 times"):
        changed_source("m", "a = a\n", [Change("a", "c", module="m")])


def test_a_module_that_was_imported_already_is_not_planted_into() -> None:
    with pytest.raises(DoesNotApply, match="imported already"):
        plant(Bug("late", "because", (Change("a", "b", module="pytest"),), seeds=1))


@pytest.mark.parametrize("found", [{}, {"test": "t"}, {"assertion": "a"}, {"seeds": 1, "test": "t"}])
def test_a_bug_is_found_by_seeds_or_at_one_line_of_a_test(found: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="by seeds, by a test"):
        Bug("vague", "because", (), **found)  # type: ignore[arg-type]


@pytest.mark.parametrize("where", [{}, {"module": "m", "file": "f"}])
def test_a_change_is_in_one_place(where: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="one of a module or of a file"):
        Change("a", "b", **where)


@pytest.mark.slow
def test_quick_ones_are_found() -> None:
    ran = subprocess.run([SIMULATE, "--planted", *QUICK], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines()[-1] == f"{len(QUICK)} of {len(QUICK)} planted bugs found"


JUDGED = """
import sys
from tests.simulation.bugs.hunt import look_by_test
from tests.simulation.bugs.planted import Bug
for test, assertion in CASES:
    found = look_by_test(Bug("b", "w", (), test=test, assertion=assertion))
    print("judged:", found.found, found.what)
"""


@pytest.mark.slow
def test_a_test_finds_a_bug_only_by_failing_where_it_is_meant_to(tmp_path: Path) -> None:
    written = tmp_path / "test_written.py"
    written.write_text(
        "import pytest, trio\n"
        "def test_passes(): pass\n"
        "def test_fails():\n    assert 1 == 2\n"
        "def test_raises():\n    int('x')\n"
        "def test_skips():\n    pytest.skip('no browser')\n"
        "@pytest.mark.trio\nasync def test_groups():\n    async with trio.open_nursery():\n        assert 1 == 2\n"
    )
    broken = tmp_path / "test_broken.py"
    broken.write_text("import no_such_module\ndef test_it(): pass\n")
    cases = [
        (f"{written}::test_fails", "assert 1 == 2"),
        (f"{written}::test_groups", "assert 1 == 2"),
        (f"{written}::test_fails", "assert 1 == 3"),
        (f"{written}::test_raises", "int('x')"),
        (f"{written}::test_passes", "pass"),
        (f"{written}::test_skips", "pytest.skip('no browser')"),
        (f"{written}::test_gone", "pass"),
        (f"{broken}::test_it", "import no_such_module"),
    ]
    code = JUDGED.replace("CASES", repr(cases))
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    judged = [line.removeprefix("judged: ") for line in ran.stdout.splitlines() if line.startswith("judged: ")]
    assert [words.split(maxsplit=1)[0] for words in judged] == ["True"] * 2 + ["False"] * 3 + ["None"] + ["False"] * 2, ran.stderr
    assert [words.split(maxsplit=1)[1].partition(": ")[0] for words in judged[2:]] == [
        "its test failed elsewhere",
        "its test failed elsewhere",
        "its test passed",
        "its test was skipped",
        "its test did not run",
        "its test failed elsewhere",
    ]


def test_one_that_there_is_not_is_refused() -> None:
    ran = subprocess.run([SIMULATE, "--planted", "no-such"], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout) == (64, "")
    assert "no planted bug 'no-such'" in ran.stderr
