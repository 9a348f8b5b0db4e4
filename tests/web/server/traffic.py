"""Requests that the tests of the server send."""

import trio
import trio.testing
from structlog.typing import EventDict

from tests.web.client import RawClient, request
from tests.web.site import Site

HEALTH = request("GET", "/health")
WEBHOOK = request("POST", "/v1/webhooks/hook/nobody", body=b"x")


def no_failure(logged: list[EventDict]) -> bool:
    """Nothing reached a barrier: what clients do wrong is expected, not an error of ours."""
    return not [entry for entry in logged if entry["event"] in ("connection_failed", "request_failed")]


async def ask_for_ever(client: RawClient) -> None:
    for _ in range(1000):
        await client.say(HEALTH * 100)


async def pending_approval(site: Site) -> None:
    async with site.client("write") as client:
        message = {"channel": "loopback", "account": "main", "peer": {"kind": "dm", "id": "a"}, "sender": {"id": "a"}}
        await client.post("/v1/chat/inbound", json=message | {"text": "/demo-tool x"})
    await trio.sleep(1)


async def approval_id(site: Site) -> str:
    [approval] = await site.gateway.approvals.list()
    return approval.id
