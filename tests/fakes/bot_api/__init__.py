"""A fake Telegram Bot API server: real HTTP on Trio, the platform's bytes, its rules and its words.

In process: ``async with FakeBotApi.serve() as api``. As a process of its own: ``python -m tests.fakes.bot_api --control``,
driven by :class:`RemoteBotApi`. Facts come from core.telegram.org/bots/api and the platform's own open-source server
(tdlib/telegram-bot-api); each module names them where they matter.
"""

from tests.fakes.bot_api.api import TOKEN, USERNAME, FakeBotApi
from tests.fakes.bot_api.errors import Json
from tests.fakes.bot_api.remote import RemoteBotApi
from tests.fakes.bot_api.updates import (
    make_channel,
    make_group,
    make_private_chat,
    make_supergroup,
    make_user,
)

__all__ = [
    "TOKEN",
    "USERNAME",
    "FakeBotApi",
    "Json",
    "RemoteBotApi",
    "make_channel",
    "make_group",
    "make_private_chat",
    "make_supergroup",
    "make_user",
]
