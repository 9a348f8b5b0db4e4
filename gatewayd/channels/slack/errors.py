"""What each error of the Web API means for us. Pure."""

from typing import Literal

from gatewayd.model.errors import GatewayError, NeedsOperator, OutcomeUnknown, SendRejected, TryAgain

Purpose = Literal["send", "own", "fetch"]
"""Sending to a conversation; the account's own life (auth.test, apps.connections.open); reading something that may not be there
(a history, a file, a user)."""


class SlackError(Exception):
    """One answer that is no success; :func:`gateway_error` says what it means. Never leaves the driver.

    ``name`` is Slack's ("Web API", "Evaluating responses"); "" when something else than the Web API answered. ``needed`` and
    ``provided`` are the scopes that a ``missing_scope`` names, ``messages`` what ``response_metadata`` says of the arguments.
    """

    def __init__(
        self,
        method: str,
        name: str,
        *,
        status: int = 200,
        retry_after_seconds: float | None = None,
        needed: str = "",
        provided: str = "",
        messages: tuple[str, ...] = (),
    ) -> None:
        super().__init__(f"{method}: {name or status}")
        self.method = method
        self.name = name
        self.status = status
        self.retry_after_seconds = retry_after_seconds
        self.needed = needed
        self.provided = provided
        self.messages = messages


def gateway_error(error: SlackError, purpose: Purpose) -> GatewayError:
    """The error to raise for ``error``."""
    reason = f"Slack {error.method} answered {error.name or error.status}"
    if error.name in ("invalid_auth", "not_authed", "account_inactive", "token_revoked"):
        return NeedsOperator(reason, retries_slowly=True)
    if error.name:
        return NeedsOperator(reason, retries_slowly=True) if purpose == "own" else SendRejected(reason)
    return OutcomeUnknown(reason) if purpose == "send" else TryAgain(reason)
