"""What check-config finds before Slack does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gatewayd.channels.slack.settings import SlackSettings
from gatewayd.model.config import GatewaySection
from gatewayd.model.secret import MaybeSecret, Secret

BOT = "xoxb-1234567890-1234567890-AbCdEfGh"
APP = "xapp-1-A0123456789-1234567890-0123456789abcdef"
SIGNING = "0123456789abcdef0123456789abcdef"
OTHERS = (
    BOT,
    APP,
    SIGNING,
    "xoxp-1234567890-1234567890-abcdef",
    "xoxe.xoxb-1-abcdefghij",
    "xoxe-1-abcdefghij",
    "xoxc-1234567890-abcdef",
    "xoxd-abcdefghij",
    "xoxa-2-abcdefghij",
    "https://hooks.slack.com/services/T0/B0/secret-part",
    "password",
    f"{BOT}\n",
)
PUBLIC = GatewaySection(public_url="https://bot.example.org")
SOCKET = SlackSettings(bot_token=Secret(BOT), app_token=Secret(APP))
EVENTS = SlackSettings(bot_token=Secret(BOT), mode="events", signing_secret=Secret(SIGNING))


def test_good_settings_have_no_problem() -> None:
    assert SOCKET.problems(GatewaySection()) == []
    assert EVENTS.problems(PUBLIC) == []


@pytest.mark.parametrize(
    ("settings", "gateway", "problem"),
    [
        (replace(SOCKET, app_token=None), PUBLIC, 'mode = "socket" needs app_token'),
        (replace(EVENTS, signing_secret=None), PUBLIC, 'mode = "events" needs signing_secret'),
        (EVENTS, GatewaySection(), 'mode = "events" needs gateway.public_url'),
        (replace(SOCKET, api_base="slack.com/api"), PUBLIC, "api_base must be an http or https URL"),
        (replace(SOCKET, api_base="https://slack.com:x/api"), PUBLIC, "api_base must be an http or https URL"),
        (replace(SOCKET, api_base="https://slack.com/api?x=1"), PUBLIC, "api_base must be an http or https URL"),
        (replace(SOCKET, proxy=MaybeSecret("ftp://proxy")), PUBLIC, "proxy must be"),
    ],
)
def test_each_problem_is_told(settings: SlackSettings, gateway: GatewaySection, problem: str) -> None:
    found = settings.problems(gateway)
    assert len(found) == 1
    assert found[0].startswith(problem)


@pytest.mark.parametrize("key", ["bot_token", "app_token", "signing_secret"])
@pytest.mark.parametrize("value", OTHERS)
def test_a_secret_of_another_kind_is_told_by_its_kind_alone(key: str, value: str) -> None:
    wanted = {"bot_token": BOT, "app_token": APP, "signing_secret": SIGNING}[key]
    found = replace(SOCKET, **{key: Secret(value)}).problems(PUBLIC)
    assert len(found) == (0 if value == wanted else 1)
    assert all(it.startswith(f"{key} must be ") and value.strip() not in it for it in found)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (APP, "an app-level token (xapp-…)"),
        (SIGNING, "something like a signing secret (32 digits and small letters)"),
        ("xoxp-1-2", "a user token (xoxp-…)"),
        ("xoxe.xoxb-1-x", "a token that expires (xoxe.xox…): token rotation is on, which gatewayd does not do"),
        ("xoxe-1-x", "a refresh token (xoxe-…)"),
        ("xoxc-1-2", "a token of a browser's session (xoxc-…, xoxd-…, xoxs-…)"),
        (f"{BOT}\n", "a bot token (xoxb-…) with something that is not part of one"),
        ("hunter2", "something else"),
    ],
)
def test_the_kind_is_named(value: str, kind: str) -> None:
    assert replace(SOCKET, bot_token=Secret(value)).problems(PUBLIC) == [
        f"bot_token must be a bot token (xoxb-…), and it is {kind}"
    ]


@given(
    st.text(min_size=12), st.sampled_from(["bot_token", "app_token", "signing_secret"]), st.sampled_from(["", "xoxb-", "xapp-"])
)
def test_no_problem_shows_a_secret(rest: str, key: str, begin: str) -> None:
    secret = begin + rest
    assert all(secret not in it and rest not in it for it in replace(SOCKET, **{key: Secret(secret)}).problems(PUBLIC))
