"""The menu of commands: set where it differs, left where the owner says so, and nothing that an account depends on."""

import re
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from gatewayd.channels.telegram.menu import menu
from gatewayd.model.message.commands import COMMANDS
from tests.channels.telegram.rig import rig_for
from tests.fakes.bot_api import FakeBotApi

SCOPES = ("default", "all_group_chats")
NAMES = [command.name[1:] for command in COMMANDS if command.menu]


def test_the_menu_is_what_everybody_may_use_and_what_telegram_takes() -> None:
    assert [entry.command for entry in menu()] == NAMES
    assert "help" in NAMES
    assert {"approve", "deny", "show"}.isdisjoint(NAMES)
    for entry in menu():
        assert re.fullmatch("[a-z0-9_]{1,32}", entry.command)
        assert 1 <= len(entry.description) <= 256


@pytest.mark.parametrize("mode", ["poll", "webhook"])
async def test_the_menu_is_set_once(autojump_clock: MockClock, mode: str) -> None:
    async with FakeBotApi.serve() as api:
        for _ in range(2):
            async with rig_for(api, mode=mode) as rig, rig.listening():
                pass
            assert [api.menu(scope) for scope in SCOPES] == [NAMES, NAMES]
            await trio.sleep(2)  # a webhook may be set once a second
        assert len(api.calls("setMyCommands")) == len(SCOPES)
        assert len(api.calls("getMyCommands")) == 2 * len(SCOPES)


async def test_a_menu_that_differs_is_set_anew(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api:
        async with rig_for(api) as rig, rig.listening():
            pass
        await rig_call(api, {"type": "all_group_chats"})
        async with rig_for(api) as rig, rig.listening():
            assert api.menu("all_group_chats") == NAMES
        assert len(api.calls("setMyCommands")) == len(SCOPES) + 2, "the test's own, and that of the one scope"


async def rig_call(api: FakeBotApi, scope: dict[str, str]) -> None:
    """Somebody else sets the menu of a scope."""
    async with rig_for(api) as rig:
        params = {"commands": [{"command": "other", "description": "Of another program"}], "scope": scope}
        await rig.channel._api.call("setMyCommands", params, timeout_seconds=5)  # type: ignore[arg-type]


async def test_the_owner_s_own_menu_is_left_alone(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api:
        await rig_call(api, {"type": "default"})
        async with rig_for(api, menu=False) as rig, rig.listening():
            assert api.menu() == ["other"]
        assert api.calls("getMyCommands") == []


FAULTS: dict[str, Callable[[FakeBotApi, str], None]] = {
    "401": lambda api, method: api.fail_next(method, 401, "Unauthorized", times=None),
    "404": lambda api, method: api.fail_next(method, 404, "Not Found", times=None),
    "429": lambda api, method: api.fail_next(
        method, 429, "Too Many Requests: retry after 100", parameters={"retry_after": 100}, times=None
    ),
    "hang": lambda api, method: api.hang_next(method, times=None),
    "cut": lambda api, method: api.drop_next(method, processed=False, times=None),
    "garbage": lambda api, method: api.garble_next(method, times=None),
    "odd": lambda api, method: api.garble_next(method, times=None, status=200, body=b'{"ok":true,"result":[{"command":7}]}'),
}


@pytest.mark.parametrize("method", ["getMyCommands", "setMyCommands"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_menu_that_cannot_be_set_keeps_nobody_from_the_bot(autojump_clock: MockClock, method: str, fault: str) -> None:
    async with FakeBotApi.serve() as api:
        FAULTS[fault](api, method)
        async with rig_for(api) as rig, rig.listening():
            api.user_sends(1001, "hello")
            await rig.journal.wait_texts("hello")
