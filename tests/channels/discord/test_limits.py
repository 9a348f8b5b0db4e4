"""Invalid requests of all accounts behind one address never come near what Discord takes."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from gatewayd.channels.discord.errors import CODES, MOST_FIELDS, DiscordError, fields_of, gateway_error
from gatewayd.channels.discord.limits import MOST, WINDOW_SECONDS, InvalidRequests, invalid_requests_of
from gatewayd.channels.discord.settings import DiscordSettings
from gatewayd.kit.http import create_client
from gatewayd.kit.text.markdown import render
from gatewayd.model.config import GatewaySection
from gatewayd.model.errors import GatewayError, TryAgain
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import SendText
from gatewayd.model.secret import Secret
from tests.channels.discord.rig import now, rig_for
from tests.fakes.discord_platform import CREATE_MESSAGE, FakeDiscord

TOKEN = "MTU5MzU0MDI0MDk5ODQwMDAwMQ.GfAkE0.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"


@given(st.lists(st.tuples(st.floats(0, 400), st.integers(1, 3000), st.booleans()), max_size=30))
def test_there_are_never_too_many_in_a_window(steps: list[tuple[float, int, bool]]) -> None:
    """``steps``: a pause, how many requests at once, and whether they are refused."""

    async def go() -> None:
        invalid, at, refusals = InvalidRequests(), list[float](), list[TryAgain]()
        for pause, count, is_invalid in steps:
            await trio.sleep(pause)
            begun = 0
            try:
                for _ in range(count):
                    invalid.begin()
                    begun += 1
            except TryAgain as error:
                refusals.append(error)
            for _ in range(begun):
                invalid.end(is_invalid=is_invalid)
            at += [trio.current_time()] * (begun if is_invalid else 0)
        assert all(it.scope == "sends" and 0 < (it.after_seconds or 0) <= WINDOW_SECONDS + 10 for it in refusals)
        for moment in set(at):
            assert sum(moment - WINDOW_SECONDS < other <= moment for other in at) <= MOST

    trio.run(go, clock=MockClock(autojump_threshold=0))


async def test_after_a_while_it_goes_on(autojump_clock: MockClock) -> None:
    invalid = InvalidRequests()
    for _ in range(MOST):
        invalid.begin()
        invalid.end(is_invalid=True)
    with pytest.raises(TryAgain) as full:
        invalid.begin()
    await trio.sleep(full.value.after_seconds or 0)
    invalid.begin()
    assert invalid.count == 0


async def test_one_client_is_one_count() -> None:
    async with create_client() as one, create_client() as other:
        assert invalid_requests_of(one) is invalid_requests_of(one)
        assert invalid_requests_of(one) is not invalid_requests_of(other)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10) | st.just("_errors"), inner, max_size=4),
    max_leaves=30,
)


@given(json)
def test_any_details_of_an_error_are_short_lines(errors: object) -> None:
    lines = fields_of(errors)
    assert len(lines) <= MOST_FIELDS
    assert all("\n" not in line and len(line) <= 1000 for line in lines)


def test_the_field_that_is_wrong_is_named() -> None:
    errors = {"components": {"0": {"components": {"1": {"label": {"_errors": [{"code": "BASE_TYPE_BAD_LENGTH"}]}}}}}}
    assert fields_of(errors) == ("components.0.components.1.label: BASE_TYPE_BAD_LENGTH",)


@given(st.sampled_from([*CODES, 0, 999_999, None]), st.sampled_from([300, 400, 401, 403, 404, 408, 413, 429, 500, 503]))
def test_every_error_says_what_helps(code: int | None, status: int) -> None:
    for purpose in ("send", "own", "fetch"):
        error = gateway_error(DiscordError("POST /x", status, code), purpose)
        assert isinstance(error, GatewayError)
        assert error.reason.startswith("Discord POST /x")


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("Bot " + TOKEN, 'leave out the word "Bot"'),
        ("mfa.abcdefghijklmnop", "a person's login"),
        ("https://discord.com/api/webhooks/1/x", "an address, perhaps of a webhook"),
        ("1593540240998400001", "an id of the app"),
        ("a" * 32, "a client secret"),
        ("0" * 64, "the app's public key"),
        ("what", "something else"),
    ],
)
def test_another_token_is_named(token: str, words: str) -> None:
    [problem] = DiscordSettings(Secret(token)).problems(GatewaySection())
    assert words in problem
    assert token not in problem


def test_a_token_of_a_bot_is_taken() -> None:
    assert DiscordSettings(Secret(TOKEN)).problems(GatewaySection()) == []
    found = DiscordSettings(Secret(TOKEN), interactions="http").problems(GatewaySection())
    assert len(found) == 2
    assert DiscordSettings(Secret(TOKEN), public_key="x").problems(GatewaySection()) == [
        'public_key must be the 64 hexadecimal digits of "Public Key" under "General Information"'
    ]


async def test_the_global_limit_is_never_met(autojump_clock: MockClock) -> None:
    """Fifty calls in any second ("Rate Limits", "Global Rate Limit"): one more is refused, and counts as invalid."""
    async with FakeDiscord.serve(now=now) as discord:
        guild = discord.add_guild("Home")
        channels = [discord.add_channel(guild, f"channel{number}") for number in range(150)]
        async with rig_for(discord) as rig, trio.open_nursery() as nursery:

            async def send(channel: str) -> None:
                await rig.channel.send(SendText(Peer("group", channel), render("hello")), key=channel)

            for channel in channels:
                nursery.start_soon(send, channel)
        assert discord.statuses(CREATE_MESSAGE) == [200] * 150
        assert discord.invalid.count == 0
