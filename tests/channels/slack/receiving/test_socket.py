"""Socket Mode against a server that does what Slack does, and what it should not."""

import math
from functools import partial

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from gatewayd.channels.slack.receiving.deliveries import ANSWER_SECONDS, IN_ONE_COMMIT, WAITING
from gatewayd.channels.slack.receiving.openings import ATTEMPTS_A_MINUTE, STEADY_SECONDS
from gatewayd.channels.slack.receiving.socket import (
    HELLO_SECONDS,
    LINGER_SECONDS,
    PING_SECONDS,
    PONG_SECONDS,
    RECHECK_SECONDS,
    SILENCE_SECONDS,
)
from gatewayd.model.errors import GatewayError, NeedsOperator, TryAgain
from tests.channels.slack.receiving.slack_side import APP, TICKET, Line, Slack
from tests.channels.slack.receiving.socket_rig import IDENTITY, rig_for


async def test_it_opens_all_connections_and_is_connected_with_the_first(autojump_clock: MockClock) -> None:
    async with rig_for(3) as rig:
        await rig.services.is_connected.wait()
        await rig.slack.wait_open(3)
        await trio.sleep(1)
        assert rig.services.connected_as == [IDENTITY]
        assert len(rig.hub.fetched_at) == 1, "what was missed is fetched once"
        assert rig.services.silence == SILENCE_SECONDS
        assert rig.lacks == {}


@pytest.mark.parametrize("kind", ["events_api", "slash_commands", "interactive"])
async def test_what_comes_is_acknowledged_after_its_commit_with_nothing_but_its_id(kind: str, autojump_clock: MockClock) -> None:
    async with rig_for() as rig:
        lines = await rig.slack.wait_open(2)
        gate = trio.Event()
        rig.hub.before = gate.wait
        envelope_id = await rig.slack.send("one", lines[1], kind=kind)
        await trio.sleep(1)
        assert rig.slack.taken == []
        gate.set()
        await rig.slack.wait(lambda: rig.slack.taken)
        assert lines[1].acknowledged == [envelope_id]
        assert (rig.hub.committed, rig.hub.state) == (["one"], {"last": "one"})


async def test_what_waits_meanwhile_is_committed_together_in_the_order_of_arrival(autojump_clock: MockClock) -> None:
    async with rig_for() as rig:
        lines = await rig.slack.wait_open(2)
        gate = trio.Event()
        rig.hub.before = gate.wait
        for number in range(IN_ONE_COMMIT + 2):
            await rig.slack.send(str(number), lines[number % 2])
            await trio.testing.wait_all_tasks_blocked()
        gate.set()
        await rig.slack.wait(lambda: len(rig.slack.taken) == IN_ONE_COMMIT + 2)
        assert [len(keys) for keys in rig.hub.commits] == [1, IN_ONE_COMMIT, 1]
        assert rig.hub.committed == [str(number) for number in range(IN_ONE_COMMIT + 2)]
        assert lines[0].acknowledged == [f"e{number}" for number in range(1, IN_ONE_COMMIT + 3, 2)]


async def test_a_slow_commit_is_told_and_acknowledged_late(autojump_clock: MockClock) -> None:
    async with rig_for() as rig:
        await rig.slack.wait_open(2)
        rig.hub.before = partial(trio.sleep, ANSWER_SECONDS + 1)
        await rig.slack.send("slow")
        await trio.sleep(ANSWER_SECONDS + 0.5)
        assert rig.slack.taken == []
        assert "later than 3 s" in rig.lacks["acknowledgements"]
        await rig.slack.send_again()
        rig.hub.before = trio.lowlevel.checkpoint
        await rig.slack.wait(lambda: len(rig.slack.taken) == 2)
        assert rig.hub.committed == ["slow", "slow"], "the second is for the hub, which knows its key"
        assert rig.lacks == {}


async def test_it_is_not_acknowledged_on_another_connection(autojump_clock: MockClock) -> None:
    async with rig_for() as rig:
        lines = await rig.slack.wait_open(2)
        gate = trio.Event()
        rig.hub.before = gate.wait
        await rig.slack.send("one", lines[0])
        await trio.sleep(1)
        await lines[0].cut()
        gate.set()
        await trio.sleep(30)
        assert rig.slack.taken == []
        await rig.slack.send_again()
        await rig.slack.wait(lambda: rig.slack.taken)
        assert rig.services.interruptions == [], "the other connection was there"


async def test_a_failed_commit_ends_the_life_and_nothing_is_acknowledged(autojump_clock: MockClock) -> None:
    async def fail() -> None:
        raise TryAgain("the store does not take messages")

    async with rig_for() as rig:
        await rig.slack.wait_open(2)
        rig.hub.before = fail
        await rig.slack.send("one")
        await rig.over.wait()
        assert isinstance(rig.error, TryAgain)
        await rig.slack.wait_open(0)
        assert rig.slack.taken == []


@pytest.mark.parametrize("reason", ["warning", "refresh_requested", "something_new"])
@pytest.mark.parametrize("connections", [1, 2])
async def test_the_next_connection_is_open_before_the_old_one_goes(
    reason: str, connections: int, autojump_clock: MockClock
) -> None:
    async with rig_for(connections) as rig:
        [old, *_] = await rig.slack.wait_open(connections)
        await trio.sleep(STEADY_SECONDS)
        await old.disconnect(reason)
        await rig.slack.wait_open(connections + 1)
        envelope_id = await rig.slack.send("to the old one", old)
        await rig.slack.wait(lambda: rig.slack.taken)
        assert old.acknowledged == [envelope_id], "it is read on, and acknowledges"
        at = trio.current_time()
        await rig.slack.wait_open(connections)
        assert not old.is_open
        assert trio.current_time() - at == pytest.approx(LINGER_SECONDS, abs=1)
        assert old.close_code == 1000
        assert rig.services.interruptions == []
        assert len(rig.hub.fetched_at) == 1
        assert len(rig.slack.attempts) == connections + 1
        assert rig.slack.dark_at == []
        assert rig.lacks == {}


async def test_a_warning_and_then_the_request_are_one_refresh(autojump_clock: MockClock) -> None:
    async with rig_for() as rig:
        [old, _] = await rig.slack.wait_open(2)
        await trio.sleep(STEADY_SECONDS)
        await old.disconnect("warning")
        await trio.sleep(9)
        await old.disconnect("refresh_requested")
        await old.close()
        await trio.sleep(60)
        assert len(rig.slack.attempts) == 3
        assert len(rig.slack.open) == 2


async def test_the_old_connection_is_read_for_as_long_as_there_is_no_other(autojump_clock: MockClock) -> None:
    async with rig_for(1) as rig:
        [old] = await rig.slack.wait_open(1)
        await trio.sleep(STEADY_SECONDS)
        rig.slack.refuse = lambda: TryAgain("Slack apps.connections.open answered internal_error")
        await old.disconnect("warning")
        await trio.sleep(4 * LINGER_SECONDS)
        assert old.is_open
        assert "internal_error" in rig.lacks["connections"]
        rig.slack.refuse = lambda: None
        await rig.slack.wait_open(2)
        assert old not in await rig.slack.wait_open(1)
        assert rig.lacks == {}
        assert rig.services.interruptions == []


async def test_a_cut_is_told_and_the_gap_is_fetched(autojump_clock: MockClock) -> None:
    async with rig_for(1) as rig:
        [line] = await rig.slack.wait_open(1)
        await trio.sleep(STEADY_SECONDS)
        await line.cut()
        await rig.slack.wait_open(1)
        await trio.sleep(1)
        assert rig.services.interruptions == ["Slack, Socket Mode: the connection ended without a close frame"]
        assert len(rig.services.connected_as) == 2
        assert len(rig.hub.fetched_at) == 2


async def test_while_it_fetches_events_are_delivered(autojump_clock: MockClock) -> None:
    async with rig_for() as rig:
        rig.hub.fetch = trio.sleep_forever
        await rig.slack.wait_open(2)
        await rig.slack.send("one")
        await rig.slack.wait(lambda: rig.slack.taken)


async def test_an_outage_of_the_fetching_is_no_end(autojump_clock: MockClock) -> None:
    async def limited() -> None:
        if len(rig.hub.fetched_at) == 1:
            raise TryAgain("rate limit", after_seconds=149)

    async with rig_for() as rig:
        rig.hub.fetch = limited
        await trio.sleep(148)
        assert len(rig.hub.fetched_at) == 1
        await trio.sleep(2)
        assert len(rig.hub.fetched_at) == 2
        assert rig.error is None
        assert len(rig.slack.open) == 2


async def test_events_that_slack_left_out_are_fetched_after_their_minute(autojump_clock: MockClock) -> None:
    async with rig_for() as rig:
        await rig.slack.wait_open(2)
        await trio.sleep(1)
        limited = {"type": "app_rate_limited", "team_id": "T01", "minute_rate_limited": 1518467820, "api_app_id": APP}
        await rig.slack.open[0].say({"type": "events_api", "envelope_id": "e9", "payload": limited})
        await rig.slack.wait(lambda: rig.slack.taken == ["e9"])
        await trio.sleep(59)
        assert "app_rate_limited" in rig.lacks["events"]
        assert len(rig.hub.fetched_at) == 1
        await trio.sleep(2)
        assert len(rig.hub.fetched_at) == 2
        assert rig.lacks == {}


async def test_switched_off_is_told_by_name(autojump_clock: MockClock) -> None:
    async with rig_for() as rig:
        [line, _] = await rig.slack.wait_open(2)
        await line.disconnect("link_disabled")
        await rig.over.wait()
        assert isinstance(rig.error, NeedsOperator)
        assert rig.error.retries_slowly
        assert "link_disabled: Socket Mode is off: turn it on" in rig.error.reason


async def too_many(line: Line) -> None:
    await line.disconnect("too_many_websockets")
    await line.close()


async def test_too_many_connections_are_told_by_name(autojump_clock: MockClock) -> None:
    def prepare(slack: Slack) -> None:
        slack.welcome = too_many

    async with rig_for(prepare=prepare) as rig:
        await rig.over.wait()
        assert isinstance(rig.error, TryAgain)
        assert "too_many_websockets: this app has ten connections already" in rig.error.reason
        assert len(rig.slack.attempts) == 1


async def test_how_many_are_open_is_told_anew_when_one_is_back(autojump_clock: MockClock) -> None:
    async with rig_for(2) as rig:
        for line in await rig.slack.wait_open(2):
            await line.cut()
        await trio.sleep(0.1)
        assert rig.lacks["connections"].startswith("0 of 2 are open: ")
        await rig.slack.wait_open(1)
        await trio.sleep(0.1)
        assert rig.lacks["connections"].startswith("1 of 2 are open: ")
        await rig.slack.wait_open(2)
        await trio.sleep(0.1)
        assert rig.lacks == {}


async def test_too_many_connections_leave_the_others_alone(autojump_clock: MockClock) -> None:
    async with rig_for(2) as rig:
        [line, other] = await rig.slack.wait_open(2)
        await trio.sleep(STEADY_SECONDS)
        rig.slack.welcome = too_many
        await other.cut()
        before = len(rig.slack.attempts)
        await trio.sleep(60)
        assert "1 of 2 are open: Slack Socket Mode answered too_many_websockets" in rig.lacks["connections"]
        assert len(rig.slack.attempts) - before <= ATTEMPTS_A_MINUTE
        await rig.slack.send("still here", line)
        await rig.slack.wait(lambda: rig.slack.taken)
        rig.slack.welcome = Line.hello
        await rig.slack.wait_open(2)
        await trio.sleep(1)
        assert rig.lacks == {}
        assert rig.services.interruptions == []


@pytest.mark.parametrize(
    "error", [TryAgain("Slack apps.connections.open: no answer in time"), NeedsOperator("Slack says invalid_auth")]
)
async def test_a_refusal_at_the_start_is_for_the_hub(error: GatewayError, autojump_clock: MockClock) -> None:
    def prepare(slack: Slack) -> None:
        slack.refuse = lambda: error

    async with rig_for(prepare=prepare) as rig:
        await rig.over.wait()
        assert repr(rig.error) == repr(error)
        assert len(rig.slack.attempts) == 1


async def test_a_refused_token_ends_it_when_no_connection_is_left(autojump_clock: MockClock) -> None:
    async with rig_for(2) as rig:
        [one, two] = await rig.slack.wait_open(2)
        await trio.sleep(STEADY_SECONDS)
        rig.slack.refuse = lambda: NeedsOperator("Slack says token_revoked")
        await one.cut()
        await trio.sleep(200)
        assert rig.error is None
        assert "token_revoked" in rig.lacks["connections"]
        assert len(rig.slack.attempts) <= 2 + 5
        await two.cut()
        await rig.over.wait()
        assert isinstance(rig.error, NeedsOperator)


async def test_a_server_that_refuses_everything_is_not_asked_often(autojump_clock: MockClock) -> None:
    async with rig_for(10) as rig:
        await rig.slack.wait_open(10)
        await trio.sleep(STEADY_SECONDS)
        rig.slack.refuse = lambda: TryAgain("Slack apps.connections.open answered 503")
        for line in rig.slack.open:
            await line.cut()
        del rig.slack.attempts[:]
        await trio.sleep(600)
        assert len(rig.slack.attempts) > 5
        assert most_in_a_minute(rig.slack.attempts) <= ATTEMPTS_A_MINUTE
        assert rig.services.interruptions[-1] == "Slack apps.connections.open answered 503"


@pytest.mark.parametrize("lasts", [0.0, 20.0])
async def test_connections_that_end_at_once_are_not_opened_often(lasts: float, autojump_clock: MockClock) -> None:
    async def hello_and_goodbye(line: Line) -> None:
        await line.hello()
        await trio.sleep(lasts)
        await line.disconnect("refresh_requested")
        await line.close()

    def prepare(slack: Slack) -> None:
        slack.welcome = hello_and_goodbye

    async with rig_for(2, prepare=prepare) as rig:
        await trio.sleep(900)
        assert rig.error is None
        assert len(rig.slack.attempts) > 10
        assert most_in_a_minute(rig.slack.attempts) <= ATTEMPTS_A_MINUTE + 2


def most_in_a_minute(times: list[float]) -> int:
    return max(sum(at <= other < at + 60 for other in times) for at in times)


async def test_a_pause_that_slack_asks_for_is_kept(autojump_clock: MockClock) -> None:
    async with rig_for(1) as rig:
        [line] = await rig.slack.wait_open(1)
        await trio.sleep(STEADY_SECONDS)
        rig.slack.refuse = lambda: TryAgain("rate limit", after_seconds=149)
        await line.cut()
        await trio.sleep(148)
        assert len(rig.slack.attempts) == 2
        await trio.sleep(2)
        assert len(rig.slack.attempts) == 3


async def test_another_program_with_the_token_is_told_until_it_is_gone(autojump_clock: MockClock) -> None:
    async with rig_for(2) as rig:
        await rig.slack.wait_open(2)
        await trio.sleep(STEADY_SECONDS)
        rig.slack.strangers = 1
        await rig.slack.open[0].disconnect("refresh_requested")
        await rig.slack.wait_open(3)
        await trio.sleep(1)
        assert "another program uses this app token (connections that are not ours: 1)" in rig.lacks["all events"]
        await trio.sleep(3 * RECHECK_SECONDS)
        assert "all events" in rig.lacks
        rig.slack.strangers = 0
        await trio.sleep(5 * RECHECK_SECONDS)
        assert rig.lacks == {}
        assert rig.slack.dark_at == []
        assert len(rig.slack.open) == 2


async def test_a_connection_that_broke_just_now_is_no_other_program(autojump_clock: MockClock) -> None:
    async with rig_for(2) as rig:
        [line, _] = await rig.slack.wait_open(2)
        await trio.sleep(STEADY_SECONDS)
        rig.slack.strangers = 1  # Slack does not know yet that the line is gone
        await line.cut()
        await rig.slack.wait_open(2)
        await trio.sleep(1)
        assert rig.lacks == {}


async def test_an_app_token_of_another_app_is_told(autojump_clock: MockClock) -> None:
    async def other(line: Line) -> None:
        await line.hello(connection_info={"app_id": "A0OTHER"})

    def prepare(slack: Slack) -> None:
        slack.welcome = other

    async with rig_for(prepare=prepare) as rig:
        await rig.over.wait()
        assert isinstance(rig.error, NeedsOperator)
        assert f"the app token is of the app A0OTHER, and the bot token of the app {APP}" in rig.error.reason


@pytest.mark.parametrize("how", ["silent", "reads nothing"])
async def test_a_dead_peer_is_found_and_the_others_work_on(how: str, autojump_clock: MockClock) -> None:
    async with rig_for(2) as rig:
        [dead, other] = await rig.slack.wait_open(2)
        await trio.sleep(STEADY_SECONDS)
        dead.go_silent()
        if how == "reads nothing":
            for number in range(3):
                await rig.slack.send(f"unread {number}", dead)
        await rig.slack.send("one", other)
        await rig.slack.wait(lambda: other.acknowledged)
        at = trio.current_time()
        await rig.slack.wait(lambda: len(rig.slack.attempts) == 3)
        assert trio.current_time() - at <= 2 * (PING_SECONDS + PONG_SECONDS)
        await rig.slack.wait_open(2)
        assert rig.services.interruptions == []


async def test_a_server_that_says_no_hello_is_left(autojump_clock: MockClock) -> None:
    async def silence(line: Line) -> None:
        await trio.sleep_forever()

    def prepare(slack: Slack) -> None:
        slack.welcome = silence

    async with rig_for(prepare=prepare) as rig:
        await rig.over.wait()
        assert isinstance(rig.error, TryAgain)
        assert rig.error.reason == "Slack, Socket Mode: no hello came within 10 s"
        assert trio.current_time() == pytest.approx(HELLO_SECONDS, abs=4)


@pytest.mark.parametrize(
    "garbage",
    [
        "{",
        "",
        "null",
        "[]",
        '{"type": 1}',
        '{"type": "events_api", "envelope_id": "x1", "payload": {"event": {"text": "cu',
        '{"type": "events_api", "payload": {}}',
        '{"type": "hello"}',
        '{"type": "new"}',
        '{"type": "disconnect"',
    ],
)
async def test_garbage_does_not_make_it_deaf(garbage: str, autojump_clock: MockClock) -> None:
    async with rig_for(1) as rig:
        [line] = await rig.slack.wait_open(1)
        for _ in range(100):
            await line.say(garbage)
        await rig.slack.send("one", line)
        await rig.slack.wait(lambda: rig.slack.taken)
        assert rig.hub.committed == ["one"]
        assert len(rig.slack.attempts) == 1


@pytest.mark.parametrize("frame", [{"type": "events_api", "payload": {}}, {"type": "unheard_of", "payload": {"a": 1}}])
async def test_what_cannot_be_read_is_acknowledged_or_it_would_come_again(
    frame: dict[str, object], autojump_clock: MockClock
) -> None:
    async with rig_for(1) as rig:
        [line] = await rig.slack.wait_open(1)
        with capture_logs() as logs:
            await line.say({**frame, "envelope_id": "e77"})
            await rig.slack.wait(lambda: rig.slack.taken == ["e77"])
        assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] != []
        assert rig.hub.commits == []


async def test_when_too_much_waits_the_connection_is_read_and_the_rest_comes_again(autojump_clock: MockClock) -> None:
    async with rig_for(1) as rig:
        [line] = await rig.slack.wait_open(1)
        await trio.sleep(1)
        gate = trio.Event()
        rig.hub.before = gate.wait
        for number in range(WAITING + 10):
            await rig.slack.send(str(number), line)
        await trio.sleep(300)
        assert line.is_open, "pings are answered"
        assert rig.receiver.gaps == 2, "noted before anything behind it is read"
        assert "are not taken" in rig.lacks["waiting events"]
        rig.hub.before = trio.lowlevel.checkpoint
        gate.set()
        await rig.slack.wait(lambda: len(rig.slack.taken) > WAITING)
        await trio.sleep(1)
        assert 0 < len(rig.slack.frames) < 10, "what was under way at the time, and WAITING, were taken"
        assert len(rig.hub.fetched_at) == 2, "in case Slack has given up"
        await rig.slack.send_again()
        await rig.slack.wait(lambda: not rig.slack.frames)
        assert sorted(rig.hub.committed, key=int) == [str(number) for number in range(WAITING + 10)]
        await rig.slack.send("last", line)
        await rig.slack.wait(lambda: not rig.slack.frames)
        assert rig.lacks == {}


async def test_a_quiet_workspace_is_heard_by_its_pongs(autojump_clock: MockClock) -> None:
    async with rig_for(1) as rig:
        [line] = await rig.slack.wait_open(1)
        scope = rig.services._life
        await trio.sleep(10 * SILENCE_SECONDS)
        assert line.is_open
        assert scope.deadline > trio.current_time(), "the hub does not take it for dead"
        assert not math.isinf(scope.deadline)


async def test_the_ticket_is_in_no_text(autojump_clock: MockClock) -> None:
    async def refused(line: Line) -> None:
        await line.peer.stream.send_all(b"\xff\xff garbage")
        await line.close()

    def prepare(slack: Slack) -> None:
        slack.welcome = refused

    with capture_logs() as logs:
        async with rig_for(prepare=prepare) as rig:
            await rig.over.wait()
            assert isinstance(rig.error, TryAgain)
            rig.slack.welcome = Line.hello
        async with rig_for(1) as again:
            [line] = await again.slack.wait_open(1)
            await line.disconnect("warning")
            again.slack.welcome = refused
            await trio.sleep(100)
    assert logs != []
    assert TICKET not in f"{rig.error!r} {logs!r} {rig.services.interruptions} {again.services.lacking}"


async def test_it_closes_within_seconds(autojump_clock: MockClock) -> None:
    async with rig_for(3) as rig:
        lines = await rig.slack.wait_open(3)
        lines[0].go_silent()
        at = trio.current_time()
    assert trio.current_time() - at < 4
