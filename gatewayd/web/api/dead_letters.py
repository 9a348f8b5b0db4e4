"""``/v1/dead-letters``: messages and replies that want a person's look. Looking needs the scope ``read``, acting ``admin``,
and both the role operator.
"""

from typing import Annotated, Final

from msgspec import Meta, Struct
from quart import Blueprint, Response

from gatewayd.hub.gateway import Gateway
from gatewayd.hub.operations.dead_letter_queue import MOST_AT_ONCE, Bulk, BulkPlace, RepairDesk
from gatewayd.model.records.dead_letter import Letter, LetterCounts, LetterFilter, LetterPlace, RepairAction, Skipped
from gatewayd.web.access.auth import Auth
from gatewayd.web.http.bodies import json_response, read_body, read_query, require_ready
from gatewayd.web.http.errors import HttpError

MOST_LETTERS: Final = 500
_Cursor = Annotated[str, Meta(max_length=200)]
_Ref = Annotated[str, Meta(max_length=40)]
_Note = Annotated[str, Meta(max_length=2000)]


class ListQuery(LetterFilter, frozen=True, forbid_unknown_fields=True):
    before: _Cursor | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_LETTERS)] = 100


class LetterList(Struct, frozen=True):
    letters: list[Letter]
    next: str | None
    counts: LetterCounts


class LetterView(Struct, frozen=True):
    letter: Letter
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
    filter: LetterFilter | None = None
    after: _Cursor | None = None
    note: _Note | None = None


class ActAnswer(Struct, frozen=True):
    letter: Letter


class BulkAnswer(Struct, frozen=True):
    done: int
    skipped: list[Skipped]
    more: bool
    next: str | None


def blueprint(gateway: Gateway, auth: Auth) -> Blueprint:
    routes = Blueprint("letters", __name__)
    desk = gateway.repair

    @routes.get("/v1/dead-letters")
    async def list_letters() -> Response:
        await auth.require_operator("read")
        query = read_query(ListQuery)
        wanted = LetterFilter(**{name: getattr(query, name) for name in LetterFilter.__struct_fields__})
        before = None if query.before is None else LetterPlace.parse(query.before)
        page = await desk.list(wanted, before=before, limit=query.limit)
        return json_response(LetterList(page.letters, None if page.next is None else str(page.next), page.counts))

    @routes.get("/v1/dead-letters/<ref>")
    async def show(ref: str) -> Response:
        await auth.require_operator("read")
        found = await desk.get(ref)
        return json_response(LetterView(found.letter, found.text, found.why_not is None, found.why_not))

    @routes.post("/v1/dead-letters/<ref>")
    async def act(ref: str) -> Response:
        identity = await auth.require("admin")
        require_ready(gateway)
        body = await read_body(ActBody)
        return json_response(ActAnswer(await desk.act(ref, body.action, by=identity.label, note=body.note)))

    @routes.post("/v1/dead-letters")
    async def act_on_many() -> Response:
        identity = await auth.require("admin")
        require_ready(gateway)
        body = await read_body(BulkBody)
        bulk = await _act_on_many(desk, body, identity.label)
        return json_response(BulkAnswer(bulk.done, bulk.skipped, bulk.more, None if bulk.next is None else str(bulk.next)))

    return routes


async def _act_on_many(desk: RepairDesk, body: BulkBody, by: str) -> Bulk:
    """:raises HttpError: bad_request."""
    if body.refs is not None and body.filter is None and body.after is None:
        return await desk.act_on(body.refs, body.action, by=by, note=body.note)
    if body.filter is None or body.refs is not None:
        raise HttpError("bad_request", "in the body: either refs, or a filter (an empty one is every letter), with its after")
    after = None if body.after is None else BulkPlace.parse(body.after)
    return await desk.act_on_all(body.filter, body.action, after=after, by=by, note=body.note)
