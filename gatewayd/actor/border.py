"""The border: the guard around third-party code (agents, drivers, plug-ins). Whatever is raised behind it arrives as one of our
errors.

Third-party code may raise anything: ``asyncio.CancelledError``, ``GeneratorExit``, ``KeyboardInterrupt``, the panic of a Rust
extension (a ``BaseException``), groups of these, errors whose ``__str__`` raises, a ``trio.Cancelled`` from one of its own
scopes. None of these may end more than the turn or the life in which it was raised. One rule holds for all:

- a ``trio.Cancelled`` passes while a scope of ours, around the border, is cancelled;
- an error that names its cure (``gatewayd.model.errors``) arrives as a new one of its kind, with fields of the right types;
- every other leaf becomes a :class:`Bug`: its text only, and nothing of the error itself that could fail once more.

So ``except Exception`` is enough in front of the border, and what is no ``Exception`` there is ours. A signal that ends the
process never arrives as ``KeyboardInterrupt``: process/signals.py and cli/gatewayd.py prevent that.
"""

import math
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, get_args

from gatewayd.model.errors import (
    AgentFailed,
    AnswerExpired,
    Conflict,
    FailureKind,
    GatewayError,
    NeedsOperator,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    PluginError,
    Scope,
    SendRejected,
    StoreRefused,
    TryAgain,
)

_REASON_LENGTH: Final = 200
_LEAVES_MAX: Final = 20
_TRACE_MAX: Final = 20_000
_RETRY_AFTER_MAX_SECONDS: Final = 31_536_000.0
_CURES: Final[tuple[type[GatewayError], ...]] = (
    TryAgain,
    PluginError,
    NeedsOperator,
    SendRejected,
    OutcomeUnknown,
    AnswerExpired,
    AgentFailed,
    StoreRefused,
    NotFound,
    Conflict,
    Overloaded,
)


class Bug(Exception):
    """Third-party code raised an error that names no cure. ``reason`` is its type and text, ``trace`` its traceback; both may
    hold secrets."""

    def __init__(self, reason: str, trace: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.trace = trace

    def redact(self, redact: Callable[[str], str]) -> None:
        """Take secrets out of it."""
        self.reason, self.trace = redact(self.reason), redact(self.trace)
        self.args = (self.reason,)


class third_party:
    """``with third_party():`` stands around every call of third-party code, and every wait for it. It has no state, and may be
    nested.

    :raises GatewayError: the error named its cure. :raises Bug: it did not. :raises ExceptionGroup: of several of these.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None and (ours := _arrived(error)) is not error:
            # Not as the cause: formatting that would call third-party code again.
            raise ours from None


def leaves(error: BaseException) -> list[BaseException]:
    """The errors in a group, at any depth; a single error is its own leaf."""
    return list(_leaves(error))


def sole(error: BaseException) -> BaseException:
    """The one error inside a group; a group of several stays as it is."""
    found = leaves(error)
    return found[0] if len(found) == 1 else error


def describe(error: BaseException, redact: Callable[[str], str] = str) -> str:
    """Type and short text of an error, in one line without secrets."""
    reason = error.reason if type(error) is Bug else _say(error)
    return " ".join(redact(reason).split())[:_REASON_LENGTH].rstrip(": ")


def redact_error(error: BaseException, redact: Callable[[str], str]) -> None:
    """Take secrets out of an error that has arrived on our side, for whoever shows it later."""
    for leaf in leaves(error):
        if isinstance(leaf, GatewayError | Bug):
            leaf.redact(redact)


def trace_of(error: BaseException) -> str:
    """The traceback of each leaf of an error, with its causes. For a log that redacts secrets.

    The groups around the leaves are left out: the traceback module shows ten levels of groups, and more levels would hide the
    error.
    """
    return "\n".join(leaf.trace if type(leaf) is Bug else _trace(leaf) for leaf in leaves(error))


def _arrived(error: BaseException) -> BaseException:
    """The error that arrives on our side."""
    if type(error) is Bug:
        return error
    import trio  # not before it is needed: the check of a configuration does without it

    found = [leaf for leaf, _ in zip(_leaves(error), range(_LEAVES_MAX), strict=False)]
    ours: list[Exception] = []
    cancelled: BaseException | None = None
    for leaf in found:
        if type(leaf) is trio.Cancelled and _is_cancelled():
            cancelled = leaf
        else:
            ours.append(_ours(leaf))
    if cancelled is None:
        return ours[0] if len(ours) == 1 else ExceptionGroup("several errors of third-party code", ours)
    return BaseExceptionGroup("cancelled, and failed", [cancelled, *ours]) if ours else cancelled


def _is_cancelled() -> bool:
    """Whether a scope around the border of the running task is cancelled. False outside of Trio, and in a thread."""
    import trio

    try:
        return trio.current_effective_deadline() == -math.inf
    except RuntimeError:
        return False


def _leaves(error: BaseException) -> Iterator[BaseException]:
    waiting = [error]
    while waiting:
        one = waiting.pop()
        # By the type and the base class: a subclass may have overridden the attributes.
        if issubclass(type(one), BaseExceptionGroup):
            waiting += reversed(BaseExceptionGroup.exceptions.__get__(one))
        else:
            yield one


def _ours(leaf: BaseException) -> Exception:
    if type(leaf) is Bug:
        return leaf
    kind = next((kind for kind in _CURES if issubclass(type(leaf), kind)), None)
    try:
        if kind is not None:
            return _fresh(kind, leaf)
    except BaseException as error:  # raised by an attribute of the error, so by third-party code
        return _bug(error)
    return _bug(leaf)


def _bug(error: BaseException) -> Bug:
    return Bug(_say(error), _trace(error)[-_TRACE_MAX:])


def _fresh(kind: type[GatewayError], leaf: BaseException) -> GatewayError:
    """A new error with the same cure, with fields of the right types."""
    reason = _plain(leaf.reason)  # type: ignore[attr-defined]
    if kind is TryAgain:
        after, scope = leaf.after_seconds, leaf.scope  # type: ignore[attr-defined]
        return TryAgain(reason, after_seconds=_seconds(after), scope=scope if scope in get_args(Scope) else "account")
    if kind is StoreRefused:
        return StoreRefused(reason, may_pass=leaf.may_pass is True)  # type: ignore[attr-defined]
    if kind is AgentFailed:
        how = _plain(leaf.kind)  # type: ignore[attr-defined]
        return AgentFailed(reason, kind=next((kind for kind in get_args(FailureKind) if kind == how), "failed"))
    if kind is NeedsOperator:
        return NeedsOperator(reason, retries_slowly=leaf.retries_slowly is True)  # type: ignore[attr-defined]
    return kind(reason)


def _seconds(value: object) -> float | None:
    if type(value) not in (int, float) or not 0 <= value <= _RETRY_AFTER_MAX_SECONDS:  # type: ignore[operator]
        return None
    return float(value)  # type: ignore[arg-type]


def _plain(text: object) -> str:
    """As a plain ``str`` that can be stored."""
    return "".join((str(text),)).encode("utf-8", "backslashreplace").decode()


def _say(error: BaseException) -> str:
    name: str = type.__dict__["__name__"].__get__(type(error))
    try:
        text = _plain(error)
    except BaseException:  # its __str__ may be as broken as the rest of it, and raise anything
        text = ""
    return f"{name}: {text}".rstrip(": ")


def _trace(error: BaseException) -> str:
    try:
        return _plain("".join(traceback.format_exception(error))).rstrip()
    except BaseException:  # its notes, its causes: third-party code, too
        trace = BaseException.__dict__["__traceback__"].__get__(error)
        return "".join([*traceback.format_tb(trace), _say(error)])
