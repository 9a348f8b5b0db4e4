"""What the routes of a channel may use of the hub: the implementation of ``ports.channel.HttpDesk`` for one account."""

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from gatewayd.hub.accounts.account import AccountActor
from gatewayd.hub.gateway import Gateway
from gatewayd.model.errors import Conflict
from gatewayd.model.message.envelope import Peer
from gatewayd.model.records.event import EventValue
from gatewayd.ports.channel import AccountConfig, Channel, HttpProblem, HttpRequest
from gatewayd.ports.store import OutboundRow, TokenRow, Tokens, TranscriptRow
from gatewayd.web.access.auth import Auth
from gatewayd.web.http.bodies import require_ready
from gatewayd.web.http.errors import HttpError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


class Desk:
    """The desk of one account."""

    def __init__(self, gateway: Gateway, auth: Auth, actor: AccountActor) -> None:
        self._gateway = gateway
        self._auth = auth
        self._actor = actor
        self._plugin = actor.plugin
        own = self.account = actor.config
        self._place = (own.channel, own.account)
        self.logins = OwnLogins(gateway.store, own.channel if self._plugin.one_account else f"{own.channel}/{own.account}")
        self.now = gateway.now

    account: AccountConfig

    @property
    def channel(self) -> Channel | None:
        return self._actor.channel

    @property
    def log(self) -> "FilteringBoundLogger":
        log: FilteringBoundLogger = structlog.get_logger("gatewayd.web.plugin_routes")
        return log.bind(channel=self.account.channel, account=self.account.account)

    def require_channel(self) -> Channel:
        channel = self.channel
        if channel is None:
            label, name = self._plugin.label, self.account.channel
            start = f"an operator can start it with gatewayctl channels start {name}"
            raise HttpError("unavailable", f"{label} is not connected: gatewayctl status says why, and if it is stopped, {start}")
        return channel

    def require_room(self) -> None:
        require_ready(self._gateway)
        if self._gateway.backlog.why_full(*self._place):
            raise HttpError("overloaded", "too many messages wait for an answer: try again in a moment")

    async def transcript(self, peer: Peer, *, limit: int) -> list[TranscriptRow]:
        return await self._gateway.store.transcript(*self._place, peer, limit=limit)

    async def find_message(self, event_key: str) -> int | None:
        row = await self._gateway.store.find_inbound(*self._place, event_key)
        return None if row is None else row.id

    async def find_reply(self, number: int) -> OutboundRow | None:
        row = await self._gateway.store.get_outbound(number)
        return row if row is not None and (row.channel, row.account) == self._place else None

    def emit(self, kind: str, **data: EventValue) -> None:
        self._gateway.events.emit(f"channels.{self.account.channel}.{kind}", **data)

    def order(self, request: HttpRequest, action: str, subject: str) -> AbstractAsyncContextManager[None]:
        if request.operator is None:
            raise ValueError("only a route with a scope has an operator who could order something")
        return self._gateway.audit.doing(request.operator, f"{self.account.channel}.{action}", subject)

    async def wrong_code(self, request: HttpRequest, message: str) -> HttpProblem:
        kind = f"{self.account.channel} login code"
        return await self._auth.count_failure(kind, HttpError("unauthorized", message), request.client)


class OwnLogins:
    """``ports.channel.Logins``: the rows with this role. Without it a plug-in could make itself an operator by mistake."""

    def __init__(self, tokens: Tokens, role: str) -> None:
        self._tokens = tokens
        self._role = role

    async def put_token(self, row: TokenRow) -> None:
        own = self._own(row)
        known = await self._tokens.get_token(row.digest)
        if known is not None and not self._is_own(known):
            raise Conflict("a row of somebody else has this digest")
        await self._tokens.put_token(own)

    async def get_token(self, digest: str) -> TokenRow | None:
        row = await self._tokens.get_token(digest)
        return row if row is not None and self._is_own(row) else None

    async def exchange_token(self, digest: str, row: TokenRow) -> bool:
        own = self._own(row)
        return await self.get_token(digest) is not None and await self._tokens.exchange_token(digest, own)

    async def list_tokens(self, kind: str) -> list[TokenRow]:
        return [row for row in await self._tokens.list_tokens(kind) if self._is_own(row)]

    async def delete_token(self, digest: str) -> None:
        if await self.get_token(digest) is not None:
            await self._tokens.delete_token(digest)

    def _is_own(self, row: TokenRow) -> bool:
        return row.role == self._role and row.kind != "token"

    def _own(self, row: TokenRow) -> TokenRow:
        if row.kind not in ("login_code", "web_session"):
            raise ValueError(f"a login is a login_code or a web_session, not a {row.kind}")
        return replace(row, role=self._role, scopes=())
