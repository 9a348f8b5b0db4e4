"""What the benchmarks share to say what they measured, and on what."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from msgspec import Struct

_VERSIONS = ("gatewayd", "trio", "anyio", "httpx2", "quart", "hypercorn", "msgspec")


class Latencies(Struct):
    """Quantiles of a sample, in milliseconds."""

    p50: float
    p95: float
    count: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latencies":
        """:raises ValueError: the sample is empty."""
        return cls(quantile(seconds, 0.5) * 1000, quantile(seconds, 0.95) * 1000, len(seconds))

    def __str__(self) -> str:
        return f"p50 {self.p50:6.2f} ms   p95 {self.p95:6.2f} ms   ({self.count} messages)"


def quantile(sample: Sequence[float], share: float) -> float:
    """The value that ``share`` of the sample does not exceed (nearest rank).

    :raises ValueError: the sample is empty.
    """
    if not sample:
        raise ValueError("nothing was measured")
    ranked = sorted(sample)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def median(sample: Sequence[float]) -> float:
    return quantile(sample, 0.5)


def verdict(value: float, *, at_most: float | None = None, at_least: float | None = None) -> str:
    """How a figure stands to its aim."""
    if at_most is not None:
        return f"{'met' if value < at_most else 'MISSED'} (aim: under {at_most:g})"
    return f"{'met' if at_least is None or value >= at_least else 'MISSED'} (aim: at least {at_least:g})"


def load() -> str:
    """How busy the machine was in the last minute, with whatever else runs on it: belongs beside every figure."""
    return f"load {os.getloadavg()[0]:.1f}"


def describe_machine(directory: Path) -> str:
    """Processor, cores, versions, load, and the file system that is written to (commits wait for it)."""
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in facts if line.startswith("model name")]
    return (
        f"{models[0] if models else platform.machine()}, {len(models)} cores, Python {platform.python_version()}, "
        f"Linux {platform.release()}, {file_system(directory)}, {load()}\n"
        f"{', '.join(f'{name} {version(name)}' for name in _VERSIONS)}"
    )


def file_system(directory: Path) -> str:
    """The type of the file system that holds ``directory``, as /proc/mounts names it."""
    best = ("", "unknown file system")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split()
        inside = directory.resolve().is_relative_to(mount)
        if inside and len(mount) >= len(best[0]):
            best = (mount, kind)
    return best[1]
