"""The contract finds what it is for: each fault that is put into a right driver fails the test that is named with it."""

import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from gatewayd.testing.channel_contract import SendFailure
from tests.channels.contract.faults import FAULTS, SLOW, Fault, HangsInClose, TellsOfInterruptions
from tests.channels.contract.loopback import LoopbackHarness
from tests.channels.contract.run import TESTS, run
from tests.channels.contract.variants import VARIANTS, LoopbackContract, PolledContract

QUICK = [fault for fault in FAULTS if fault.driver not in SLOW]
SECONDS = 15.0


@pytest.mark.parametrize("contract", VARIANTS, ids=lambda contract: contract.right.__name__)
@pytest.mark.parametrize("name", TESTS)
def test_a_right_driver_keeps_every_promise(contract: type[LoopbackContract], name: str) -> None:
    run(contract(), name)


@pytest.mark.parametrize("name", [name for name in TESTS if "connect" in name or "silent" in name or "cut" in name])
def test_a_driver_that_connects_again_by_itself_is_right(name: str) -> None:
    run(PolledContract(TellsOfInterruptions), name)


def name_of(fault: Fault) -> str:
    return f"{fault.driver.__name__}-{fault.test}"


def is_found(fault: Fault) -> None:
    began_at = time.monotonic()
    with pytest.raises((Exception, pytest.fail.Exception)):
        run(fault.contract(fault.driver), fault.test)
    assert time.monotonic() - began_at < SECONDS


@pytest.mark.parametrize("fault", QUICK, ids=name_of)
def test_a_fault_is_found(fault: Fault) -> None:
    is_found(fault)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.driver in SLOW], ids=name_of)
def test_a_hang_is_found_in_real_time(fault: Fault) -> None:
    is_found(fault)


def test_each_test_of_the_contract_finds_a_fault() -> None:
    """But the one about excuses, which is below."""
    assert set(TESTS) - {fault.test for fault in FAULTS} == {"test_nothing_is_excused_that_the_harness_has"}


def table() -> list[str]:
    """The rows of the page: the numbered faults, then the others."""
    numbered = sorted((fault for fault in FAULTS if fault.number), key=lambda fault: fault.number or 0)
    others = [fault for fault in FAULTS if not fault.number and fault.words not in {each.words for each in numbered}]
    return [f"| {fault.number or ''} | {fault.words} | `{fault.test}` |" for fault in (*numbered, *others)]


def test_the_page_has_every_fault() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "driver-faults.md").read_text()
    assert [line for line in page.splitlines() if "| `test_" in line] == table()


def test_each_number_is_planted() -> None:
    assert sorted({fault.number for fault in FAULTS if fault.number}) == list(range(1, 38))


def test_a_hang_is_told_with_the_task_tree() -> None:
    with pytest.raises(AssertionError, match="it hangs") as caught:
        run(LoopbackContract(HangsInClose), "test_closing_is_quick_in_the_middle_of_everything")
    [line] = [line for line in str(caught.value).splitlines() if "Account.run" in line]
    assert line.endswith("in HangsInClose.close")


def test_what_the_harness_lacks_is_red_unless_it_is_excused() -> None:
    class Plain(LoopbackHarness):
        failures: Mapping[SendFailure, Callable[[], Awaitable[None]]] = {}
        ping = None  # type: ignore[assignment]

    class Lazy(LoopbackContract):
        other_side = Plain

    class Honest(Lazy):
        excuses: ClassVar[Mapping[str, str]] = {"cut": "it never breaks", "pings": "it has none"}

    for name, what in (
        ("test_a_cut_send_is_unknown_and_not_repeated", "cut"),
        ("test_a_full_inbox_does_not_stop_the_pings", "pings"),
    ):
        with pytest.raises(pytest.fail.Exception, match=what):
            run(Lazy(), name)
        with pytest.raises(pytest.skip.Exception, match=Honest.excuses[what]):
            run(Honest(), name)


def test_an_excuse_for_nothing_is_red() -> None:
    class Wrong(LoopbackContract):
        excuses: ClassVar[Mapping[str, str]] = {"cuts": "misspelt"}

    class Needless(LoopbackContract):
        excuses: ClassVar[Mapping[str, str]] = {**LoopbackContract.excuses, "cut": "it is not needed"}

    with pytest.raises(AssertionError, match="cuts"):
        Wrong().test_each_excuse_is_of_something_and_has_a_reason()
    with pytest.raises(AssertionError, match="cut"):
        run(Needless(), "test_nothing_is_excused_that_the_harness_has")
