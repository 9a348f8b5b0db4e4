"""getUpdates and the webhook methods: the two ways to receive, which exclude each other.

Rules: core.telegram.org/bots/api#getting-updates; the words and the slowing-down are those of the Bot API server
(tdlib/telegram-bot-api, ``Client.cpp``).
"""

import trio

from tests.fakes.bot_api.bot import Bot, Dropped, Poll, Webhook
from tests.fakes.bot_api.errors import Json, bad_request, too_many_requests
from tests.fakes.bot_api.result import Result

LONG_POLL_LIMIT_SECONDS = 50
WEBHOOK_PORTS = frozenset({443, 80, 88, 8443})
OTHER_POLL = "terminated by other getUpdates request; make sure that only one bot instance is running"
WEBHOOK_ACTIVE = "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"


async def get_updates(bot: Bot, params: Json) -> Result:
    """getUpdates: one waits at a time, and the newer one ends the older one."""
    if bot.webhook is not None:
        raise await bot.conflict(WEBHOOK_ACTIVE)
    offset = params.get("offset", 0)
    limit = min(max(params.get("limit", 100), 1), 100)
    timeout = min(max(params.get("timeout", 0), 0), LONG_POLL_LIMIT_SECONDS)
    bot.updates.allow(params.get("allowed_updates"))
    limit, timeout = _slow_down(bot, offset, limit, timeout)
    bot.updates.confirm(offset)
    bot.changed.notify()
    found = bot.updates.read(limit)
    if not found and timeout:
        bot.end_poll(OTHER_POLL)
        await _wait_for_update(bot, timeout)
        found = bot.updates.read(limit)
    return Result(found)


def _slow_down(bot: Bot, offset: int, limit: int, timeout: int) -> tuple[int, int]:
    """A client that asks again and again with the same offset is slowed down by the server (tdlib, Client.cpp)."""
    now = trio.current_time()
    if offset == bot.last_poll_offset:
        if now < bot.last_poll_at + 3.0:
            timeout = max(timeout, 3)
        if now < bot.last_poll_at + 0.5:
            limit = 1
    bot.last_poll_offset, bot.last_poll_at = offset, now
    return limit, timeout


async def _wait_for_update(bot: Bot, timeout: int) -> None:
    poll = bot.poll = Poll()
    with trio.move_on_after(timeout):
        await poll.wait_over()
    if bot.poll is poll:
        bot.poll = None
    if poll.is_dropped:
        raise Dropped
    if poll.refusal is not None:
        raise await bot.conflict(poll.refusal)


async def set_webhook(bot: Bot, params: Json) -> Result:
    """setWebhook: at most once a second; plain http only as a self-hosted server (``--local``) allows it."""
    url = params.get("url", "")
    if not url:
        return await delete_webhook(bot, params)
    if trio.current_time() < bot.next_webhook_at:
        raise too_many_requests(1)
    bot.next_webhook_at = trio.current_time() + 1.0
    secret = params.get("secret_token", "")
    _check_webhook(url, secret)
    if params.get("drop_pending_updates"):
        bot.updates.clear()
    bot.end_poll("terminated by setWebhook request")
    bot.updates.allow(params.get("allowed_updates"))
    webhook = Webhook(
        url=url,
        secret_token=secret,
        max_connections=min(max(params.get("max_connections", 40), 1), 100),
        ip_address=params.get("ip_address", "127.0.0.1"),
    )
    unchanged = bot.webhook is not None and (bot.webhook.url, bot.webhook.secret_token, bot.webhook.max_connections) == (
        webhook.url,
        webhook.secret_token,
        webhook.max_connections,
    )
    if unchanged:
        return Result(True, "Webhook is already set")
    bot.webhook = webhook
    bot.deliverable.notify()
    return Result(True, "Webhook was set")


def _check_webhook(url: str, secret: str) -> None:
    scheme, _, rest = url.partition("://")
    host, _, port = rest.partition("/")[0].partition(":")
    if scheme.lower() not in {"http", "https"} or not host or (port and not port.isdigit()):
        raise bad_request("invalid webhook URL specified")
    if scheme.lower() == "https" and int(port or 443) not in WEBHOOK_PORTS:
        raise bad_request("bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443")
    if len(secret) > 256:
        raise bad_request("secret token is too long")
    if not all(char.isascii() and (char.isalnum() or char in "_-") for char in secret):
        raise bad_request("secret token contains unallowed characters")


async def delete_webhook(bot: Bot, params: Json) -> Result:
    if params.get("drop_pending_updates"):
        bot.updates.clear()
    was_set = bot.webhook is not None
    bot.webhook = None
    bot.deliverable.notify()
    return Result(True, "Webhook was deleted" if was_set else "Webhook is already deleted")


async def get_webhook_info(bot: Bot, params: Json) -> Result:
    """getWebhookInfo: WebhookInfo, with an empty url while none is set."""
    info: Json = {
        "url": bot.webhook.url if bot.webhook else "",
        "has_custom_certificate": False,
        "pending_update_count": len(bot.updates),
    }
    if bot.webhook is not None:
        if bot.webhook.last_error_date is not None:
            info["last_error_date"] = bot.webhook.last_error_date
            info["last_error_message"] = bot.webhook.last_error_message
        info["max_connections"] = bot.webhook.max_connections
        info["ip_address"] = bot.webhook.ip_address
    if bot.updates.allowed is not None:
        info["allowed_updates"] = sorted(bot.updates.allowed)
    return Result(info)
