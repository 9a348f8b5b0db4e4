"""``/v1/dead-letters``: messages and replies that want a person's look. Looking needs the scope ``read``, acting ``admin``,
and both the role operator.
"""

from typing import Annotated, Final

from msgspec import Meta, Struct
from quart import Blueprint, Response

from gatewayd.hub.gateway import Gateway
from gatewayd.hub.operations.dead_letter_queue import MOST_AT_ONCE, Bulk, BulkCursor, DeadLetterQueue
from gatewayd.model.records.dead_letter import (
    DeadLetter,
    DeadLetterCounts,
    DeadLetterCursor,
    DeadLetterFilter,
    RepairAction,
    Skipped,
)
from gatewayd.web.access.auth import Auth
from gatewayd.web.http.bodies import json_response, read_body, read_query, require_ready
from gatewayd.web.http.errors import HttpError

MOST_DEAD_LETTERS: Final = 500
_Cursor = Annotated[str, Meta(max_length=200)]
_Ref = Annotated[str, Meta(max_length=40)]
_Note = Annotated[str, Meta(max_length=2000)]


class ListQuery(DeadLetterFilter, frozen=True, forbid_unknown_fields=True):
    before: _Cursor | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_DEAD_LETTERS)] = 100


class DeadLetterList(Struct, frozen=True):
    dead_letters: list[DeadLetter]
    next: str | None
    counts: DeadLetterCounts


class DeadLetterView(Struct, frozen=True):
    dead_letter: DeadLetter
    text: str
    can_retry: bool
    why_not: str | None


class ActBody(Struct, frozen=True, forbid_unknown_fields=True):
    action: RepairAction
    note: _Note | None = None


class BulkBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Either ``refs`` or a ``filter``; ``after`` is the ``next`` of the answer to the same filter."""

    action: RepairAction
    refs: Annotated[list[_Ref], Meta(min_length=1, max_length=MOST_AT_ONCE)] | None = None
    filter: DeadLetterFilter | None = None
    after: _Cursor | None = None
    note: _Note | None = None


class ActAnswer(Struct, frozen=True):
    dead_letter: DeadLetter


class BulkAnswer(Struct, frozen=True):
    done: int
    skipped: list[Skipped]
    more: bool
    next: str | None


def blueprint(gateway: Gateway, auth: Auth) -> Blueprint:
    routes = Blueprint("dead_letters", __name__)
    queue = gateway.dead_letters

    @routes.get("/v1/dead-letters")
    async def list_dead_letters() -> Response:
        await auth.require_operator("read")
        query = read_query(ListQuery)
        wanted = DeadLetterFilter(**{name: getattr(query, name) for name in DeadLetterFilter.__struct_fields__})
        before = None if query.before is None else DeadLetterCursor.parse(query.before)
        page = await queue.list(wanted, before=before, limit=query.limit)
        return json_response(DeadLetterList(page.dead_letters, None if page.next is None else str(page.next), page.counts))

    @routes.get("/v1/dead-letters/<ref>")
    async def show(ref: str) -> Response:
        await auth.require_operator("read")
        found = await queue.get(ref)
        return json_response(DeadLetterView(found.dead_letter, found.text, found.why_not is None, found.why_not))

    @routes.post("/v1/dead-letters/<ref>")
    async def act(ref: str) -> Response:
        identity = await auth.require("admin")
        require_ready(gateway)
        body = await read_body(ActBody)
        return json_response(ActAnswer(await queue.act(ref, body.action, by=identity.label, note=body.note)))

    @routes.post("/v1/dead-letters")
    async def act_on_many() -> Response:
        identity = await auth.require("admin")
        require_ready(gateway)
        body = await read_body(BulkBody)
        bulk = await _act_on_many(queue, body, identity.label)
        return json_response(BulkAnswer(bulk.done, bulk.skipped, bulk.more, None if bulk.next is None else str(bulk.next)))

    return routes


async def _act_on_many(queue: DeadLetterQueue, body: BulkBody, by: str) -> Bulk:
    """:raises HttpError: bad_request."""
    if body.refs is not None and body.filter is None and body.after is None:
        return await queue.act_on(body.refs, body.action, by=by, note=body.note)
    if body.filter is None or body.refs is not None:
        raise HttpError("bad_request", "in the body: either refs, or a filter (an empty one is all dead letters), with its after")
    after = None if body.after is None else BulkCursor.parse(body.after)
    return await queue.act_on_all(body.filter, body.action, after=after, by=by, note=body.note)
