"""``POST /v1/webhooks/{channel}/{account_id}``: journal first, then answer.

The route exists only for accounts whose plugin has ``webhook=True`` and whose open channel implements ReceivesWebhooks.
An account that does not exist, one that takes no webhooks and one whose channel answers 404 (no secret is set up) look the
same from outside. The ``Host`` header is not looked at here, because a reverse proxy may rewrite it, and ``Origin`` neither:
the channel's own check of signature or secret decides, and without it nothing is journaled.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

import msgspec
import structlog
import trio
from msgspec import Struct

from gatewayd.hub.account import AccountActor
from gatewayd.hub.gateway import Gateway
from gatewayd.model.errors import GatewayError, NotFound
from gatewayd.ports.channel import ReceivesWebhooks, WebhookReply, WebhookRequest
from gatewayd.web.refusal import RETRY_SECONDS, Refusal, refusal_of, refusal_of_status

PREFIX: Final = "/v1/webhooks/"
DELIVER_SECONDS: Final = 10.0
"""How long to wait for a place in the inbox and for the commit. Platforms give up after 5 to 60 s and try again."""
AFTERWARDS_SECONDS: Final = 30.0
_AFTERWARDS_AT_ONCE: Final = 64

log = structlog.get_logger("gatewayd.web.webhooks")


class Receipt(Struct, frozen=True):
    """What to answer, and what to run when it has been answered."""

    reply: WebhookReply
    request: WebhookRequest
    receiver: ReceivesWebhooks


def parse_target(target: str) -> tuple[str, str, str] | None:
    """Channel, account and query of a request target, None when it is no webhook's."""
    path, _, query = target.partition("?")
    if not path.startswith(PREFIX):
        return None
    channel, _, account = path[len(PREFIX) :].partition("/")
    return unquote(channel), unquote(account), query


class WebhookDesk:
    """Answers webhooks. :meth:`run` must be running, or nothing is done after the answers."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._nursery: trio.Nursery | None = None
        self._running = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Holds what runs after the answers, until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    async def answer(self, channel: str, account: str, request: WebhookRequest) -> Receipt:
        """Check, parse, journal. Returns after the commit; hand the receipt to :meth:`afterwards` when it is answered.

        :raises Refusal: not_found, draining, unavailable, overloaded, bad_request or internal; then nothing was journaled,
            except after a time-out, when the platform's next attempt finds its events known.
        """
        if self._gateway.state != "ready":
            raise Refusal("draining", f"the daemon is {self._gateway.state}", retry_after=RETRY_SECONDS)
        actor, receiver = self._receiver(channel, account)
        if self._gateway.inbox.full():
            raise Refusal("overloaded", "the inbox is full", retry_after=RETRY_SECONDS)
        reply = self._receive(receiver, request, channel, account)
        if reply.status == 404:
            raise _not_found()
        if reply.status < 400 and reply.envelopes:
            await self._deliver(actor, reply, channel, account)
        return Receipt(reply=reply, request=request, receiver=receiver)

    def afterwards(self, receipt: Receipt) -> None:
        """Let the channel do what it does after an answer (best effort: skipped when too much of it is under way)."""
        if receipt.reply.status >= 400 or self._nursery is None:
            return
        if self._running >= _AFTERWARDS_AT_ONCE:
            log.warning("webhook_afterwards_skipped", running=self._running)
            return
        self._running += 1
        self._nursery.start_soon(self._run_afterwards, receipt)

    def _receiver(self, channel: str, account: str) -> tuple[AccountActor, ReceivesWebhooks]:
        try:
            actor = self._gateway.manager.account(channel, account)
        except NotFound:
            raise _not_found() from None
        if not actor.plugin.webhook:
            raise _not_found()
        driver = actor.channel
        if driver is None:
            raise Refusal("unavailable", "this account is not running", retry_after=RETRY_SECONDS)
        if not isinstance(driver, ReceivesWebhooks):
            raise _not_found()
        return actor, driver

    def _receive(self, receiver: ReceivesWebhooks, request: WebhookRequest, channel: str, account: str) -> WebhookReply:
        try:
            return receiver.receive(request)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise Refusal("bad_request", "the body cannot be read") from None
        except Exception:
            log.exception("webhook_driver_failed", channel=channel, account=account)
            raise refusal_of_status(500) from None

    async def _deliver(self, actor: AccountActor, reply: WebhookReply, channel: str, account: str) -> None:
        try:
            with trio.move_on_after(DELIVER_SECONDS) as scope:
                await actor.deliver(reply.envelopes)
        except GatewayError as error:
            log.warning("webhook_not_journaled", channel=channel, account=account, reason=error.reason)
            refusal = refusal_of(error)
            if refusal.status < 500:
                refusal = refusal_of_status(500)
            raise refusal from None
        except Exception:
            log.exception("webhook_not_journaled", channel=channel, account=account)
            raise refusal_of_status(500) from None
        if scope.cancelled_caught:
            raise Refusal("overloaded", "the inbox is full", retry_after=RETRY_SECONDS)

    async def _run_afterwards(self, receipt: Receipt) -> None:
        try:
            with trio.move_on_after(AFTERWARDS_SECONDS):
                await receipt.receiver.received(receipt.request, receipt.reply)
        except* Exception:
            log.exception("webhook_afterwards_failed")
        finally:
            self._running -= 1


def headers_of(pairs: Mapping[str, str] | list[tuple[str, str]]) -> dict[str, str]:
    """Header names in lower case, repeated headers joined (RFC 9110 section 5.3)."""
    joined: dict[str, str] = {}
    for name, value in pairs.items() if isinstance(pairs, Mapping) else pairs:
        key = name.lower()
        joined[key] = f"{joined[key]}, {value}" if key in joined else value
    return joined


def _not_found() -> Refusal:
    return Refusal("not_found", "there is no such webhook")
