"""The daemon as a process against a Bot API server: what users see, through kills, stops, repeats and refusals."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest
import trio

from gatewayd.model.status import Snapshot
from tests.fakes.bot_api import FakeBotApi, make_supergroup
from tests.whole.process import Daemon, daemon

pytestmark = pytest.mark.slow

ALICE, BOB = 1001, 1002
GROUP = -1_001_000_000_007


def configuration(
    api: FakeBotApi, tmp_path: Path, *, mode: str = "poll", more: str = "", agent: str = 'core = "echo"', gateway: str = ""
) -> str:
    """A daemon with one Telegram account, open to everybody."""
    (tmp_path / "telegram.token").write_text(api.token)
    (tmp_path / "telegram.token").chmod(0o600)
    return f"""
[gateway]
{gateway}
[agents.assistant]
{agent}
[channels.telegram.accounts.main]
token = {{ file = "{tmp_path / "telegram.token"}" }}
api_base = "{api.url}"
mode = "{mode}"
dm_policy = "open"
group_policy = "open"
{more}
"""


def connected(snapshot: Snapshot) -> bool:
    """Every account of the snapshot is connected."""
    return all(account.state == "connected" for account in snapshot.accounts)


@pytest.fixture(autouse=True)
def bounded(nursery: trio.Nursery) -> None:
    """No test of this module may take longer than a minute."""
    nursery.start_soon(_fail_after_a_minute)


async def _fail_after_a_minute() -> None:
    await trio.sleep(60)
    raise AssertionError("the test took longer than a minute")


async def test_a_message_is_answered_by_long_poll(tmp_path: Path) -> None:
    async with FakeBotApi.serve() as api, daemon(tmp_path, configuration(api, tmp_path)) as gateway:
        api.user_sends(ALICE, "hello **world**")
        assert await api.wait_texts(ALICE, 1) == ["hello world"]
        snapshot = await gateway.wait_status(connected)
        assert snapshot.problems == ()
        assert await gateway.stop() == 0


async def test_a_message_is_answered_by_webhook(tmp_path: Path) -> None:
    gateway_section = 'public_url = "https://bots.example.org"'
    async with FakeBotApi.serve() as api:
        text = configuration(api, tmp_path, mode="webhook", gateway=gateway_section)
        async with daemon(tmp_path, text) as gateway:
            api.route_webhooks("https://bots.example.org", gateway.url)
            assert await api.wait_webhook() == "https://bots.example.org/v1/webhooks/telegram/main"
            api.user_sends(ALICE, "hello")
            assert await api.wait_texts(ALICE, 1) == ["hello"]
            update = {"update_id": 1, "message": {}}
            assert await api.post_update(update, secret_token="wrong") == 401
            async with gateway.client() as client:
                unsigned = await client.post("/v1/webhooks/telegram/main", json=update)
            assert unsigned.status_code == 401
            assert (await gateway.status()).counters["inbound_received"] == 1


@pytest.mark.parametrize("mode", ["poll", "webhook"])
async def test_every_shape_of_update_ends_as_it_should(tmp_path: Path, mode: str) -> None:
    public = 'public_url = "https://bots.example.org"'
    async with (
        FakeBotApi.serve() as api,
        daemon(tmp_path, configuration(api, tmp_path, mode=mode, gateway=public)) as gateway,
    ):
        if mode == "webhook":
            api.route_webhooks("https://bots.example.org", gateway.url)
        group = make_supergroup(GROUP, forum=True)
        api.user_sends(ALICE, "private")
        await api.wait_texts(ALICE, 1)
        api.user_sends(group, "not for the bot")
        api.user_sends(group, f"@{api.user['username']} for the bot")
        api.user_sends(group, f"@{api.user['username']} in a topic", thread=77)
        api.user_sends_photo(ALICE, "look at this")
        api.user_sends(ALICE, "answer me")
        api.unknown_update()
        api.member_changes(BOB, "member")
        api.channel_posts(-1_001_000_000_009, "a post")
        sent = api.user_sends(ALICE, "edited later")
        await api.wait_texts(ALICE, 4)
        api.user_edits(ALICE, sent["message"]["message_id"], "too late")
        api.user_presses(ALICE, api.chat(ALICE).visible(None)[-1]["message_id"], "pressed")
        assert await api.wait_texts(ALICE, 5) == ["private", "look at this", "answer me", "edited later", "pressed"]
        await api.wait_call("answerCallbackQuery")
        assert await api.wait_texts(GROUP, 1, thread=77) == [f"@{api.user['username']} in a topic"]
        assert [text for text in api.texts(GROUP) if "not for" in text] == []
        await api.wait_delivered()
        assert api.pending_update_count == 0, "the update of an unknown type is not offered again, either"
        ends = await _wait_inbound_ends(gateway, 11)
        assert ends == {
            ("message", "answered"): 6,
            ("button", "answered"): 1,
            ("message", "not_addressed"): 2,  # one in the group, and the post in the channel
            ("membership", "membership"): 1,
            ("edit", "edited_after_answer"): 1,
        }
        assert (await gateway.status()).counters["inbound_received"] == 11, "and none of an unknown type"
        assert api.texts(-1_001_000_000_009) == ["a post"], "which nobody answered"


async def _wait_inbound_ends(gateway: Daemon, count: int) -> dict[tuple[str, str], int]:
    """How many inbound rows of which kind ended with which reason, as an operator is told it."""
    command = [sys.executable, "-c", "from gatewayd.cli.gatewayctl import main; raise SystemExit(main())"]
    command += ["--state-dir", str(gateway.state_dir), "events", "--json", "--kind", "inbound.*"]
    while True:
        done = await trio.run_process(command, capture_stdout=True)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        kinds = {event["data"]["id"]: event["data"]["event_kind"] for event in events if event["kind"] == "inbound.received"}
        ends = [event["data"] for event in events if event["kind"] != "inbound.received"]
        if len(ends) >= count:
            return dict(Counter((kinds[end["id"]], end["reason"]) for end in ends))


async def test_kill_between_receipt_and_reply_loses_nothing_and_answers_once(tmp_path: Path) -> None:
    text_of = ["first", "second", "third", "fourth", "fifth", "sixth"]
    async with FakeBotApi.serve() as api:
        slow = 'core = "echo"\nword_delay_seconds = 0.3'
        async with daemon(tmp_path, configuration(api, tmp_path, agent=slow)) as gateway:
            for text in text_of:
                api.user_sends(ALICE, text)
            # The offset has moved: the platform has been told, so from here on they are ours to answer.
            await api.wait_delivered()
            gateway.kill()
            await gateway.wait()
        async with daemon(tmp_path, configuration(api, tmp_path)) as gateway:
            answers = await api.wait_texts(ALICE, len(text_of))
            await gateway.stop()
        assert answers == text_of == api.texts(ALICE)


@pytest.mark.force
@pytest.mark.parametrize("moment", range(4))
async def test_kill_at_any_moment_of_a_busy_conversation(tmp_path: Path, moment: int) -> None:
    """Twenty chats, five messages each, a kill after some replies: at the end each reply is visible once, or its row says that
    nobody knows."""
    chats = range(2000, 2020)
    async with FakeBotApi.serve() as api:
        config = configuration(api, tmp_path)
        async with daemon(tmp_path, config) as gateway:
            for number in range(5):
                for chat in chats:
                    api.user_sends(chat, f"m{number}")
            await api.wait_call("sendMessage", count=1 + 17 * moment)
            gateway.kill()
            await gateway.wait()
        async with daemon(tmp_path, config) as gateway:
            snapshot = await gateway.wait_status(lambda s: _settled(s) and not api.pending_update_count)
            unknown = snapshot.outbox.unknown
            missing = 0
            for chat in chats:
                texts = [
                    text for text in api.texts(chat) if text.startswith("m")
                ]  # not the notices of replies of unknown outcome
                assert texts == sorted(set(texts)), "a reply was doubled or out of order"
                missing += 5 - len(texts)
            assert missing <= unknown
            await gateway.wait_status(lambda s: s.dead_letters.out_unknown == unknown == s.outbox.unknown)


def _settled(snapshot: Snapshot) -> bool:
    outbox, waiting = snapshot.outbox, snapshot.counters["inbound_waiting"]
    return connected(snapshot) and not any((outbox.ready, outbox.sending, snapshot.lanes.live, waiting))


async def test_six_messages_while_down_are_six_turns_after_the_start(tmp_path: Path) -> None:
    async with FakeBotApi.serve() as api:
        config = configuration(api, tmp_path)
        async with daemon(tmp_path, config) as gateway:
            api.user_sends(ALICE, "before")
            await api.wait_texts(ALICE, 1)
            assert await gateway.stop() == 0
        for number in range(6):
            api.user_sends(ALICE, f"while down {number}")
        async with daemon(tmp_path, config) as gateway:
            await api.wait_texts(ALICE, 7)
            await gateway.stop()
        assert api.texts(ALICE) == ["before", *(f"while down {number}" for number in range(6))]


async def test_the_same_update_four_times_is_one_turn(tmp_path: Path) -> None:
    async with FakeBotApi.serve() as api:
        config = configuration(api, tmp_path)
        async with daemon(tmp_path, config) as gateway:
            update = api.user_sends(ALICE, "once")
            await api.wait_texts(ALICE, 1)
            for _ in range(2):
                api.redeliver(update)
                await api.wait_delivered()
            await gateway.stop()
        api.redeliver(update)
        async with daemon(tmp_path, config):
            api.user_sends(ALICE, "over")
            assert await api.wait_texts(ALICE, 2) == ["once", "over"]


async def test_a_rate_limit_in_the_middle_of_a_long_reply_is_honoured_and_nothing_is_lost(tmp_path: Path) -> None:
    long = "\n\n".join(f"paragraph {number} " + "word " * 300 for number in range(8))
    async with FakeBotApi.serve() as api, daemon(tmp_path, configuration(api, tmp_path)):
        third = {"seen": 0}

        def third_chunk(params: dict[str, object]) -> bool:
            third["seen"] += 1
            return third["seen"] == 3

        api.fail_next("sendMessage", 429, "Too Many Requests: retry after 1", parameters={"retry_after": 1}, when=third_chunk)
        api.user_sends(ALICE, long[:4000])
        api.user_sends(ALICE, long[4000:8000])
        api.user_sends(ALICE, long[8000:12000])
        texts = await api.wait_texts(ALICE, 3)
        assert "".join("".join(texts).split()) == "".join(long[:12000].split())


async def test_a_refused_reply_is_a_dead_letter_and_the_others_go_on(tmp_path: Path) -> None:
    async with FakeBotApi.serve() as api, daemon(tmp_path, configuration(api, tmp_path)) as gateway:
        api.fail_next("sendMessage", 403, "Forbidden: bot was blocked by the user", when=lambda p: p["chat_id"] == BOB)
        api.user_sends(BOB, "into the void")
        api.user_sends(ALICE, "hello")
        await api.wait_texts(ALICE, 1)
        snapshot = await gateway.wait_status(lambda s: s.outbox.dead == 1)
        assert connected(snapshot)
        assert snapshot.ready, "what a platform refuses is no ill health of ours"
        assert {problem.code for problem in snapshot.problems} <= {"dead_letters"}
        assert "blocked by the user" in gateway.log.read_text()


async def test_one_broken_account_hurts_no_other_and_status_says_which(tmp_path: Path) -> None:
    async with FakeBotApi.serve() as api:
        for number, name in ((998, "wrong"), (999, "other")):
            (tmp_path / f"{name}.token").write_text(f"{number}:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
            (tmp_path / f"{name}.token").chmod(0o600)
        broken = f"""
[channels.telegram.accounts.revoked]
token = {{ file = "{tmp_path / "wrong.token"}" }}
api_base = "{api.url}"
[channels.telegram.accounts.unreachable]
token = {{ file = "{tmp_path / "other.token"}" }}
api_base = "http://127.0.0.1:9"
"""
        async with daemon(tmp_path, configuration(api, tmp_path, more=broken)) as gateway:
            api.user_sends(ALICE, "hello")
            assert await api.wait_texts(ALICE, 1) == ["hello"]
            snapshot = await gateway.wait_status(lambda s: _states(s)[1:] == ["parked", "waiting"])
            assert _states(snapshot) == ["connected", "parked", "waiting"]
            assert not snapshot.ready
            async with gateway.client() as client:
                assert (await client.get("/readyz")).status_code == 503
                assert (await client.get("/health")).status_code == 200
            assert await gateway.stop() == 0


def _states(snapshot: Snapshot) -> list[str]:
    return [account.state for account in snapshot.accounts]


@pytest.mark.slow
async def test_the_token_is_nowhere_in_the_log(tmp_path: Path) -> None:
    async with (
        FakeBotApi.serve() as api,
        daemon(tmp_path, configuration(api, tmp_path, more="poll_timeout_seconds = 1")) as gateway,
    ):
        api.garble_next("getUpdates", times=2)
        api.drop_next("getUpdates", processed=False)
        api.user_sends(ALICE, "hello")
        await api.wait_texts(ALICE, 1)
        api.revoke_token()
        await gateway.wait_status(lambda s: _states(s) == ["parked"])
        await gateway.stop()
        log = gateway.log.read_text()
        assert api.token not in log
        assert api.token.partition(":")[2] not in log
        assert gateway.token not in log


async def test_a_stranger_is_paired_by_the_operator(tmp_path: Path) -> None:
    async with FakeBotApi.serve() as api:
        text = configuration(api, tmp_path).replace('dm_policy = "open"', "")
        async with daemon(tmp_path, text) as gateway:
            api.user_sends(ALICE, "let me in")
            [told] = await api.wait_texts(ALICE, 1)
            code = await _pending_code(gateway)
            assert code in told
            async with gateway.client() as client:
                approved = await client.post(f"/v1/pairing/{code}", json={"decision": "approve"})
            assert approved.status_code == 200
            api.user_sends(ALICE, "hello")
            _, welcome, answer = await api.wait_texts(ALICE, 3)
            assert ("let in" in welcome, answer) == (True, "hello")


async def _pending_code(gateway: Daemon) -> str:
    pairing = await gateway.get("/v1/pairing")
    pending = pairing["pending"]
    assert isinstance(pending, list)
    code: str = pending[0]["code"]
    return code
