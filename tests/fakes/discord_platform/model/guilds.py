"""A guild with its roles and members, and a channel with its messages."""

from typing import Any

from tests.fakes.discord_platform.errors import Json
from tests.fakes.discord_platform.model import permissions, shapes


class Guild:
    """``info`` is the Guild object without roles, channels and members."""

    def __init__(self, info: Json, joined_at: str) -> None:
        self.info = info
        self.joined_at = joined_at
        self.roles: dict[str, Json] = {info["id"]: shapes.everyone_role(info["id"])}
        self.members: dict[str, Json] = {}
        self.channels: dict[str, Channel] = {}
        self.is_available = True

    @property
    def id(self) -> str:
        return str(self.info["id"])

    def permissions_of(self, user_id: str) -> int:
        """What a member may do in the guild; 0 for everybody else."""
        member = self.members.get(user_id)
        if member is None:
            return 0
        return permissions.base_permissions(self.id, self.info["owner_id"], self.roles.values(), member)


class Channel:
    """A channel, thread or DM. ``info`` is its Channel object; messages are kept by number, oldest first."""

    def __init__(self, info: Json, guild: Guild | None = None, parent: "Channel | None" = None) -> None:
        self.info = info
        self.guild = guild
        self.parent = parent
        self.messages: dict[int, Json] = {}
        self.thread_members: set[str] = set()
        self.is_blocked = False
        """A DM: the person does not take messages from the bot."""

    @property
    def id(self) -> str:
        return str(self.info["id"])

    @property
    def kind(self) -> int:
        return int(self.info["type"])

    @property
    def is_thread(self) -> bool:
        return self.kind in shapes.THREADS

    @property
    def thread_state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.info["thread_metadata"]
        return state

    def permissions_of(self, user_id: str) -> int:
        """What a user may do here. A thread has the overwrites of its channel ("Permissions", Inherited Permissions)."""
        if self.guild is None:
            return permissions.DEFAULT if user_id else 0
        member = self.guild.members.get(user_id)
        if member is None:
            return 0
        overwrites = (self.parent or self).info.get("permission_overwrites", [])
        bits = permissions.with_overwrites(self.guild.permissions_of(user_id), self.guild.id, member, overwrites)
        if not bits & permissions.VIEW_CHANNEL:
            return 0
        if self.kind == shapes.PRIVATE_THREAD and user_id not in self.thread_members and not bits & permissions.MANAGE_THREADS:
            return 0
        return bits

    def may(self, user_id: str, bit: int) -> bool:
        return self.permissions_of(user_id) & bit == bit

    def page(self, *, before: str | None, after: str | None, around: str | None, limit: int) -> list[Json]:
        """Newest first ("Message Resource", Get Channel Messages). ``after`` gives those that follow it at once."""
        numbers = list(self.messages)
        if around is not None:
            older = [number for number in numbers if number < int(around)][-(limit // 2) :]
            newer = [number for number in numbers if number >= int(around)][: limit - len(older)]
            chosen = older + newer
        elif before is not None:
            chosen = [number for number in numbers if number < int(before)][-limit:]
        elif after is not None:
            chosen = [number for number in numbers if number > int(after)][:limit]
        else:
            chosen = numbers[-limit:]
        return [self.messages[number] for number in reversed(chosen)]
