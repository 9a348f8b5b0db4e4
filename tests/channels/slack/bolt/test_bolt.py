"""What slack_bolt does against the fake Slack, where docs/channels/slack.md compares gatewayd with it."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.fakes.bot_api.http_server import Request, Response, listen, port_of, serve_http
from tests.fakes.slack_platform import FakeSlack
from tests.fakes.slack_tests.test_judges import App

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("app.py")


class Bolt:
    """An app of Bolt's, and a person who writes to it."""

    def __init__(self, slack: FakeSlack, app: App) -> None:
        self.slack = slack
        self.app = app
        self.alice = slack.add_user("alice")
        self.dm = slack.dm(self.alice)

    def say(self, text: str) -> str:
        return self.slack.say(self.alice, self.dm, text)

    async def texts_after(self, text: str) -> list[str]:
        """All that it has said when it has answered this, too."""
        self.say(f"echo {text}")
        await self.slack.wait_text(self.dm, text)
        return self.slack.texts(self.dm)


def process(slack: FakeSlack) -> AbstractAsyncContextManager[App]:
    return App.run(slack.api_base, slack.bot_token, slack.app_token, script=SCRIPT)


@asynccontextmanager
async def bolt_on(slack: FakeSlack) -> AsyncIterator[Bolt]:
    """Connected."""
    async with process(slack) as app:
        await slack.wait_connections()
        yield Bolt(slack, app)


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack.serve() as slack:
        yield slack


async def test_what_is_said_while_it_is_down_is_never_answered(slack: FakeSlack) -> None:
    """For more than six minutes: then Slack has given up."""
    alice = slack.add_user("alice")
    slack.drop_events()
    slack.say(alice, slack.dm(alice), "echo missed")
    slack.drop_events(False)
    async with bolt_on(slack) as bolt:
        assert await bolt.texts_after("here") == ["here"]


async def test_a_kill_in_a_handler_loses_the_message(slack: FakeSlack) -> None:
    async with bolt_on(slack) as bolt:
        bolt.say("slow lost")
        await bolt.app.see("seen")
        await slack.wait_delivered()
        assert slack.outcomes() == ["delivered"]
        bolt.app.kill()
    async with process(slack):
        await slack.wait_connections()
        assert await bolt.texts_after("here") == ["here"]


async def test_a_mention_is_handled_twice(slack: FakeSlack) -> None:
    async with bolt_on(slack) as bolt:
        general = slack.add_channel("general", [bolt.alice])
        slack.say(bolt.alice, general, f"<@{slack.bot_user}> echo once")
        assert await slack.wait_texts(general, 2) == ["once", "once"]


async def test_an_event_that_comes_again_is_handled_again(slack: FakeSlack) -> None:
    async with bolt_on(slack) as bolt:
        bolt.say("echo once")
        await slack.wait_texts(bolt.dm, 1)
        slack.redeliver(slack.deliveries.all[0])
        assert await slack.wait_texts(bolt.dm, 2) == ["once", "once"]


async def test_a_preview_of_a_link_is_an_event_for_the_same_listener(slack: FakeSlack) -> None:
    async with bolt_on(slack) as bolt:
        ts = bolt.say("echo https://example.org")
        await bolt.app.see("seen")
        slack.touch(bolt.dm, ts, "unfurl")
        assert (await bolt.app.see("seen"))["subtype"] == "message_changed"


async def test_a_slow_handler_is_acknowledged_at_once(slack: FakeSlack) -> None:
    async with bolt_on(slack) as bolt:
        bolt.say("slow late")
        await slack.wait_delivered()
        assert slack.texts(bolt.dm) == []
        assert await slack.wait_texts(bolt.dm, 1) == ["late"]
        assert slack.deliveries.all[0].tried == []


async def test_of_two_programs_each_gets_a_part_and_none_is_told(slack: FakeSlack) -> None:
    async with bolt_on(slack) as bolt, process(slack) as other:
        await slack.wait_connections(2)
        for number in range(6):
            bolt.say(f"echo {number}")
        await slack.wait_texts(bolt.dm, 6)
        seen = [len(app.seen) for app in (bolt.app, other) for _ in range(3) if await app.see("seen")]
        assert seen[2::3] == [3, 3]


async def test_a_limit_in_the_middle_cuts_the_reply(slack: FakeSlack) -> None:
    async with bolt_on(slack) as bolt:
        bolt.say("parts")
        await bolt.app.see("part")
        slack.rate_limit("chat.postMessage", 3)
        await slack.wait_call("chat.postMessage", count=2)
        await trio.sleep(4)
        assert await bolt.texts_after("here") == ["part 1", "here"]


async def test_a_send_that_is_cut_after_its_effect_is_sent_twice(slack: FakeSlack) -> None:
    async with bolt_on(slack) as bolt:
        slack.fault("drop_after", "chat.postMessage")
        bolt.say("echo once")
        assert await slack.wait_texts(bolt.dm, 2) == ["once", "once"]


async def test_a_typed_ping_is_sent_as_one(slack: FakeSlack) -> None:
    async with bolt_on(slack) as bolt:
        bolt.say("shout")
        assert await slack.wait_texts(bolt.dm, 1) == ["<!channel> hello"]
        assert slack.calls("chat.postMessage")[-1].get("blocks") is None


async def test_the_token_goes_to_where_a_redirect_leads(slack: FakeSlack) -> None:
    given, came = [], trio.Event()

    async def elsewhere(request: Request) -> Response:
        given.append(request.headers.get("authorization"))
        came.set()
        return Response(200, b'{"ok": true}')

    listener = await listen(0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, listener, elsewhere)
        async with bolt_on(slack) as bolt:
            slack.redirect("chat.postMessage", f"http://127.0.0.1:{port_of(listener)}/elsewhere")
            bolt.say("echo hello")
            await came.wait()
        nursery.cancel_scope.cancel()
    assert given == [f"Bearer {slack.bot_token}"]


async def test_a_later_message_overtakes_an_earlier_one(slack: FakeSlack) -> None:
    async with bolt_on(slack) as bolt:
        bolt.say("slow first")
        await bolt.app.see("seen")
        bolt.say("echo second")
        assert await slack.wait_texts(bolt.dm, 2) == ["second", "first"]


async def test_an_event_in_a_refresh_has_to_come_again(slack: FakeSlack) -> None:
    """It has one connection, and the fake sends nothing over one that it has asked to go."""
    async with bolt_on(slack) as bolt, trio.open_nursery() as nursery:
        nursery.start_soon(slack.disconnect)
        await slack.wait_until(lambda: slack.connections[0].leaving)
        bolt.say("echo hello")
        await slack.wait_until(lambda: bool(slack.deliveries.all[0].tried))
        nursery.cancel_scope.cancel()


async def test_after_half_a_frame_it_stays_away(slack: FakeSlack) -> None:
    """For more than half a minute; after a cut between two frames it is there again at once."""
    async with bolt_on(slack):
        await slack.cut()
        await slack.wait_until(lambda: not slack.connections)
        with trio.fail_after(5):
            await slack.wait_connections()
        await slack.cut(in_a_frame=True)
        await slack.wait_until(lambda: not slack.connections)
        with trio.move_on_after(30) as waiting:
            await slack.wait_connections()
    assert waiting.cancelled_caught
