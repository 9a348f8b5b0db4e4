"""The benchmarks run, and say what they are read for. How fast anything is, is not asked here."""

import re
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from contrib.bench import agents, compare, end_to_end, footprint, ingest, soak, store
from contrib.bench.figures import Latencies, median, quantile, verdict
from contrib.bench.plot import Series, draw

ROOT = Path(__file__).parents[2]

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A benchmark, and what it says; it must leave nothing in its directory. It runs in this process: another interpreter would
    be most of what it costs."""
    monkeypatch.chdir(ROOT)

    def run(main: Callable[[Sequence[str]], None], *options: str) -> str:
        main(["--directory", str(tmp_path), *options])
        assert list(tmp_path.iterdir()) == []
        return capsys.readouterr().out

    return run


def number(pattern: str, text: str) -> float:
    """The number at the pattern's group."""
    found = re.search(pattern, text)
    assert found is not None, text
    return float(found[1].replace(",", ""))


@pytest.mark.slow
@pytest.mark.parametrize(("channel", "messages", "rounds"), [("telegram", 2, 1), ("slack", 1, 2), ("discord", 1, 2)])
def test_end_to_end(run: Run, channel: str, messages: int, rounds: int) -> None:
    size = ("--chats", "3", "--messages", str(messages), "--rounds", str(rounds), "--alone", "3", "--warm-up", "1")
    said = run(end_to_end.main, "--channel", channel, *size)
    assert said.count("(3 messages)") == 2
    assert said.count("(6 messages)") == 2
    assert number(r"ratios to the least code: p50 of one user ([\d.]+)", said) > 0
    assert number(r"ratios to the least code: .* replies per second ([\d.]+)", said) > 0
    assert bool(re.search(r"durable replies per second: \d+: (?:met|MISSED)", said)) == (channel == "telegram")


def test_the_limits_of_slack_are_not_measured(run: Run) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        run(end_to_end.main, "--channel", "slack", "--chats", "50", "--messages", "2", "--alone", "1", "--warm-up", "1")
    assert raised.group_contains(RuntimeError, match="takes 80 replies at once")


@pytest.mark.slow
def test_ingest(run: Run) -> None:
    said = run(ingest.main, "--connections", "2", "--clients", "1", "--seconds", "0.1", "--rounds", "1", "--warm-up", "0")
    assert said.count("answers {200:") == 2
    assert number(r"median: gatewayd ([\d,]+) updates/s", said) > 0


@pytest.mark.slow
def test_footprint(run: Run) -> None:
    said = run(
        footprint.main,
        "--starts",
        "1",
        "--accounts",
        "2",
        "--modes",
        "webhook",
        "--channels",
        "2",
        "--guilds",
        "2",
        "--seconds",
        "0.1",
        "--settle",
        "0",
    )
    assert number(r"start to ready: ([\d.]+) s", said) > 0
    for what in ("idle, 1 account", "idle, 2 accounts, webhook"):
        assert number(rf"{what}: ([\d.]+) MiB", said) > 10
    assert number(r"idle, discord: ([\d.]+) MiB in 2 guilds of 1000 channels", said) > 10
    for network in ("slack", "discord"):
        assert number(rf"idle, {network}: .* with 2 channels known: .* ratio ([\d.]+)", said) > 0.5


def test_store(run: Run) -> None:
    said = run(store.main, "--seconds", "0.05")
    assert number(r"store, 256 producers +([\d,]+) inserts/s", said) > 0


@pytest.mark.slow
def test_agents(run: Run) -> None:
    """Without OpenCode, which takes its time."""
    names = ("echo", "chat_completions", "in_process", "openagentic")
    said = run(agents.main, "--agents", ",".join(names), "--turns", "1", "--warm-up", "1", "--sessions", "2")
    assert said.count("(1 messages)   2 sessions at once") == 2 * len(names)
    for agent in names:
        assert number(rf"{agent} +added at p50: [-\d.]+ ms; .* gatewayd ([\d.]+) MiB before", said) > 10
    assert number(r"openagentic .* agent (\d+) MiB", said) > 5


@pytest.mark.slow
def test_compare(run: Run) -> None:
    """This revision with itself; every part, and each figure by the baseline where there is one."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout: there is no other revision")
    few = (
        "--pairs",
        "1",
        "--chats",
        "2",
        "--messages",
        "2",
        "--alone",
        "2",
        "--seconds",
        "0.1",
        "--turns",
        "1",
        "--sessions",
        "2",
    )
    said = run(compare.main, "HEAD", *few)
    assert len(re.findall(r"-> +[\d.]+   ratio [\d.]+ \([\d.]+ to [\d.]+\)", said)) == 17
    assert said.count("of the baseline's") >= 10


async def test_compare_leaves_out_what_a_revision_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = Namespace(revision="v0", parts="slack", pairs=1, chats=1, messages=1, alone=1)
    await compare.compare_all(options, tmp_path, tmp_path)
    assert re.search(r"^slack +is left out: v0 has no gatewayd/channels/slack$", capsys.readouterr().out, re.MULTILINE)


def test_compare_names_what_it_does_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="git has no files of no-such-revision"):
        compare.main(["no-such-revision", "--directory", str(tmp_path)])
    for option, what in (("--parts", "no such part: soup"), ("--agents", "no such agent: soup")):
        with pytest.raises(SystemExit):
            compare.main(["HEAD", option, "soup"])
        assert what in capsys.readouterr().err


@pytest.mark.slow
def test_soak(run: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    plot = tmp_path_factory.mktemp("plot") / "soak.svg"
    said = run(soak.main, "--turns", "8", "--reconnects", "40", "--seconds", "1", "--no-deaf", "--plot", str(plot))
    assert number(r"(\d+) turns, \d+ failed reconnects", said) == 8
    assert number(r"8 turns, (\d+) failed reconnects", said) >= 40
    for what in ("resident memory, MiB", "open descriptors", "threads", "living tasks"):
        assert number(rf"{what} .* last quarter / second ([\d.]+)", said) > 0
    assert plot.read_text().count("<polyline") == 4


def test_flatness_leaves_out_the_first_quarter() -> None:
    assert soak.flatness([9.0, 2.0, 3.0, 4.0]) == 2.0
    assert soak.flatness([1.0] * 100) == 1.0
    with pytest.raises(ValueError, match="too few"):
        soak.flatness([1.0, 1.0, 1.0])


def test_a_plot_needs_points() -> None:
    with pytest.raises(ValueError, match="nothing to draw of tasks"):
        draw("title", [], [Series("tasks", [])])
    assert 'points="70.0,' in draw("<title>", ["a & b"], [Series("tasks", [(0.0, 0.0)])])


def test_quantiles_are_values_of_the_sample() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.95) == 3.0
    assert median([4.0, 1.0, 3.0]) == 3.0
    assert Latencies.of([0.001, 0.002, 0.003]) == Latencies(2.0, 3.0, 3)
    with pytest.raises(ValueError, match="nothing was measured"):
        median([])


def test_an_aim_is_met_or_missed() -> None:
    assert verdict(9.9, at_most=10).startswith("met")
    assert verdict(10, at_most=10).startswith("MISSED")
    assert verdict(300, at_least=300).startswith("met")
    assert verdict(299, at_least=300).startswith("MISSED")
