"""``/v1/webhooks/{channel}/{account_id}``: journal first, then answer.

The methods are those of the manifest. An account has the route when its plug-in has ``webhook=True`` and its open channel
implements ReceivesWebhooks. An account that does not exist, one without webhooks and one whose channel answers 404 (no secret is
set up) look the same from outside. ``Host`` and ``Origin`` are not checked, because a reverse proxy may rewrite them. The channel
checks a signature or secret; without it nothing is journaled.
"""

from collections import deque
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Final, cast
from urllib.parse import unquote

import anyio
import msgspec
import structlog
import trio
from msgspec import Struct

from gatewayd.actor.border import Bug, sole, third_party, trace_of
from gatewayd.hub.accounts.account import AccountActor
from gatewayd.hub.accounts.calls import CallCut, DriverCalls
from gatewayd.hub.gateway import Gateway
from gatewayd.model.errors import GatewayError, NotFound, TryAgain
from gatewayd.ports.channel import ChecksHeaders, ReceivesWebhooks, WebhookReply, WebhookRequest
from gatewayd.web.http.bodies import require_ready
from gatewayd.web.http.errors import HttpError, error_of, error_of_status

PREFIX: Final = "/v1/webhooks/"
_USUAL: Final = ("POST",)
AFTERWARDS_SECONDS: Final = 30.0
"""How long a channel may work after a response (``received``)."""
WORKERS: Final = 16
"""How many channels may do that at the same time."""
_AFTERWARDS_WAITING: Final = 256
_AT_ONCE: Final = 64

log = structlog.get_logger("gatewayd.web.webhooks")


class Receipt(Struct, frozen=True):
    """The response, and what ``received`` of the channel needs after it."""

    calls: DriverCalls
    reply: WebhookReply
    request: WebhookRequest
    receiver: ReceivesWebhooks


def parse_target(target: str) -> tuple[str, str, str] | None:
    """Channel, account and query of a request target; None: not a webhook."""
    path, _, query = target.partition("?")
    if not path.startswith(PREFIX):
        return None
    channel, _, account = path[len(PREFIX) :].partition("/")
    return unquote(channel), unquote(account), query


class WebhookDesk:
    """Answers webhooks. :meth:`run` must be running for the work after the responses."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._skipping = False
        self._to_do, self._done = trio.open_memory_channel[Receipt](_AFTERWARDS_WAITING)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Do the work after the responses, until cancelled."""
        async with anyio.create_task_group() as tasks:
            for _ in range(WORKERS):
                tasks.start_soon(self._work)
            task_status.started()

    def check(self, channel: str, account: str, method: str, headers: Mapping[str, str]) -> None:
        """Refuse a webhook before its body is read. :meth:`answer` checks again.

        :raises HttpError: method_not_allowed, draining, not_found, unavailable, overloaded, or the channel refuses these headers.
        """
        _, receiver = self._admit(channel, account, method)
        if not isinstance(receiver, ChecksHeaders):
            return
        refused = self._ask(partial(receiver.check_headers, headers), channel, account)
        if refused is not None:
            raise _not_found() if refused.status == 404 else error_of_status(refused.status)

    async def answer(self, channel: str, account: str, request: WebhookRequest) -> Receipt:
        """Check, parse, journal. Returns after the commit; pass the receipt to :meth:`afterwards` when the response is sent.

        After a time-out the events may be journaled; then the platform's next attempt is a duplicate.

        :raises HttpError: method_not_allowed, not_found, draining, unavailable, overloaded (also: not journaled within the time
            that the platform gives), bad_request or internal.
        """
        actor, receiver = self._admit(channel, account, request.method)
        calls, seconds = actor.calls, actor.plugin.webhook_answer_seconds
        assert calls is not None, "its channel is open"
        with trio.move_on_after(seconds):
            reply = self._receive(receiver, request, channel, account)
            if reply.status == 404:
                raise _not_found()
            if reply.status < 400 and (reply.envelopes or reply.reports or reply.state):
                await self._deliver(actor, reply, channel, account)
            return Receipt(calls, reply, request, receiver)
        raise HttpError("overloaded", f"the message was not journaled within {seconds:g} s: send it again")

    def afterwards(self, receipt: Receipt) -> None:
        """Let the channel work after the response. Best effort: skipped when too much of that work waits already."""
        if receipt.reply.status >= 400:
            return
        try:
            self._to_do.send_nowait(receipt)
        except trio.WouldBlock:
            if not self._skipping:
                log.warning("webhook_followup_skipped", waiting=_AFTERWARDS_WAITING)
            self._skipping = True
        else:
            self._skipping = False

    def _admit(self, channel: str, account: str, method: str) -> tuple[AccountActor, ReceivesWebhooks]:
        try:
            actor = self._gateway.manager.account(channel, account)
        except NotFound:
            actor = None
        # What has no webhook looks like what does not exist.
        methods = actor.plugin.webhook_methods if actor is not None and actor.plugin.webhook else _USUAL
        if method not in methods:
            allowed = {"allow": ", ".join(methods)}
            raise HttpError("method_not_allowed", "this path does not take this method: see Allow", headers=allowed)
        require_ready(self._gateway)
        if actor is None or not actor.plugin.webhook:
            raise _not_found()
        receiver = self._receiver(actor)
        if why := self._gateway.backlog.why_full(channel, account):
            raise HttpError("overloaded", why)
        return actor, receiver

    def _receiver(self, actor: AccountActor) -> ReceivesWebhooks:
        driver = actor.channel
        # An outdated driver goes on sending for a while, but the secret that it checks may be replaced.
        if driver is None or actor.is_outdated or not actor.settings.frame.enabled:
            raise HttpError("unavailable", "this account is not connected: try again later; gatewayctl status says why")
        if not _receives_webhooks(type(driver)):
            raise _not_found()
        return cast(ReceivesWebhooks, driver)

    def _receive(self, receiver: ReceivesWebhooks, request: WebhookRequest, channel: str, account: str) -> WebhookReply:
        reply = self._ask(partial(_reply_of, receiver, request), channel, account)
        if reply is None:
            raise HttpError("bad_request", "the body is not what this channel's platform sends")
        return reply

    def _ask(self, call: Callable[[], WebhookReply | None], channel: str, account: str) -> WebhookReply | None:
        try:
            with third_party():
                reply = call()
                return None if reply is None else _checked(reply)
        except Exception as error:
            log.error("webhook_driver_failed", channel=channel, account=account, exception=trace_of(error))
            raise error_of_status(500) from None

    async def _deliver(self, actor: AccountActor, reply: WebhookReply, channel: str, account: str) -> None:
        try:
            await actor.deliver(reply.envelopes, state=reply.state, reports=reply.reports)
        except GatewayError as error:
            log.warning("webhook_not_journaled", channel=channel, account=account, reason=error.reason)
            http_error = error_of(error)
            raise http_error if http_error.status >= 500 else error_of_status(500) from None
        except Exception:
            log.exception("webhook_not_journaled", channel=channel, account=account)
            raise error_of_status(500) from None

    async def _work(self) -> None:
        while True:
            await _do_afterwards(self._with_its_like(await self._done.receive()))

    def _with_its_like(self, first: Receipt) -> deque[Receipt]:
        """With what waits next for the same life of an account: one call for many, since each is a task. Under load that is a
        sixteenth of the work of a webhook."""
        found = deque((first,))
        while len(found) < _AT_ONCE:
            try:
                receipt = self._done.receive_nowait()
            except trio.WouldBlock:
                break
            if receipt.calls is not first.calls:
                self._to_do.send_nowait(receipt)
                break
            found.append(receipt)
        return found


async def _do_afterwards(receipts: deque[Receipt]) -> None:
    """One after the other. What takes too long is given up, and the next one begins."""
    calls = receipts[0].calls

    async def work() -> None:
        while receipts:
            receipt = receipts.popleft()
            try:
                with third_party():
                    await receipt.receiver.received(receipt.request, receipt.reply)
            except* Exception as group:
                log.error("webhook_followup_failed", exception=trace_of(sole(group)))

    while receipts:
        try:
            await calls.call(work, within_seconds=AFTERWARDS_SECONDS)
        except CallCut:
            log.warning("webhook_followup_timed_out", seconds=AFTERWARDS_SECONDS)
        except TryAgain as error:
            log.warning("webhook_followup_failed", reason=error.reason)
            return


def _reply_of(receiver: ReceivesWebhooks, request: WebhookRequest) -> WebhookReply | None:
    """None: the channel cannot parse the body."""
    try:
        reply: WebhookReply | None = receiver.receive(request)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    if reply is None:
        raise Bug("receive returned no WebhookReply")
    return reply


def _checked(reply: object) -> WebhookReply:
    if not isinstance(reply, WebhookReply):
        raise Bug(f"a {type(reply).__name__} for a WebhookReply")
    status: object = reply.status
    if type(status) is not int or not 200 <= status <= 599 or not isinstance(reply.body, bytes):
        raise Bug(f"a WebhookReply with the status {status!r} and a body of {type(reply.body).__name__}")
    if not (reply.content_type.isascii() and reply.content_type.isprintable()):
        raise Bug(f"a WebhookReply with the content type {reply.content_type!r}")
    return reply


@cache
def _receives_webhooks(driver: type) -> bool:
    # Cached: the check of a runtime protocol costs as much as the rest of a webhook's routing.
    return issubclass(driver, ReceivesWebhooks)


def _not_found() -> HttpError:
    return HttpError("not_found", "there is no webhook at this path: check the channel and the account in it")
