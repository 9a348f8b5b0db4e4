"""How things of Discord are named: snowflakes ("Reference", "Snowflakes"), and messages with their channel. Pure."""

import re
from typing import Final, NamedTuple

from gatewayd.kit.json import Malformed

EPOCH_SECONDS: Final = 1_420_070_400.0
"""The first second of 2015: from there on snowflakes count milliseconds."""

_SNOWFLAKE: Final = re.compile(r"[0-9]{1,20}", re.ASCII)
_MESSAGE_ID: Final = re.compile(r"([0-9]{1,20}):([0-9]{1,20})", re.ASCII)


class MessageId(NamedTuple):
    """One message: its channel, which for a message in a thread is the thread, and its own id. Both are needed to call it."""

    channel: str
    message: str

    def __str__(self) -> str:
        return f"{self.channel}:{self.message}"

    @classmethod
    def parse(cls, text: str | None) -> "MessageId | None":
        """None: it is no id of a message."""
        found = _MESSAGE_ID.fullmatch(text or "")
        return None if found is None else cls(found[1], found[2])

    @classmethod
    def of(cls, channel: str, message: str) -> "MessageId":
        """:raises Malformed: it is not said where the message is."""
        if (found := cls.parse(f"{channel}:{message}")) is None:
            raise Malformed("it has no channel and no id by which it could be known")
        return found


def is_snowflake(text: str | None) -> bool:
    """Whether this can be an id of Discord."""
    return text is not None and _SNOWFLAKE.fullmatch(text) is not None


def seconds_of(snowflake: str) -> float:
    """When it was made, in Unix seconds."""
    return EPOCH_SECONDS + (int(snowflake) >> 22) / 1000


def snowflake_at(seconds: float) -> int:
    """The least snowflake of this time (Unix seconds): what was made before it has a smaller one."""
    return max(0, int((seconds - EPOCH_SECONDS) * 1000)) << 22
