"""The fake's lists of commands refuse what the Bot API refuses, in its words."""

import httpx2
import pytest
import trio.testing

from tests.fakes.bot_api import FakeBotApi

HELP = {"command": "help", "description": "Help"}


async def call(api: FakeBotApi, method: str, **params: object) -> object:
    async with httpx2.AsyncClient() as client:
        answer = (await client.post(f"{api.url}/bot{api.token}/{method}", json=params)).json()
    return answer["result"] if answer["ok"] else answer["description"]


async def test_there_is_a_list_for_each_scope_and_language(autojump_clock: trio.testing.MockClock) -> None:
    async with FakeBotApi.serve() as api:
        group, german = {"type": "all_group_chats"}, {"scope": {"type": "all_group_chats"}, "language_code": "de"}
        assert await call(api, "setMyCommands", commands=[{"command": "/help ", "description": " Help "}], scope=group) is True
        assert await call(api, "getMyCommands", scope=group) == [HELP]
        assert await call(api, "getMyCommands") == []
        assert await call(api, "getMyCommands", **german) == []
        assert (api.menu(), api.menu("all_group_chats")) == ([], ["help"])
        assert await call(api, "deleteMyCommands", scope=group) is True
        assert await call(api, "getMyCommands", scope=group) == []


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"commands": [{"command": "Help", "description": "x"}]}, "BOT_COMMAND_INVALID"),
        ({"commands": [{"command": "/", "description": "x"}]}, "command must be non-empty"),
        ({"commands": [{"command": "x" * 33, "description": "x"}]}, "command length must not exceed 32"),
        ({"commands": [{"command": "x", "description": " "}]}, "command description must be non-empty"),
        ({"commands": [{"command": "x", "description": "x" * 257}]}, "command description length must not exceed 256"),
        ({"commands": [{"command": "x"}]}, "can't parse BotCommand"),
        ({"commands": [HELP] * 101}, "BOT_COMMANDS_TOO_MUCH"),
        ({"commands": [HELP], "scope": {"type": "everybody"}}, "Unsupported type specified"),
        ({"commands": [HELP], "scope": {}}, 'Can\'t find field "type"'),
        ({"commands": [HELP], "scope": {"type": "chat"}}, 'Can\'t find field "chat_id"'),
        ({"commands": [HELP], "scope": {"type": "chat", "chat_id": 77}}, "chat not found"),
        ({"commands": [HELP], "language_code": "english"}, "invalid language code specified"),
    ],
)
async def test_what_the_server_refuses(autojump_clock: trio.testing.MockClock, params: dict[str, object], words: str) -> None:
    async with FakeBotApi.serve() as api:
        assert words in str(await call(api, "setMyCommands", **params))
        assert api.menu() == []
