"""The errors of gatewayd. Each class says how to handle it.

A driver (channel, agent core, store) raises one of these. Any other exception of a driver is a bug, and uses up its restart
budget. One place handles them: ``actor/supervisor.py`` for the life of an account, ``hub/accounts/account.py`` for one send.
"""

import errno
from collections.abc import Callable, Sequence
from typing import Final, Literal, Self

from msgspec import Struct

Scope = Literal["conversation", "sends", "account"]

_ERRNO_MAY_PASS: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM))


class GatewayError(Exception):
    """Base of every error that gatewayd raises on purpose. ``str(error)`` is safe to show an operator: no secret is in it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def redact(self, redact: Callable[[str], str]) -> None:
        """Take secrets out of the reason."""
        self.reason = redact(self.reason)
        self.args = (self.reason,)


class TryAgain(GatewayError):
    """An outage: network, 5xx, rate limit. It is retried for ever with full-jitter back-off, and uses up no budget.

    If ``send`` raises it, nothing was sent. ``after_seconds`` is the minimum pause that the platform wants (``Retry-After``,
    ``retry_after``). ``scope`` says what waits: one conversation; all sends of the account, because it is too fast (the
    connection stays, and no attempt is counted); or the account, which connects anew.
    """

    def __init__(self, reason: str, *, after_seconds: float | None = None, scope: Scope = "account") -> None:
        super().__init__(reason)
        self.after_seconds = after_seconds
        self.scope: Scope = scope


class NeedsOperator(GatewayError):
    """Only an operator can repair the cause (revoked token, wrong setting): the account is parked at once, with the reason.

    ``retries_slowly``: the cause may end without a new configuration (a platform that denies all tokens for ten minutes, a
    command that gets installed). The account is parked and tried again slowly.
    """

    def __init__(self, reason: str, *, retries_slowly: bool = False) -> None:
        super().__init__(reason)
        self.retries_slowly = retries_slowly


class SendRejected(GatewayError):
    """The platform refused this payload for good (blocked by the user, chat gone): its row is dead, the account goes on."""


class OutcomeUnknown(GatewayError):
    """The request was cut after it was written, and may or may not have had its effect."""


class AnswerExpired(GatewayError):
    """The platform does not take an answer to exactly this event any more, and sent nothing. The hub sends it the plain way."""


FailureKind = Literal["failed", "empty", "too_long"]


class AgentFailed(GatewayError):
    """A turn failed for good. ``reason`` is for the operator. The user gets a short sentence that depends on ``kind``: ``empty``
    is an answer without text, ``too_long`` a conversation that is too long for the agent, so that the user must begin a new
    one."""

    def __init__(self, reason: str, *, kind: FailureKind = "failed") -> None:
        super().__init__(reason)
        self.kind: FailureKind = kind


class StoreRefused(GatewayError):
    """The state directory cannot be used: held by another process, damaged, or written by a newer release.

    ``may_pass``: the cause may end by itself (a full disk, an I/O error), so a later attempt makes sense.
    """

    def __init__(self, reason: str, *, may_pass: bool = False) -> None:
        super().__init__(reason)
        self.may_pass = may_pass

    @classmethod
    def of_os(cls, error: OSError, what: str) -> Self:
        """An error of the file system. ``what`` is the beginning of the sentence."""
        return cls(f"{what}: {error.strerror}", may_pass=error.errno in _ERRNO_MAY_PASS)


class NotFound(GatewayError):
    """The named account, approval or pairing code does not exist."""


class UnusableId(GatewayError):
    """A given id is too long, holds a NUL, or is no text. Nothing was stored."""


class Conflict(GatewayError):
    """The order does not fit the present state (already decided, already stopped)."""


class Overloaded(GatewayError):
    """A limit is reached: the caller must wait or come back. Nothing was stored."""


class PluginError(NeedsOperator):
    """A plug-in cannot be used: it is missing, broken, or offered twice. ``reason`` names its distribution."""


class ConfigProblem(Struct, frozen=True):
    """One error in the configuration. No field holds the value of a secret.

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
    """The configuration cannot be used. ``problems`` are all its errors, in the order of the file."""

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
