"""Everything that third-party code can raise, by the name it has in docs/reference/third-party-errors.md."""

from asyncio import CancelledError  # noqa: TID251 -- what a bridge to another loop lets through
from collections.abc import Callable
from random import Random
from threading import Thread

import trio

from gatewayd.model.errors import AgentFailed, AnswerExpired, NeedsOperator, OutcomeUnknown, SendRejected, StoreRefused, TryAgain


class PanicException(BaseException):
    """As pyo3 makes it of a panic of Rust code: no ``Exception`` (https://docs.rs/pyo3, pyo3::panic::PanicException)."""


class Broken(Exception):
    """Nothing of it can be relied on."""

    def __str__(self) -> str:
        raise KeyboardInterrupt("from __str__")

    __repr__ = __str__

    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise SystemExit("from __notes__")

    @property
    def reason(self) -> str:
        raise GeneratorExit("from a property")


class BrokenGroup(BaseExceptionGroup[BaseException]):
    """Cannot be split, as ``except*`` and Trio would."""

    def derive(self, excs: object) -> "BrokenGroup":  # type: ignore[override]
        raise KeyboardInterrupt("from derive")

    def split(self, *args: object) -> None:  # type: ignore[override]
        raise KeyboardInterrupt("from split")


class BrokenCure(TryAgain, Broken):
    """Names a cure, and cannot say why."""


def _own_cause() -> BaseException:
    error = ValueError("its own cause")
    error.__cause__ = error.__context__ = error
    return error


def _stray() -> BaseException:
    """A ``trio.Cancelled`` that was kept beyond its scope."""
    kept: list[BaseException] = []

    async def cancelled() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.sleep_forever()
            except trio.Cancelled as error:
                kept.append(error)
                raise

    # In a thread: this may be imported in a running loop.
    thread = Thread(target=trio.run, args=(cancelled,))
    thread.start()
    thread.join()
    return kept[0]


_STRAY = _stray()

KINDS: dict[str, Callable[[], BaseException]] = {
    "ValueError": lambda: ValueError("wrong"),
    "asyncio.CancelledError": CancelledError,
    "GeneratorExit": lambda: GeneratorExit("gone"),
    "KeyboardInterrupt": lambda: KeyboardInterrupt(),
    "SystemExit": lambda: SystemExit(3),
    "a Rust panic": lambda: PanicException("called unwrap() on a None"),
    "a group of many kinds": lambda: BaseExceptionGroup(
        "many", [ExceptionGroup("", [ValueError("x")]), KeyboardInterrupt(), _STRAY]
    ),
    "a group that cannot be split": lambda: BrokenGroup("many", [ValueError("x"), SystemExit(1)]),
    "RecursionError": lambda: RecursionError("maximum recursion depth exceeded"),
    "MemoryError": lambda: MemoryError(),
    "an error whose __str__ raises": lambda: Broken(),
    "an error that is its own cause": _own_cause,
    "a stray trio.Cancelled": lambda: _STRAY,
    "TryAgain": lambda: TryAgain("an outage"),
    "TryAgain with wrong fields": lambda: TryAgain(None, after_seconds=float("nan"), scope="all"),  # type: ignore[arg-type]
    "NeedsOperator": lambda: NeedsOperator("a wrong key"),
    "AgentFailed": lambda: AgentFailed("the model refused"),
    "SendRejected": lambda: SendRejected("the chat is gone"),
    "OutcomeUnknown": lambda: OutcomeUnknown("cut"),
    "AnswerExpired": lambda: AnswerExpired("too late"),
    "StoreRefused": lambda: StoreRefused("the disk is full", may_pass=True),
    "an error whose fields cannot be read": lambda: BrokenCure("x"),
}

OUTAGES = ("TryAgain", "TryAgain with wrong fields", "StoreRefused", "an error whose fields cannot be read")
"""After these it is tried again, by and by."""

_CURES = (
    "TryAgain",
    "TryAgain with wrong fields",
    "NeedsOperator",
    "AgentFailed",
    "SendRejected",
    "OutcomeUnknown",
    "AnswerExpired",
    "StoreRefused",
)
_BUGS = [make for kind, make in KINDS.items() if kind not in (*_CURES, "an error whose fields cannot be read")]


def any_bug(rng: Random) -> BaseException:
    """One of those that name no cure."""
    return rng.choice(_BUGS)()
