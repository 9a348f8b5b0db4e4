"""Hypothesis profiles: few examples by default, HYPOTHESIS_PROFILE=slow for more and deep for 10^5. Files in memory."""

import gc
import importlib
import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A shell's background job ignores SIGINT, and what it starts inherits that: programs that are to end by Ctrl-C would not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# What the shell of whoever runs the tests says of a gatewayd of their own is nothing to these.
for _name in [name for name in os.environ if name.startswith("GATEWAYD_")]:
    del os.environ[_name]
# Hundreds of Pythons are started: where none of them may keep what it has compiled, that is most of what they do.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# To read the system's certificates takes longer than most tests, and each client does. Nothing of ours talks to the Internet.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = os.devnull
# CI looks at the same examples every time: what it says is about the change. At a desk each run looks at others.
_SAME = bool(os.environ.get("CI"))
settings.register_profile("quick", deadline=None, max_examples=20, derandomize=_SAME)
settings.register_profile("slow", deadline=None, max_examples=50, derandomize=_SAME)
settings.register_profile("deep", deadline=None, max_examples=100_000, suppress_health_check=list(HealthCheck), derandomize=_SAME)
# A killed process leaves in memory what it would leave on a disk; only a power cut tells them apart, and no test cuts power.
# A third of the suite's time is spent waiting for a disk otherwise.
if os.access("/dev/shm", os.W_OK):  # noqa: S108
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", "/dev/shm")  # noqa: S108

settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def _import_a_share(config: pytest.Config) -> None:
    """Each worker of a whole run begins with other modules, and finds compiled what another one had: in a fresh clone all of them
    would compile the same ones at the same time, for four seconds each."""
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS or "PYTEST_XDIST_WORKER" not in os.environ:
        return
    number, count = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    for file in sorted(Path(__file__).parent.rglob("test_*.py"))[number::count]:
        importlib.import_module(".".join(file.relative_to(config.rootpath).with_suffix("").parts))


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """What is imported and collected stays: the garbage collector need not look at it, now or later. What the tests leave, it
    looks at seldom, as each of them is over soon: that saves a tenth of their time."""
    gc.disable()
    try:
        _import_a_share(session.config)
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000)
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Half a gigabyte and several seconds per start: what runs the real OpenCode is a step of its own (pytest -m opencode)."""
    for item in items:
        if "opencode_binary" in getattr(item, "fixturenames", ()):
            item.add_marker("opencode")
