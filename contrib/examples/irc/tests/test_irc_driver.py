"""The driver against a server of our own: everything that a well-behaved server does seldom or never."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx2
import pytest
import trio
import trio.testing
from fake_irc import HOST, Client, FakeIrc, fake_irc, labels
from gatewayd_irc.channel import open_irc
from gatewayd_irc.link import LONGEST_WAIT, WORD_SECONDS
from gatewayd_irc.login import Login
from gatewayd_irc.settings import IrcSettings
from gatewayd_irc.wire import Message, parse

from gatewayd.model.errors import GatewayError, NeedsOperator, OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import EditText, RichText, SendText
from gatewayd.model.secret import Secret
from gatewayd.ports.channel import AccountConfig, Channel, LimitsText
from gatewayd.testing.channel_contract import Journal, Services

Clock = trio.testing.MockClock

ALICE = Peer("dm", "alice")
ROOM = Peer("group", "#room")
PASSWORD = "correct horse"  # noqa: S105


@pytest.fixture
def clock() -> Clock:
    """Nobody waits for real: when both ends of the sockets wait, time jumps. pytest-trio wants it as an argument of each test."""
    return Clock(autojump_threshold=0.02)


@pytest.fixture
async def server() -> AsyncIterator[FakeIrc]:
    async with fake_irc() as found:
        yield found


class Life:
    """One life of an account. ``end`` is what ``listen`` raised."""

    def __init__(self, channel: Channel, services: Services, journal: Journal) -> None:
        self.channel = channel
        self.services = services
        self.journal = journal
        self.end: BaseException | None = None
        self.ended = trio.Event()
        self.listening = trio.CancelScope()

    async def listen(self) -> None:
        try:
            with self.listening:
                await self.channel.listen(self.journal)
        except GatewayError as error:
            self.end = error
        self.ended.set()

    async def say(self, text: str, peer: Peer = ALICE, *, reply_to: str | None = None) -> str | None:
        receipt = await self.channel.send(SendText(peer, RichText(text), reply_to=reply_to), key="k1")
        return receipt.message_id


@asynccontextmanager
async def begun(server: FakeIrc, kept: dict[str, str] | None = None, **settings: object) -> AsyncIterator[Life]:
    """An account that has begun to listen. ``kept`` is its state."""
    own = {"port": server.port, "tls": False, "channels": ("#room",), "seconds_per_line": 0.0, **settings}
    account = AccountConfig("irc", "main", IrcSettings("127.0.0.1", "bot", **own))
    async with httpx2.AsyncClient() as http:
        services = Services(http)
        if kept is not None:
            services.kept = kept
        async with open_irc(account, services) as channel, trio.open_nursery() as nursery:
            life = Life(channel, services, Journal(services))
            nursery.start_soon(life.listen)
            with trio.fail_after(2000):  # of a time that jumps
                yield life
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def connected(server: FakeIrc, kept: dict[str, str] | None = None, **settings: object) -> AsyncIterator[Life]:
    """An account that is in its channel."""
    async with begun(server, kept, **settings) as life:
        await life.services.is_connected.wait()
        await trio.testing.wait_all_tasks_blocked(0.01)
        yield life


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked(0.01)


# Logging in.


async def test_a_login_with_everything(clock: Clock, server: FakeIrc) -> None:
    sasl = Secret(PASSWORD)
    async with connected(server, password=Secret("pass-word"), sasl_account="botaccount", sasl_password=sasl) as life:
        assert server.client is not None
        assert (server.client.password, server.client.account) == ("pass-word", "botaccount")
        assert server.client.caps == {name.partition("=")[0] for name in server.offers.split()}
        assert server.heard("MODE")[0].params == ("bot", "+B")
        assert life.services.connected_as == ["bot"]
        assert life.services.silence == 150.0


async def test_a_long_password_goes_in_pieces(clock: Clock, server: FakeIrc) -> None:
    server.passwords["botaccount"] = "x" * 600
    server.offers = "sasl"
    async with begun(server, sasl_account="botaccount", sasl_password=Secret("x" * 600)):
        await server.until(lambda: len(server.heard("AUTHENTICATE")) >= 4)
        pieces = [message.text for message in server.heard("AUTHENTICATE")[1:]]
        assert [len(piece) for piece in pieces] == [400, 400, 16]


def test_a_certificate_logs_in() -> None:
    """Without a socket: TLS has a test with a real server."""
    login = Login(IrcSettings("h", "bot", client_certificate="bot.pem"))
    said = (f":{HOST} CAP * LS :sasl=EXTERNAL", f":{HOST} CAP * ACK :sasl", "AUTHENTICATE +", f":{HOST} 903 * :ok")
    written = [*login.begin(), *(line for one in said for line in login.answer(parse(one.encode())))]
    assert written[-3:] == [b"AUTHENTICATE EXTERNAL\r\n", b"AUTHENTICATE +\r\n", b"CAP END\r\n"]


@pytest.mark.parametrize("offers", ["sasl=PLAIN", "sasl"])
async def test_a_wrong_password_is_for_the_operator_and_not_shown(clock: Clock, server: FakeIrc, offers: str) -> None:
    server.offers = offers
    async with begun(server, sasl_account="botaccount", sasl_password=Secret("wrong-secret")) as life:
        await life.ended.wait()
        assert isinstance(life.end, NeedsOperator)
        assert "SASL authentication failed" in life.end.reason
        assert "wrong-secret" not in life.end.reason


@pytest.mark.parametrize("offers", ["", "sasl=EXTERNAL"])
async def test_an_account_never_speaks_without_its_login(clock: Clock, server: FakeIrc, offers: str) -> None:
    server.offers = offers
    async with begun(server, sasl_account="botaccount", sasl_password=Secret(PASSWORD)) as life:
        await life.ended.wait()
        assert isinstance(life.end, NeedsOperator)
        assert not server.heard("JOIN")


async def test_what_is_refused_together_is_asked_for_one_by_one(clock: Clock, server: FakeIrc) -> None:
    server.refused_caps = {"echo-message"}
    async with connected(server):
        assert server.client is not None
        assert "echo-message" not in server.client.caps
        assert {"labeled-response", "server-time"} <= server.client.caps


@pytest.mark.parametrize(
    ("line", "kind", "slowly", "after"),
    [
        (f":{HOST} 464 * :Password incorrect", NeedsOperator, True, None),
        (f":{HOST} 465 * :You are banned from this server", NeedsOperator, True, None),
        ("ERROR :Closing Link: host (K-Lined)", NeedsOperator, True, None),
        ("ERROR :Closing Link: host (Z-line: spam)", NeedsOperator, True, None),
        ("ERROR :Your host is trying to (re)connect too fast -- throttled", TryAgain, None, 60.0),
        ("ERROR :Closing Link: (Excess Flood)", TryAgain, None, 60.0),
        ("ERROR :Server is going down", TryAgain, None, None),
    ],
)
async def test_a_refusal_says_what_to_do(
    clock: Clock, server: FakeIrc, line: str, kind: type[GatewayError], slowly: bool | None, after: float | None
) -> None:
    server.greeting = line
    async with begun(server) as life:
        await life.ended.wait()
        assert isinstance(life.end, kind)
        assert getattr(life.end, "retries_slowly", None) == slowly
        assert getattr(life.end, "after_seconds", None) == after


async def test_nobody_answers(clock: Clock, server: FakeIrc) -> None:
    async with begun(server, port=1) as life:
        await life.ended.wait()
        assert isinstance(life.end, TryAgain)


async def test_a_port_without_tls_is_for_the_operator(clock: Clock, server: FakeIrc) -> None:
    server.greeting = "NOTICE * :this is no TLS"
    async with begun(server, tls=True) as life:
        await life.ended.wait()
        assert isinstance(life.end, NeedsOperator)


# The nick.


async def taken_nick(server: FakeIrc, free: Callable[[], Awaitable[None]]) -> None:
    server.taken = {"bot"}
    async with connected(server) as life:
        assert life.services.connected_as == ["bot_"]
        server.taken = set()
        await free()
        await server.until(lambda: server.client is not None and server.client.nick == "bot")
        await settled()
        assert life.services.connected_as[-1] == "bot"
        await server.from_user("bot: hello", "#room")
        await life.journal.wait_texts("hello")


async def test_the_nick_is_taken_back_when_its_holder_quits(clock: Clock, server: FakeIrc) -> None:
    began = trio.current_time()
    await taken_nick(server, lambda: server.line(":bot!x@y QUIT :gone"))
    assert trio.current_time() - began < 10


async def test_the_nick_is_taken_back_when_its_holder_takes_another(clock: Clock, server: FakeIrc) -> None:
    began = trio.current_time()
    await taken_nick(server, lambda: server.line(":Bot!x@y NICK :other"))
    assert trio.current_time() - began < 10


async def test_the_nick_is_taken_back_when_the_server_says_that_it_is_free(clock: Clock, server: FakeIrc) -> None:
    began = trio.current_time()
    await taken_nick(server, lambda: server.line(f":{HOST} 731 bot_ :bot"))
    assert trio.current_time() - began < 10


async def test_the_nick_is_tried_again_where_nobody_says_that_it_is_free(clock: Clock, server: FakeIrc) -> None:
    began = trio.current_time()
    await taken_nick(server, trio.lowlevel.checkpoint)
    assert 50 < trio.current_time() - began < 90


async def test_with_no_nick_at_all_it_tries_again(clock: Clock, server: FakeIrc) -> None:
    server.taken = {"bot", "bot_", *(f"bot{number:02}" for number in range(20))}
    async with begun(server) as life:
        await life.ended.wait()
        assert isinstance(life.end, TryAgain)


# Channels.


async def test_channels_are_joined_with_their_keys(clock: Clock, server: FakeIrc) -> None:
    async with connected(server, channels=("#room", "&local"), keys={"&local": Secret("sesame")}):
        assert [message.params for message in server.heard("JOIN")] == [("#room",), ("&local", "sesame")]


async def test_a_channel_that_lets_nobody_in_leaves_the_account_connected(clock: Clock, server: FakeIrc) -> None:
    server.closed_rooms = {"#closed": "474"}
    async with connected(server, channels=("#room", "#closed")) as life:
        await life.say("hello", ROOM)
        with pytest.raises(TryAgain) as caught:
            await life.say("hello", Peer("group", "#closed"))
        assert caught.value.scope == "conversation"
        assert "Cannot join channel" in caught.value.reason
        assert life.services.lacking == {"#room": None, "#closed": "Cannot join channel (474)"}
        server.closed_rooms = {}
        await trio.sleep(6)
        await life.say("hello", Peer("group", "#closed"))
        assert life.services.lacking["#closed"] is None


async def test_after_a_kick_it_comes_back_ever_more_slowly(clock: Clock, server: FakeIrc) -> None:
    async with connected(server) as life:
        pauses = []
        for count in range(2, 6):
            await server.line(":op!o@host KICK #Room bot :out")
            kicked_at = trio.current_time()
            await settled()
            with pytest.raises(TryAgain, match="kicked by op: out"):
                await life.say("hello", ROOM)
            await server.until(lambda count=count: len(server.heard("JOIN")) == count)
            pauses.append(trio.current_time() - kicked_at)
            await settled()
        assert pauses[0] <= 5
        assert pauses[-1] >= 20
        await life.say("back", ROOM)
        said = [envelope.text for envelope in life.journal.envelopes if envelope.kind == "membership"]
        assert said == ["joined", *["kicked by op: out", "joined"] * 4]


async def test_what_is_refused_after_a_kick_waits_for_the_channel(clock: Clock, server: FakeIrc) -> None:
    """The server has thrown us out while the line was on its way."""

    async def kick(client: Client, message: Message) -> None:
        await client.write(":op!o@host KICK #room bot :out")
        await client.write(f":{HOST} 404 bot #room :Cannot send to channel", **labels(message))

    async with connected(server) as life:
        server.instead = kick
        with pytest.raises(TryAgain) as caught:
            await life.say("hello", ROOM)
        assert caught.value.scope == "conversation"


async def test_a_text_without_anything_to_show_is_refused(clock: Clock, server: FakeIrc) -> None:
    async with connected(server) as life:
        with pytest.raises(SendRejected):
            await life.say("\x01\n \n")


# Hearing.


async def test_who_speaks_and_where(clock: Clock, server: FakeIrc) -> None:
    async with connected(server) as life:
        await server.from_user("hi", account="Al[ice")
        await server.from_user("bot, hi", "#Room", bot="")
        await server.from_user("just so", "#room", who="Bob!b@h")
        await life.journal.wait_texts("hi", "hi", "just so")
        direct, room, other = [envelope for envelope in life.journal.envelopes if envelope.kind == "message"]
        assert (direct.peer, direct.sender.id, direct.sender.username) == (ALICE, "account:al{ice", "Al[ice")
        assert (room.peer, room.sender.id, room.sender.name) == (ROOM, "nick:alice@home.example", "Alice")
        assert (direct.addressed, room.addressed, other.addressed) == (True, True, False)
        assert (direct.event_key, direct.message_id) == ("id:m2", "m2")
        assert direct.sent_at == pytest.approx(life.services.now(), abs=5)


async def test_what_is_not_for_an_agent_is_left_out(clock: Clock, server: FakeIrc) -> None:
    async with connected(server) as life:
        for line in (
            ":Alice!a@h NOTICE bot :an automatic answer",
            ":Alice!a@h NOTICE #room :bot: an automatic answer",
            ":Alice!a@h TAGMSG bot",
            ":Alice!a@h PRIVMSG bot :\x01VERSION\x01",
            ":Alice!a@h PRIVMSG @#room :bot: for operators of the channel",
            ":Alice!a@h PRIVMSG $*.example :for everybody",
            ":Alice!a@h PRIVMSG bot",
            f":{HOST} PRIVMSG bot :from the server",
            ":bot!~gatewayd@host.example PRIVMSG #room :bot: an echo",
            "@+draft/typing=active :Alice!a@h TAGMSG #room",
        ):
            await server.line(line)
        await server.from_user("\x01ACTION waves at @bot\x01", "#room")
        await life.journal.wait_texts("* Alice waves at @bot")
        assert [message.command for message in server.lines if message.command in ("NOTICE", "PRIVMSG")] == []


async def test_a_reply_to_us_is_addressed_to_us(clock: Clock, server: FakeIrc) -> None:
    async with connected(server) as life:
        message_id = await life.say("hello", ROOM, reply_to="their-id")
        assert message_id is not None
        assert server.heard("PRIVMSG")[0].tags["+reply"] == "their-id"
        await server.from_user("thanks", "#room", **{"+reply": message_id})
        await server.from_user("what?", "#room", **{"+reply": "another"})
        await life.journal.wait_texts("thanks", "what?")
        assert [envelope.addressed for envelope in life.journal.envelopes if envelope.kind == "message"] == [True, False]


async def test_without_account_tags_the_channels_say_who_is_who(clock: Clock, server: FakeIrc) -> None:
    server.offers = "extended-join account-notify"
    async with connected(server) as life:
        ids = []

        async def next_id() -> None:
            count = len(life.journal.texts)
            await server.from_user("hi")
            await life.journal.wait_texts(*["hi"] * (count + 1))
            ids.append(life.journal.envelopes[-1].sender.id)

        for line in (
            ":Alice!a@h JOIN #room Al :real",
            ":Alice!a@h ACCOUNT *",
            ":Alice!a@h ACCOUNT Ally",
            ":Alice!a@h PART #room",
            ":Alice!a@h ACCOUNT Ally",
            ":op!o@h KICK #room Alice :out",
            ":Alice!a@h JOIN #room Al :real",
            ":Alice!a@h QUIT :gone",
            ":Al!a@h JOIN #room Al :real",
            ":Al!a@h NICK Alice",
            ":op!o@h KICK #room bot :out",
        ):
            await server.line(line)
            await next_id()
        none = "nick:alice@home.example"
        assert ids == [
            "account:al",
            none,
            "account:ally",
            none,
            "account:ally",
            none,
            "account:al",
            none,
            none,
            "account:al",
            none,
        ]


async def test_nobody_is_taken_for_an_account_by_their_nick(clock: Clock, server: FakeIrc) -> None:
    async with connected(server) as life:
        await server.from_user("hi", who="account!x@alice")
        await life.journal.wait_texts("hi")
        assert life.journal.envelopes[-1].sender.id == "nick:account@alice"


async def test_the_server_is_answered_while_the_inbox_is_full(clock: Clock, server: FakeIrc) -> None:
    async with connected(server) as life:
        life.journal.gate = trio.Event()
        for number in range(20):
            await server.from_user(f"message {number}")
        await server.line("PING :still there?")
        await server.until(lambda: server.heard("PONG"))
        assert server.heard("PONG")[0].text == "still there?"
        await life.say("hello")
        life.journal.gate.set()
        await life.journal.wait_texts(*(f"message {number}" for number in range(20)))


async def test_what_was_heard_before_the_end_is_delivered(clock: Clock, server: FakeIrc) -> None:
    async with connected(server) as life:
        life.journal.gate = trio.Event()
        for number in range(5):
            await server.from_user(f"message {number}")
        await settled()
        await server.hang_up()
        await settled()
        assert not life.ended.is_set()
        life.journal.gate.set()
        await life.ended.wait()
        assert life.journal.texts == [f"message {number}" for number in range(5)]
        assert isinstance(life.end, TryAgain)


async def test_a_quiet_connection_is_asked_whether_it_lives(clock: Clock, server: FakeIrc) -> None:
    async with connected(server) as life:
        heard = life.services.heard_times
        await trio.sleep(125)
        assert [message.text for message in server.heard("PING")] == ["awake", "awake"]
        assert life.services.heard_times >= heard + 2


async def test_lines_that_are_no_messages_change_nothing(clock: Clock, server: FakeIrc) -> None:
    async with connected(server) as life:
        for line in (
            "",
            ":",
            "@a=b",
            " ",
            ":x",
            "x" * 100_000,
            "BATCH",
            "BATCH -no",
            "KICK",
            "JOIN",
            "NICK",
            "005",
            "474 bot",
            "CAP",
        ):
            assert server.client is not None
            await server.client.stream.send_all(line.encode() + b"\r\n")
        await server.from_user("hello")
        await life.journal.wait_texts("hello")


# What was said meanwhile.


async def test_what_was_missed_is_fetched_in_order_and_once(clock: Clock, server: FakeIrc) -> None:
    server.isupport += " CHATHISTORY=2"
    kept: dict[str, str] = {}
    await server.from_user("before our time", "#room")
    await trio.sleep(60)
    async with connected(server, kept) as life:
        await server.from_user("heard", "#room")
        await life.journal.wait_texts("heard")
    await trio.sleep(60)
    for number in range(5):
        await server.from_user(f"missed {number}", "#room")
    await server.from_user("missed, to us", "bot")
    await trio.sleep(60)
    async with connected(server, kept) as life:
        await server.from_user("now", "#room")
        await server.until(lambda: "now" in life.journal.texts)
        await settled()
        messages = [envelope for envelope in life.journal.envelopes if envelope.kind == "message"]
        room = [envelope.text for envelope in messages if envelope.peer == ROOM]
        # What was heard at the edge comes again, with its key.
        assert room in (
            ["heard", *(f"missed {number}" for number in range(5)), "now"],
            [*(f"missed {n}" for n in range(5)), "now"],
        )
        assert [envelope.text for envelope in messages if envelope.peer == ALICE] == ["missed, to us"]
        assert [envelope.missed for envelope in messages if "missed" in envelope.text] == [True] * 6
        assert len({envelope.event_key for envelope in messages}) == len(messages)
    async with connected(server, kept) as life:
        await server.from_user("later", "#room")
        await server.until(lambda: "later" in life.journal.texts)
        assert not {"before our time", "missed 0", "missed, to us"} & set(life.journal.texts)


async def test_what_is_said_while_the_history_comes_is_heard_after_it_and_once(clock: Clock, server: FakeIrc) -> None:
    kept: dict[str, str] = {}
    async with connected(server, kept):
        pass
    await trio.sleep(60)
    await server.from_user("missed", "#room")
    play = server.on_chathistory

    async def slowly(client: Client, message: Message) -> None:
        if "#room" in message.params:
            await server.from_user("now", "#room")
            await server.from_user("now, too", "bot")
            await settled()
        await play(client, message)

    server.on_chathistory = slowly
    async with connected(server, kept) as life:
        await server.until(lambda: len(life.journal.texts) >= 3)
        await settled()
        assert life.journal.texts == ["missed", "now", "now, too"]
        assert [one.missed for one in life.journal.envelopes if one.kind == "message"] == [True, False, False]


async def test_what_was_not_journaled_is_fetched_again(clock: Clock, server: FakeIrc) -> None:
    kept: dict[str, str] = {}
    async with connected(server, kept) as life:
        life.journal.gate = trio.Event()
        await server.from_user("hello", "#room")
        await settled()
    async with connected(server, kept) as life:
        await life.journal.wait_texts("hello")


async def test_a_history_that_the_server_plays_by_itself_is_not_answered_twice(clock: Clock, server: FakeIrc) -> None:
    server.offers = "batch server-time message-tags"
    server.plays_history_at_join = True
    kept: dict[str, str] = {}
    await server.from_user("before our time", "#room")
    await trio.sleep(60)
    async with connected(server, kept) as life:
        await server.from_user("heard", "#room")
        await life.journal.wait_texts("heard")
    await trio.sleep(60)
    await server.from_user("missed", "#room")
    await trio.sleep(60)
    async with connected(server, kept) as life:
        await server.until(lambda: "missed" in life.journal.texts)
        assert "before our time" not in life.journal.texts


async def test_a_server_that_owes_its_history_keeps_nobody_waiting(clock: Clock, server: FakeIrc) -> None:
    async with begun(server) as life:

        async def never(client: Client, message: Message) -> None:
            pass

        server.on_chathistory = never
        await life.services.is_connected.wait()
        await server.from_user("hello")
        began = trio.current_time()
        await server.until(lambda: "hello" in life.journal.texts or not trio.current_time() < began + 100)
        await life.journal.wait_texts("hello")


async def test_a_refused_history_keeps_nobody_waiting(clock: Clock, server: FakeIrc) -> None:
    async with begun(server) as life:

        async def refuse(client: Client, message: Message) -> None:
            await client.write(f":{HOST} FAIL CHATHISTORY MESSAGE_ERROR {message.target} :Messages could not be retrieved")

        server.on_chathistory = refuse
        await life.services.is_connected.wait()
        began = trio.current_time()
        await server.from_user("hello")
        await life.journal.wait_texts("hello")
        assert trio.current_time() - began < 10


# Saying.


async def test_a_receipt_has_the_id_of_the_message(clock: Clock, server: FakeIrc) -> None:
    async with connected(server) as life:
        assert await life.say("hello") == "m2"  # the first was the JOIN's
        assert server.said == [("alice", "hello")]


@pytest.mark.parametrize(
    "offers", ["", "echo-message", "echo-message message-tags batch labeled-response", "batch message-tags labeled-response"]
)
async def test_every_server_says_what_became_of_a_line(clock: Clock, server: FakeIrc, offers: str) -> None:
    server.offers = offers

    async def refuse(client: Client, message: Message) -> None:
        await client.write(f":{HOST} 404 bot {message.target} :Cannot send to channel (+m)", **labels(message))

    async with connected(server) as life:
        await life.say("one", ROOM)
        server.instead = refuse
        with pytest.raises(SendRejected, match=r"Cannot send to channel \(\+m\)"):
            await life.say("two", ROOM)
        await life.say("three", ROOM)
        assert server.said == [("#room", "one"), ("#room", "three")]


async def test_an_answer_in_a_batch_counts_as_one(clock: Clock, server: FakeIrc) -> None:
    async def away(client: Client, message: Message) -> None:
        await client.write(f":{HOST} BATCH +a labeled-response", **labels(message))
        await client.write(f":{HOST} 301 bot alice :I am asleep", batch="a")
        await client.write(f":{client.name} PRIVMSG alice :hello", batch="a", msgid="their-id")
        await client.write(f":{HOST} BATCH -a")

    async with connected(server) as life:
        server.instead = away
        assert await life.say("hello") == "their-id"


async def test_somebody_away_is_told_all_the_same(clock: Clock, server: FakeIrc) -> None:
    async def away(client: Client, message: Message) -> None:
        await client.write(f":{HOST} 301 bot alice :I am asleep", **labels(message))

    server.offers = "batch message-tags labeled-response"
    async with connected(server) as life:
        server.instead = away
        assert await life.say("hello") is None


@pytest.mark.parametrize("offers", ["", "batch message-tags labeled-response echo-message"])
async def test_a_cut_leaves_the_outcome_unknown(clock: Clock, server: FakeIrc, offers: str) -> None:
    server.offers = offers

    async def hang_up(client: Client, message: Message) -> None:
        await client.stream.aclose()

    async with connected(server) as life:
        server.instead = hang_up
        with pytest.raises(OutcomeUnknown):
            await life.say("hello")
        await life.ended.wait()
        with pytest.raises(TryAgain):
            await life.say("hello again")


async def test_a_silent_server_leaves_the_outcome_unknown(clock: Clock, server: FakeIrc) -> None:
    async def nothing(client: Client, message: Message) -> None:
        pass

    async with connected(server) as life:
        server.instead = nothing
        began = trio.current_time()
        with pytest.raises(OutcomeUnknown):
            await life.say("hello")
        assert trio.current_time() - began == pytest.approx(WORD_SECONDS, abs=1)


@pytest.mark.parametrize(
    "line", ["439 bot alice :Target change too fast", "263 bot PRIVMSG :Please wait", "FAIL PRIVMSG RATE_LIMITED alice :slow"]
)
async def test_who_is_too_fast_waits_and_stays(clock: Clock, server: FakeIrc, line: str) -> None:
    async def slow_down(client: Client, message: Message) -> None:
        await client.write(f":{HOST} {line}", **labels(message))

    async with connected(server) as life:
        server.instead = slow_down
        with pytest.raises(TryAgain) as caught:
            await life.say("hello")
        assert (caught.value.scope, caught.value.after_seconds) == ("sends", 30.0)
        await life.say("hello")


async def test_lines_go_out_at_the_pace_of_the_account(clock: Clock, server: FakeIrc) -> None:
    async with connected(server, burst_lines=3, seconds_per_line=2.0) as life:
        began, at = trio.current_time(), []
        for number in range(6):
            await life.say(f"line {number}")
            at.append(round(trio.current_time() - began))
        assert at == [0, 0, 0, 2, 4, 6]


async def test_what_would_wait_for_long_is_left_to_the_hub(clock: Clock, server: FakeIrc) -> None:
    results: list[object] = []

    async def say(life: Life, number: int) -> None:
        try:
            results.append(await life.say(f"line {number}", Peer("dm", f"user{number}")))
        except TryAgain as error:
            results.append(error)

    async with connected(server, burst_lines=1, seconds_per_line=5.0) as life, trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(say, life, number)
    errors = [result for result in results if isinstance(result, TryAgain)]
    assert len(errors) == 6
    for error in errors:
        assert error.scope == "sends"
        assert error.after_seconds is not None
        assert error.after_seconds > LONGEST_WAIT
    assert len(server.said) == 4


async def test_lines_fit_with_our_name_before_them(clock: Clock, server: FakeIrc) -> None:
    text = " ".join(f"😀{number}" for number in range(300))
    async with connected(server) as life:
        await life.say(text, ROOM)
        assert len(server.said) > 3
        # The fake cuts a line as a server does, so what is whole has fitted.
        assert " ".join(said for _, said in server.said) == text
        longest = max(
            len(f":{server.client and server.client.name} PRIVMSG #room :{said}\r\n".encode()) for _, said in server.said
        )
        assert 500 < longest <= 512


async def test_a_longer_name_leaves_less_for_the_text(clock: Clock, server: FakeIrc) -> None:
    async with connected(server) as life:
        assert isinstance(life.channel, LimitsText)
        before = life.channel.limit_of(ROOM)
        assert (before.size, before.unit, before.lines) == (450, "bytes", 1)
        await server.line(f":bot!x@y CHGHOST user {'h' * 200}.example")
        await settled()
        assert life.channel.limit_of(ROOM).size == 512 - len(f":bot!user@{'h' * 200}.example PRIVMSG #room :\r\n")


async def test_a_part_that_was_sent_is_not_sent_again(clock: Clock, server: FakeIrc) -> None:
    async def hang_up(client: Client, message: Message) -> None:
        await client.stream.aclose()

    async with connected(server, burst_lines=1, seconds_per_line=5.0) as life, trio.open_nursery() as nursery:

        async def cut() -> None:
            await server.until(lambda: server.said)
            server.instead = hang_up

        nursery.start_soon(cut)
        with pytest.raises(OutcomeUnknown, match="1 of 2 lines"):
            await life.say("one\ntwo")


@pytest.mark.parametrize(
    "peer",
    [
        Peer("dm", "#room"),
        Peer("group", "alice"),
        Peer("dm", "a,b"),
        Peer("dm", "a b"),
        Peer("dm", ""),
        Peer("dm", "$*"),
        Peer("group", "#a\nQUIT"),
    ],
)
async def test_a_target_is_one_nick_or_one_channel(clock: Clock, server: FakeIrc, peer: Peer) -> None:
    async with connected(server) as life:
        with pytest.raises(SendRejected):
            await life.say("hello", peer)
        assert server.heard("PRIVMSG") == []


async def test_nothing_is_changed_afterwards(clock: Clock, server: FakeIrc) -> None:
    async with connected(server) as life:
        with pytest.raises(SendRejected):
            await life.channel.send(EditText(ALICE, RichText("x"), of=1, message_id="m1"), key="k1")


async def test_after_the_end_of_listening_it_goes_on_sending(clock: Clock, server: FakeIrc) -> None:
    """gatewayd stops in this order: it hears nothing more, running turns end, and their replies are sent."""
    async with connected(server) as life:
        life.listening.cancel()
        await life.ended.wait()
        await server.from_user("too late")
        await server.line("PING :still there?")
        await server.until(lambda: server.heard("PONG"))
        await life.say("the last reply")
        assert server.said == [("alice", "the last reply")]
    assert server.heard("QUIT")
