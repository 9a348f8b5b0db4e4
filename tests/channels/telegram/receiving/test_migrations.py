"""A group that became a supergroup: what comes from it, what goes to it, and over a restart."""

import json
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import MockClock

from gatewayd.channels.telegram.sending.outbound import number_in
from gatewayd.channels.telegram.state import MOST_GROUPS, Migrations
from gatewayd.model.errors import SendRejected, StoreRefused, TryAgain
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import EditText, RichText, SendText
from gatewayd.ports.channel import WebhookRequest
from tests.channels.telegram.rig import Rig, rig_for
from tests.fakes.bot_api import FakeBotApi, make_user

GROUP, SUPERGROUP = -4001, -1001234004001
PEER = Peer("group", str(GROUP))


@pytest.mark.parametrize("kind", ["migrate_to_chat_id", "migrate_from_chat_id"])
async def test_either_message_tells_of_it_and_it_is_remembered(kind: str, autojump_clock: MockClock) -> None:
    told = {"migrate_to_chat_id": (GROUP, SUPERGROUP), "migrate_from_chat_id": (SUPERGROUP, GROUP)}[kind]
    kept: dict[str, str] = {}
    async with FakeBotApi.serve() as api:
        api.add_chat(SUPERGROUP)
        with capture_logs() as logs:
            async with rig_for(api, kept=kept) as rig, rig.listening():
                api.user_sends(told[0], content={kind: told[1]})
                api.user_sends(told[0], content={kind: told[1]})
                api.user_sends(SUPERGROUP, "after the upgrade")
                await api.wait_delivered()
                last = rig.journal.envelopes[-1]
        assert (last.peer.id, last.formerly, last.text) == (str(SUPERGROUP), str(GROUP), "after the upgrade")
        assert [log["event"] for log in logs].count("telegram_group_migrated") == 1
        other = api.add_bot("424243:another_token")
        other.add_chat(SUPERGROUP)
        async with rig_for(api, kept=kept, token=other.token) as rig:
            await rig.channel.send(SendText(PEER, RichText("known with another token, too")), key="k")
        assert other.texts(SUPERGROUP) == ["known with another token, too"]


async def test_by_webhook_it_is_stored_with_what_tells_of_it(autojump_clock: MockClock) -> None:
    message = {"message_id": 1, "date": 1, "chat": {"id": GROUP, "type": "group"}, "from": make_user()}
    update = {"update_id": 1, "message": {**message, "migrate_to_chat_id": SUPERGROUP}}
    async with FakeBotApi.serve() as api, rig_for(api, mode="webhook") as rig:
        call = webhook_call(rig, update)
        first, again = rig.channel.receive(call), rig.channel.receive(call)
        assert first.state == again.state == {"moved": f'{{"{GROUP}":{SUPERGROUP}}}'}, "until it is surely stored"
        await rig.channel.received(call, first)
        assert rig.channel.receive(call).state == {}


def webhook_call(rig: Rig, update: Any) -> WebhookRequest:
    secret = next(value for key, value in rig.services.kept.items() if key.startswith("webhook_secret."))
    return WebhookRequest("POST", {"x-telegram-bot-api-secret-token": secret}, "", json.dumps(update).encode())


async def test_what_is_sent_to_either_id_arrives_and_can_be_edited_there(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig, rig.listening():
        api.add_chat(GROUP)
        old = await rig.channel.send(SendText(PEER, RichText("of old")), key="k")
        api.group_upgrades(GROUP, SUPERGROUP)
        await api.wait_delivered()
        for peer in (PEER, Peer("group", str(SUPERGROUP))):
            question = api.user_sends(SUPERGROUP, "?")["message"]["message_id"]
            await api.wait_delivered()
            asked = rig.journal.envelopes[-1].message_id
            receipt = await rig.channel.send(SendText(peer, RichText("draft"), reply_to=asked), key="k")
            assert api.calls("sendMessage")[-1]["reply_parameters"]["message_id"] == question
            await rig.channel.send(EditText(peer, RichText("edited"), 1, receipt.message_id), key="k")
            await rig.channel.send(SendText(peer, RichText("to a message of old"), reply_to=old.message_id), key="k")
        assert api.texts(SUPERGROUP) == ["edited", "to a message of old"] * 2
        with pytest.raises(SendRejected, match="migrated"):
            await rig.channel.send(EditText(PEER, RichText("no"), 1, old.message_id), key="k")


class FullDisk(dict[str, str]):
    def __setitem__(self, key: str, value: str) -> None:
        raise StoreRefused("the disk is full", may_pass=True)


async def test_a_reply_that_tells_of_it_on_a_full_disk_is_tried_again(autojump_clock: MockClock) -> None:
    """The group refused it, so nothing was sent yet."""
    async with FakeBotApi.serve() as api, rig_for(api, kept=FullDisk()) as rig:
        api.add_chat(GROUP)
        api.group_upgrades(GROUP, SUPERGROUP)
        with pytest.raises(TryAgain, match="the disk is full") as caught:
            await rig.channel.send(SendText(PEER, RichText("hello")), key="k")
        assert caught.value.scope == "conversation"
        assert api.texts(SUPERGROUP) == []
        await rig.channel.send(SendText(PEER, RichText("hello")), key="k")
        assert api.texts(SUPERGROUP) == ["hello"]


async def test_a_press_names_the_message_as_its_receipt_did(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig, rig.listening():
        api.group_upgrades(GROUP, SUPERGROUP)
        await api.wait_delivered()
        receipt = await rig.channel.send(SendText(PEER, RichText("?")), key="k")
        number = int((receipt.message_id or "").partition("@")[0])
        shown = {"message_id": number, "date": 1, "chat": api.chat(SUPERGROUP).info}
        api.add_update({"callback_query": {"id": "1", "from": make_user(), "data": "d", "message": shown, "chat_instance": "i"}})
        with trio.fail_after(5):
            [press] = await rig.journal.wait_presses(1)
        assert press.message_id == receipt.message_id


@given(st.dictionaries(st.integers(-(10**12) + 1, -1), st.integers(-(10**15), -(10**12) - 1), max_size=5), st.integers(1, 10**9))
def test_what_is_remembered_says_the_same_after_a_restart(migrations: dict[int, int], number: int) -> None:
    before = Migrations()
    for group, supergroup in migrations.items():
        assert before.note(group, supergroup)
        assert not before.note(group, supergroup)
    unsaved = before.unsaved
    assert (not unsaved) == (not migrations)
    after = Migrations(unsaved.get(Migrations.KEY))
    for group, supergroup in migrations.items():
        assert before.now(group) == after.now(group) == supergroup
        reference = after.reference(number, supergroup)
        assert number_in(supergroup, reference, home=group) == number
        assert number_in(supergroup, str(number), home=group) is None
    assert after.unsaved == {}


def test_the_oldest_is_forgotten() -> None:
    migrations = Migrations()
    migrations._now = {-number: -(10**12) - number for number in range(1, MOST_GROUPS + 1)}
    migrations._before = {now: before for before, now in migrations._now.items()}
    migrations.note(-(10**6), -(10**13))
    assert (migrations.now(-1), migrations.before(-(10**12) - 1), migrations.now(-2)) == (-1, None, -(10**12) - 2)
