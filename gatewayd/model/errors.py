"""Errors that name their cure.

A driver (channel, agent core, store) raises one of these; anything else that leaves a driver is a bug in it and spends
its restart budget. What each error does is decided in one place: ``actor/supervisor.py`` for an account's life,
``hub/accounts/account.py`` for one send.
"""

import errno
from collections.abc import Sequence
from typing import Final, Literal, Self

from msgspec import Struct

Scope = Literal["conversation", "sends", "account"]

_ERRNO_MAY_PASS: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM))


class GatewayError(Exception):
    """Base of every error that gatewayd raises on purpose. ``str(error)`` is safe to show an operator: no secret is in it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TryAgain(GatewayError):
    """An outage: network, 5xx, rate limit. Waited out for ever with full-jitter back-off; spends no budget.

    Raised from ``send`` it promises that nothing was sent. ``after_seconds`` is the platform's own wish (``Retry-After``,
    ``retry_after``) and is honoured as a minimum. ``scope`` says what has to wait: one conversation; all that the account sends,
    because it is too fast (the connection stays, and no attempt is used up); or the account, which is connected anew.
    """

    def __init__(self, reason: str, *, after_seconds: float | None = None, scope: Scope = "account") -> None:
        super().__init__(reason)
        self.after_seconds = after_seconds
        self.scope: Scope = scope


class NeedsOperator(GatewayError):
    """Only a person can mend it (revoked token, bad setting): the account is parked at once, with the reason.

    ``look_again``: it may be mended elsewhere than in our configuration (a platform that says for ten minutes that it knows no
    token, a command that is installed). So it is also looked at again slowly, by itself: parked, but not for good.
    """

    def __init__(self, reason: str, *, look_again: bool = False) -> None:
        super().__init__(reason)
        self.look_again = look_again


class SendRejected(GatewayError):
    """The platform refused this one payload for good (blocked by the user, chat gone): the row is dead, the account is fine."""


class OutcomeUnknown(GatewayError):
    """The request may or may not have taken effect (cut after it was written): never resent blindly."""


FailureKind = Literal["failed", "empty", "too_long"]


class AgentFailed(GatewayError):
    """A turn failed for good. ``reason`` is for the operator; the user gets one short sentence without it, by the ``kind``:
    ``empty`` is an answer without a word where the agent cannot mean that, ``too_long`` a conversation that the agent cannot take
    in, so that it is to be begun anew."""

    def __init__(self, reason: str, *, kind: FailureKind = "failed") -> None:
        super().__init__(reason)
        self.kind: FailureKind = kind


class StoreRefused(GatewayError):
    """The state directory cannot be used: held by another process, damaged, or written by a newer release.

    ``may_pass``: it may end without anybody's doing (a full disk, an I/O error), so trying again later makes sense.
    """

    def __init__(self, reason: str, *, may_pass: bool = False) -> None:
        super().__init__(reason)
        self.may_pass = may_pass

    @classmethod
    def of_os(cls, error: OSError, what: str) -> Self:
        """An error of the file system; ``what`` begins its sentence."""
        return cls(f"{what}: {error.strerror}", may_pass=error.errno in _ERRNO_MAY_PASS)


class NotFound(GatewayError):
    """What was named (account, approval, pairing code) does not exist."""


class UnusableId(GatewayError):
    """An id that somebody gives is too long, holds a NUL, or is no text. Nothing was stored under it."""


class Conflict(GatewayError):
    """What was asked does not fit the present state (already decided, already stopped)."""


class Overloaded(GatewayError):
    """A bound is reached; the caller has to wait or come back. Nothing was stored."""


class PluginError(NeedsOperator):
    """A plugin cannot be used: it is missing, broken, or offered twice. ``reason`` names its distribution."""


class ConfigProblem(Struct, frozen=True):
    """One thing that is wrong in the configuration. No field holds a secret's value.

    ``key`` is the key path as the file writes it, ``[channels.telegram.accounts.main].token``; ``line`` counts from 1;
    ``nearest`` is the known word that looks most like what was found.
    """

    key: str
    what: str
    file: str | None = None
    line: int | None = None
    found: str | None = None
    allowed: str | None = None
    nearest: str | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        parts = [": ".join(part for part in (place, self.key, self.what) if part)]
        if self.found is not None:
            parts.append(f"found {self.found}")
        if self.allowed is not None:
            parts.append(f"allowed: {self.allowed}")
        if self.nearest is not None:
            parts.append(f'did you mean "{self.nearest}"?')
        return "; ".join(parts)


class ConfigError(GatewayError):
    """The configuration cannot be used. ``problems`` are all that were found, in the order of the file."""

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
