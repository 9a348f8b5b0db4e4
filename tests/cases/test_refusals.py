"""Messages that Telegram refuses for what they have besides their words: the words arrive, through the outbox and the driver."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from gatewayd.channels.telegram import PLUGIN
from gatewayd.channels.telegram.channel import open_telegram
from gatewayd.hub.outbox.drafts import draft_texts
from gatewayd.model.message.envelope import Peer
from gatewayd.ports.channel import AccountConfig, Channel, ChannelOpener, ChannelServices
from tests.cases import cases
from tests.channels.telegram.rig import account_of
from tests.fakes.bot_api import FakeBotApi, make_supergroup
from tests.hub.street import open_street

FORUM = -1001
WRITTEN = "**Done**, see [the docs](https://example.org/a_b)."
REFUSED = [(name, case, words) for name, case in cases("refusals") for words in case["descriptions"]]


def telegram(api: FakeBotApi) -> ChannelOpener:
    @asynccontextmanager
    async def opened(account: AccountConfig, services: ChannelServices) -> AsyncIterator[Channel]:
        async with open_telegram(account_of(api), services) as channel:
            yield channel

    return opened


def is_met(when: str) -> Callable[[dict[str, Any]], bool]:
    """``when`` of a case: "parameter is given", or "parameter is value"."""
    parameter, _, value = when.partition(" is ")
    return lambda call: parameter in call and value in ("given", str(call[parameter]))


@pytest.mark.parametrize(("name", "case", "words"), REFUSED)
@pytest.mark.parametrize("peer", [Peer("dm", "4711", "77"), Peer("group", str(FORUM), "77")], ids=["private", "group"])
async def test_the_words_arrive(
    name: str, case: dict[str, Any], words: str, peer: Peer, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with FakeBotApi.serve() as api, open_street(tmp_path, opener=lambda plugin: telegram(api)) as street:
        chat = int(peer.id) if peer.kind == "dm" else make_supergroup(FORUM, forum=True)
        api.user_sends(chat, "hello", thread=77)
        refused = is_met(case["when"])
        api.fail_next("sendMessage", case["error_code"], words, times=None, when=refused)
        [row] = await street.outbox.write(draft_texts("loopback", "main", peer, WRITTEN, PLUGIN, reply_to="1"))
        while street.outbox.is_unsettled(row.id):
            await street.outbox.wait_settled()
        assert await street.state_of(row) == "sent"
        [text] = api.texts(int(peer.id))
        assert text.replace(" (https://example.org/a_b)", "") == "Done, see the docs."
        first, second = api.calls("sendMessage")
        assert refused(first)
        assert not refused(second)
        assert ("(https://example.org/a_b)" in text) is ("parse_mode" not in second)
