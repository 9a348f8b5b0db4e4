"""``/v1/dead-letters``: messages and replies that wait for a person. Reading needs the scope ``read``, retrying and dropping
``admin``, and both the role operator.
"""

from typing import Annotated, Final

from msgspec import Meta
from quart import Blueprint, Response

from gatewayd.hub.gateway import Gateway
from gatewayd.hub.operations.dead_letter_queue import Bulk, BulkCursor, DeadLetterQueue
from gatewayd.model.operator_api import (
    Cursor,
    DeadLetterList,
    DeadLetterView,
    OneDeadLetter,
    RepairedMany,
    RepairMany,
    RepairOne,
)
from gatewayd.model.records.dead_letter import DeadLetterCursor, DeadLetterFilter
from gatewayd.web.access.auth import Auth
from gatewayd.web.http.bodies import json_response, read_body, read_query, require_ready
from gatewayd.web.http.errors import HttpError

MOST_DEAD_LETTERS: Final = 500


class ListQuery(DeadLetterFilter, frozen=True, forbid_unknown_fields=True):
    before: Cursor | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_DEAD_LETTERS)] = 100


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
        return json_response(DeadLetterList(tuple(page.dead_letters), _text_of(page.next), page.counts))

    @routes.get("/v1/dead-letters/<ref>")
    async def show(ref: str) -> Response:
        await auth.require_operator("read")
        found = await queue.get(ref)
        return json_response(DeadLetterView(found.dead_letter, found.text, found.why_not is None, found.why_not))

    @routes.post("/v1/dead-letters/<ref>")
    async def act(ref: str) -> Response:
        identity = await auth.require("admin")
        require_ready(gateway)
        body = await read_body(RepairOne)
        return json_response(OneDeadLetter(await queue.act(ref, body.action, by=identity.label, note=body.note)))

    @routes.post("/v1/dead-letters")
    async def act_on_many() -> Response:
        identity = await auth.require("admin")
        require_ready(gateway)
        body = await read_body(RepairMany)
        bulk = await _act_on_many(queue, body, identity.label)
        return json_response(RepairedMany(bulk.done, tuple(bulk.skipped), bulk.more, _text_of(bulk.next)))

    return routes


async def _act_on_many(queue: DeadLetterQueue, body: RepairMany, by: str) -> Bulk:
    """:raises HttpError: bad_request."""
    if body.refs is not None and body.filter is None and body.after is None:
        return await queue.act_on(body.refs, body.action, by=by, note=body.note)
    if body.filter is None or body.refs is not None:
        raise HttpError(
            "bad_request",
            "the body needs either refs or a filter (an empty one means all dead letters); after goes with a filter",
        )
    after = None if body.after is None else BulkCursor.parse(body.after)
    return await queue.act_on_all(body.filter, body.action, after=after, by=by, note=body.note)


def _text_of(cursor: object | None) -> str | None:
    return None if cursor is None else str(cursor)
