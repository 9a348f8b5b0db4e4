"""What the routes of a channel may use of the hub: all of one account, and nothing of another."""

from pathlib import Path

import pytest
import trio.testing

from gatewayd.kit.transcript import lines_of
from gatewayd.model.errors import Conflict
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.message.payload import RichText, SendText
from gatewayd.ports.store import OutboundDraft, TokenRow
from gatewayd.web.plugin_routes.desk import Desk, OwnLogins
from tests.web.client import now
from tests.web.plugin_routes.porch import a_login
from tests.web.plugin_routes.test_routes import porch_site


async def test_a_desk_has_the_replies_and_messages_of_its_account_only(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    peer = Peer("dm", "alice")
    async with porch_site(tmp_path) as site:
        desk = Desk(site.gateway, site.server._app.auth, site.gateway.manager.account("porch", "main"))
        for account in ("main", "off"):
            await site.store.add_outbound([OutboundDraft("porch", account, "c", SendText(peer, RichText(account)))], now=now())
            envelope = InboundEnvelope(
                "porch", account, account, "message", peer, Sender("alice"), text=account, received_at=now()
            )
            await site.store.add_inbound([envelope])
        assert [await desk.find_reply(number) is not None for number in (1, 2, 3)] == [True, False, False]
        assert [await desk.find_message(key) for key in ("main", "off")] == [1, None]
        lines = lines_of(await desk.transcript(peer, limit=10))
        assert [line.text for line in lines] == ["main", "main"]


async def test_a_channel_has_the_logins_of_its_own_people_only(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with porch_site(tmp_path) as site:
        store, own = site.store, OwnLogins(site.store, "porch/main")
        foreign = TokenRow("f" * 64, "web_session", "alice", "webchat", (), 0.0)
        operator = TokenRow("e" * 64, "token", "ops", "operator", ("admin",), 0.0)
        await store.put_token(foreign)
        await store.put_token(operator)
        for row in (foreign, operator):
            assert await own.get_token(row.digest) is None
            await own.delete_token(row.digest)
            assert not await own.exchange_token(row.digest, a_login("mallory"))
            with pytest.raises(Conflict):
                await own.put_token(a_login("mallory", row.digest))
            assert await store.get_token(row.digest) == row
        assert await own.list_tokens("web_session") == []
        await own.put_token(a_login("bob", role="operator"))
        [kept] = await own.list_tokens("web_session")
        assert (kept.name, kept.role, kept.scopes) == ("bob", "porch/main", ())
        assert await own.get_token(kept.digest) == kept
        with pytest.raises(ValueError, match="not a token"):
            await own.put_token(a_login("bob", "c" * 64, kind="token"))
        await own.delete_token(kept.digest)
        assert await own.get_token(kept.digest) is None
