"""Events as Discord sends them, and a receiver that reads them. The shapes are those of the examples in its documentation."""

import json
from collections.abc import Mapping
from typing import Any

from msgspec import Raw

from gatewayd.channels.discord.ids import snowflake_at
from gatewayd.channels.discord.receiving.cursors import DiscordState
from gatewayd.channels.discord.receiving.inbound import Bot, Read, Receiver
from gatewayd.channels.discord.settings import DiscordSettings
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.model.secret import Secret
from gatewayd.ports.channel import AccountConfig

NOW = 1_800_000_000.0
AT = NOW - 10.0


def id_at(seconds: float, number: int = 0) -> str:
    """A snowflake of this time."""
    return str(snowflake_at(seconds) + number)


US, APP, ALICE, BOB, GUILD, PLACE, THREAD, DIRECT, ROLE = (id_at(NOW - 86_400.0, number) for number in range(9))
BOT = Bot(APP, US, "gatebot")
EDITED = "2027-01-15T07:59:55.000000+00:00"
EDITED_AT = NOW - 5.0
ID = id_at(AT)


class NoState:
    """A store in which nothing is kept but what it begins with."""

    def __init__(self, kept: Mapping[str, str] = {}) -> None:
        self.kept = kept

    async def load(self, key: str) -> str | None:
        return self.kept.get(key)

    async def save(self, key: str, value: str) -> None: ...

    async def forget(self, key: str) -> None: ...


def raw(value: Any) -> Raw:
    return Raw(json.dumps(value).encode())


def user_of(user: str, name: str = "alice", **fields: Any) -> dict[str, Any]:
    return {"id": user, "username": name, "global_name": None, "avatar": None, "discriminator": "0", "public_flags": 0, **fields}


def channel_of(channel: str, kind: int = 0, **fields: Any) -> dict[str, Any]:
    return {"id": channel, "type": kind, "name": "general", "position": 1, "last_message_id": None, **fields}


def guild_of(guild: str = GUILD, **fields: Any) -> dict[str, Any]:
    """GUILD_CREATE: a channel, an active thread of it, and us, with a role."""
    own = {"user": user_of(US, "gatebot", bot=True), "roles": [ROLE], "joined_at": EDITED, "deaf": False, "mute": False}
    return {
        "id": guild,
        "unavailable": False,
        "channels": [channel_of(PLACE)],
        "threads": [channel_of(THREAD, 11, parent_id=PLACE, guild_id=guild)],
        "members": [own],
        **fields,
    }


def receiver_of(state: DiscordState | None = None, *, knows: bool = True, **fields: Any) -> Receiver:
    """``knows``: it was told of the guild."""
    settings = DiscordSettings(token=Secret("a.b.c"), **fields)
    account = AccountConfig("discord", "main", settings)
    receiver = Receiver(account, BOT, settings, state or DiscordState(NoState()), lambda: NOW)
    if knows:
        receiver.dispatch("GUILD_CREATE", raw(guild_of()))
    return receiver


def said(text: str = "hi", *, user: str = ALICE, channel: str = PLACE, id: str = ID, **fields: Any) -> dict[str, Any]:
    """MESSAGE_CREATE of a person; a direct message where ``channel`` is ``DIRECT``."""
    where = {} if channel == DIRECT else {"guild_id": GUILD, "member": {"roles": [], "nick": None, "joined_at": EDITED}}
    return {
        "id": id,
        "type": 0,
        "channel_id": channel,
        "author": user_of(user),
        "content": text,
        "timestamp": "2027-01-15T07:59:50.000000+00:00",
        "edited_timestamp": None,
        "tts": False,
        "mention_everyone": False,
        "mentions": [user_of(US, "gatebot", bot=True)] if f"<@{US}>" in text else [],
        "mention_roles": [ROLE] if f"<@&{ROLE}>" in text else [],
        "attachments": [],
        "embeds": [],
        "pinned": False,
        "flags": 0,
        "components": [],
        **where,
        **fields,
    }


def replied_to(message: dict[str, Any]) -> dict[str, Any]:
    """The fields of a reply to this message."""
    reference = {"type": 0, "message_id": message["id"], "channel_id": message["channel_id"], "guild_id": GUILD}
    return {"type": 19, "message_reference": reference, "referenced_message": message}


def read(event: dict[str, Any], receiver: Receiver | None = None, name: str = "MESSAGE_CREATE") -> Read:
    return (receiver or receiver_of()).dispatch(name, raw(event))


def one(event: dict[str, Any], receiver: Receiver | None = None, name: str = "MESSAGE_CREATE") -> InboundEnvelope:
    found = read(event, receiver, name)
    assert found.ignored is None, found.ignored
    (envelope,) = found.envelopes
    return envelope


def ignored(event: dict[str, Any], receiver: Receiver | None = None, name: str = "MESSAGE_CREATE") -> str:
    found = read(event, receiver, name)
    assert not found.envelopes
    assert found.ignored is not None
    return found.ignored
