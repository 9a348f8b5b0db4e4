"""The contract finds what it is for: each fault that is put into the store of the guide fails the test that is named with it."""

import inspect
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from typing import Any

import pytest
import trio

from contrib.examples.memory_store import MemoryStore
from gatewayd.testing.store_contract import StoreContract
from gatewayd.testing.store_contract.rows import Clock
from tests.stores.faults import FAULTS, Fault


def ways(test: Callable[..., Awaitable[None]]) -> Iterator[dict[str, Any]]:
    """Its arguments, each combination of its parameters once."""
    parameters = []
    for mark in getattr(test, "pytestmark", []):
        names, values = mark.args[:2]
        names = names.split(",") if isinstance(names, str) else names
        several = [(value,) if len(names) == 1 else value for value in values]
        parameters.append([dict(zip(map(str.strip, names), each, strict=True)) for each in several])
    for combination in product(*parameters):
        yield {name: value for each in combination for name, value in each.items()}


@contextmanager
def patience(seconds: float = 5.0) -> Iterator[None]:
    """A store that never waits cannot be cancelled: a fault may hang the test."""

    def give_up(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def run(store_of: Callable[[Callable[[], float]], MemoryStore], name: str) -> None:
    """One test of the contract, with a store of its own for each of its parameters."""
    test = getattr(StoreContract(), name)
    for parameters in ways(test):
        clock = Clock()
        given = {"store": store_of(clock), "clock": clock, **parameters}
        wanted = inspect.signature(test).parameters
        with patience():
            trio.run(partial(test, **{key: value for key, value in given.items() if key in wanted}))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_found(fault: Fault) -> None:
    run(MemoryStore, fault.test)
    with pytest.raises((Exception, pytest.fail.Exception)):
        run(fault.store, fault.test)


def test_every_operation_has_a_fault() -> None:
    operations = {name for name in vars(MemoryStore) if not name.startswith("_")} - {"watch", "statistics"}
    assert operations - {fault.operation for fault in FAULTS} == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(name for name in dir(StoreContract) if name.startswith("test_")))
def test_each_test_of_the_contract_finds_a_fault(name: str) -> None:
    for fault in FAULTS:
        try:
            run(fault.store, name)
        except (Exception, pytest.fail.Exception):
            return
    pytest.fail("no fault is found by it")


def test_no_part_of_the_contract_hides_a_test_of_another() -> None:
    names = [name for part in StoreContract.__mro__ for name in vars(part) if name.startswith("test_")]
    assert len(names) > 100
    assert sorted(names) == sorted(set(names))
