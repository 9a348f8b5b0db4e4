"""One account as a whole: who it is, what its token may do, and what it answers before Slack has said so."""

import msgspec
import pytest
from trio.testing import MockClock

from gatewayd.channels.slack.identity import SCOPES
from gatewayd.channels.slack.receiving.inbound import Bot
from gatewayd.kit.text.markdown import render
from gatewayd.model.errors import NeedsOperator, SendRejected, TryAgain
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.message.payload import Receipt, SendFile, SendText
from gatewayd.model.secret import Secret
from gatewayd.ports.channel import WebhookRequest
from tests.channels.slack.rig import now, rig_for
from tests.fakes.slack_platform import FakeSlack
from tests.fakes.slack_platform.platform import Mode

CHALLENGE = msgspec.json.encode({"type": "url_verification", "challenge": "c1"})


def request_of(slack: FakeSlack, body: bytes) -> WebhookRequest:
    headers = {name.lower(): value for name, value in slack.sender.signed(body, "application/json").items()}
    return WebhookRequest("POST", headers, "", body)


async def test_it_connects_as_its_bot_and_lacks_nothing() -> None:
    async with FakeSlack.serve(now=now) as slack, rig_for(slack) as rig, rig.listening():
        assert rig.services.connected_as[-1] in (None, "@gatebot in Home")
        await slack.wait_connections(2)
    assert set(SCOPES.values()) & {what for what, reason in rig.services.lacking.items() if reason is not None} == set()
    [kept] = [value for key, value in rig.services.kept.items() if key.startswith("bot.")]
    assert msgspec.json.decode(kept, type=Bot) == Bot(slack.team, slack.bot_user, slack.bot_id, slack.app_id, "gatebot")


async def test_an_installation_for_an_organisation_is_told_with_its_cure() -> None:
    async with FakeSlack.serve(now=now) as slack, rig_for(slack) as rig:
        slack.workspace.is_organisation = True
        async with rig.listening():
            assert "install it in one workspace" in (rig.services.lacking["one workspace"] or "")


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_missing_scope_is_told_with_its_cure(scope: str) -> None:
    async with FakeSlack.serve(now=now) as slack, rig_for(slack) as rig:
        slack.remove_scope(scope)
        async with rig.listening():
            reason = rig.services.lacking[SCOPES[scope]]
    assert reason is not None
    assert reason.startswith(f'the token lacks {scope}: add it under "OAuth & Permissions"')


async def test_without_the_scope_for_it_the_app_is_not_known() -> None:
    async with FakeSlack.serve(now=now) as slack, rig_for(slack) as rig:
        slack.remove_scope("users:read")
        async with rig.listening():
            [kept] = [value for key, value in rig.services.kept.items() if key.startswith("bot.")]
    assert msgspec.json.decode(kept, type=Bot).app_id is None


@pytest.mark.parametrize("state", ["account_inactive", "token_revoked", "token_expired"])
async def test_a_void_token_needs_the_operator(state: str) -> None:
    async with FakeSlack.serve(now=now) as slack, rig_for(slack) as rig:
        slack.set_token_state(state)  # type: ignore[arg-type]
        with pytest.raises(NeedsOperator, match=state):
            await rig.channel.listen(rig.journal)


async def test_slack_being_away_is_an_outage(autojump_clock: MockClock) -> None:
    async with FakeSlack.serve(now=now) as slack, rig_for(slack) as rig:
        slack.break_with("auth.test", 503, times=None)
        with pytest.raises(TryAgain):
            await rig.channel.listen(rig.journal)


async def test_a_webhook_is_read_right_after_a_restart_and_asked_for_again_before_the_first_connection() -> None:
    async with FakeSlack.serve(mode="events", now=now) as slack:
        async with rig_for(slack, mode="events") as rig:
            assert rig.channel.receive(request_of(slack, CHALLENGE)).status == 503
            async with rig.listening():
                assert rig.channel.receive(request_of(slack, CHALLENGE)).status == 200
                assert rig.services.connected_as == ["@gatebot in Home"]
        async with rig_for(slack, mode="events", kept=rig.services.kept) as rig:
            reply = rig.channel.receive(request_of(slack, CHALLENGE))
            assert (reply.status, b"c1" in reply.body) == (200, True)
            await rig.channel.received(request_of(slack, CHALLENGE), reply)
            assert rig.services.heard_times == 1


async def test_another_token_does_not_inherit_who_the_first_one_was() -> None:
    async with FakeSlack.serve(mode="events", now=now) as slack:
        async with rig_for(slack, mode="events") as rig, rig.listening():
            pass
        other = Secret("xoxb-1-2-anotherTokenThanBefore")
        async with rig_for(slack, mode="events", kept=rig.services.kept, bot_token=other) as rig:
            assert rig.channel.receive(request_of(slack, CHALLENGE)).status == 503


async def test_socket_mode_takes_no_webhooks() -> None:
    async with FakeSlack.serve(now=now) as slack, rig_for(slack) as rig:
        assert rig.channel.receive(request_of(slack, CHALLENGE)).status == 404


@pytest.mark.parametrize("mode", ["socket", "events"])
async def test_who_has_written_is_answered_without_a_question_where(mode: Mode, autojump_clock: MockClock) -> None:
    """Of conversations.open Slack takes 50 a minute: a hundred people who write at once would wait for a minute."""
    async with FakeSlack.serve(now=now) as slack, rig_for(slack, mode=mode) as rig, rig.listening():
        alice = slack.add_user("alice")
        dm = slack.dm(alice)
        if mode == "socket":
            slack.say(alice, dm, "hello")
            await rig.journal.wait_texts("hello")
        else:
            slack.drop_events()
            slack.say(alice, dm, "hello")
            reply = rig.channel.receive(request_of(slack, msgspec.json.encode(slack.deliveries.all[-1].payload)))
            assert [envelope.text for envelope in reply.envelopes] == ["hello"]
        await rig.channel.send(SendText(Peer("dm", alice), render("hi")), key="k")
        assert slack.texts(dm) == ["hi"]
        assert slack.calls("conversations.open") == []


async def test_a_thread_cannot_be_told_before_it_is_known_who_we_are() -> None:
    asked = InboundEnvelope("slack", "main", "k", "message", Peer("group", "C1", "1.0"), Sender("U1"))
    async with FakeSlack.serve(now=now) as slack, rig_for(slack) as rig:
        with pytest.raises(TryAgain):
            await rig.channel.earlier(asked, at_most=3)


async def test_a_file_goes_to_a_person_and_into_a_thread() -> None:
    async with FakeSlack.serve(now=now) as slack, rig_for(slack) as rig, rig.listening():
        alice = slack.add_user("alice")
        general = slack.add_channel("general", [alice])
        root = slack.say(alice, general, "hello")
        rig.services.files["n"] = b"12345"
        for peer, channel in ((Peer("dm", alice), slack.dm(alice)), (Peer("group", general, root), general)):
            receipt = await rig.channel.send(SendFile(peer, "n", "report.txt", 5), key="k1")
            shown = slack.messages(channel)[-1]
            assert receipt == Receipt(f"{channel}:{shown['ts']}")
            assert (shown["files"][0]["name"], shown.get("thread_ts")) == ("report.txt", peer.thread)
            assert await rig.channel.find_sent(SendFile(peer, "n", "report.txt", 5), key="k1", since=0) == receipt


async def test_a_file_to_nobody_is_refused() -> None:
    async with FakeSlack.serve(now=now) as slack, rig_for(slack) as rig, rig.listening():
        rig.services.files["n"] = b"12345"
        with pytest.raises(SendRejected, match="user_not_found"):
            await rig.channel.send(SendFile(Peer("dm", "U0NOBODY"), "n", "report.txt", 5), key="k1")
