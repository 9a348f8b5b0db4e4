"""Endpoints of guilds, channels, threads and users."""

from tests.fakes.discord_platform.errors import Json, missing_access, missing_permissions, required, unknown
from tests.fakes.discord_platform.model import permissions, shapes
from tests.fakes.discord_platform.model.guilds import Channel, Guild
from tests.fakes.discord_platform.model.world import World
from tests.fakes.discord_platform.rest.routing import Answer, Call, Endpoint


class PlaceRoutes:
    """What a bot asks of places and people."""

    def __init__(self, world: World) -> None:
        self._world = world

    def endpoints(self) -> dict[str, Endpoint]:
        channel, guild = "/channels/{channel_id}", "/guilds/{guild_id}"
        return {
            "GET /users/@me": lambda _: Answer(
                {**self._world.application.bot, "verified": True, "mfa_enabled": True, "email": None, "locale": "en-US"}
            ),
            "GET /users/{user_id}": self._user,
            "GET /users/@me/guilds": self._own_guilds,
            "POST /users/@me/channels": self._open_dm,
            f"GET {channel}": lambda call: Answer(self._visible(call).info),
            f"GET {channel}/threads/archived/public": lambda call: self._archived(call, shapes.PUBLIC_THREAD),
            f"GET {channel}/threads/archived/private": lambda call: self._archived(call, shapes.PRIVATE_THREAD),
            f"GET {channel}/users/@me/threads/archived/private": self._joined,
            f"GET {guild}": self._guild_info,
            f"GET {guild}/channels": self._channels,
            f"GET {guild}/roles": lambda call: Answer(list(self._guild(call).roles.values())),
            f"GET {guild}/members/{{user_id}}": self._member,
            f"GET {guild}/threads/active": self._active_threads,
        }

    def _visible(self, call: Call, needed: int = 0) -> Channel:
        """:raises ApiError: 10003, 50001, and 50013 without the permissions ``needed``."""
        channel = self._world.channel(call.ids["channel_id"])
        if not channel.may(self._world.bot_id, permissions.VIEW_CHANNEL):
            raise missing_access()
        if not channel.may(self._world.bot_id, needed):
            raise missing_permissions()
        return channel

    def _guild(self, call: Call) -> Guild:
        """:raises ApiError: 10004 for a guild that the bot is not in."""
        guild = self._world.guilds.get(call.ids["guild_id"])
        if guild is None or self._world.bot_id not in guild.members:
            raise unknown("Guild")
        return guild

    def _user(self, call: Call) -> Answer:
        user = self._world.users.get(call.ids["user_id"])
        if user is None:
            raise unknown("User")
        return Answer(user)

    def _member(self, call: Call) -> Answer:
        member = self._guild(call).members.get(call.ids["user_id"])
        if member is None:
            raise unknown("User")
        return Answer(member)

    def _own_guilds(self, call: Call) -> Answer:
        limit = call.number("limit", 200, 1, 200)
        after = int(call.snowflake("after") or 0)
        guilds = [one for one in self._world.guilds.values() if int(one.id) > after and self._world.bot_id in one.members]
        return Answer(
            [
                {
                    "id": guild.id,
                    "name": guild.info["name"],
                    "icon": None,
                    "banner": None,
                    "owner": False,
                    "permissions": str(guild.permissions_of(self._world.bot_id)),
                    "features": [],
                }
                for guild in guilds[:limit]
            ]
        )

    def _open_dm(self, call: Call) -> Answer:
        recipient = call.fields.get("recipient_id")
        if recipient is None:
            raise required("recipient_id")
        return Answer(self._world.dm_with(str(recipient)).info)

    def _guild_info(self, call: Call) -> Answer:
        guild = self._guild(call)
        return Answer({**guild.info, "roles": list(guild.roles.values())})

    def _channels(self, call: Call) -> Answer:
        """Without threads ("Guild Resource", Get Guild Channels)."""
        return Answer([channel.info for channel in self._world.channels_of(self._guild(call), threads=False)])

    def _active_threads(self, call: Call) -> Answer:
        """Newest first ("Guild Resource", List Active Guild Threads)."""
        threads = self._world.channels_of(self._guild(call), threads=True)
        active = [thread for thread in reversed(threads) if not thread.thread_state["archived"]]
        return Answer({**self._threads(active), "has_more": False})

    def _archived(self, call: Call, kind: int) -> Answer:
        """By archive_timestamp, newest first ("Channel Resource", List Public and List Private Archived Threads)."""
        needed = permissions.READ_MESSAGE_HISTORY | (permissions.MANAGE_THREADS if kind == shapes.PRIVATE_THREAD else 0)
        threads = self._archived_in(self._visible(call, needed), kind)
        threads.sort(key=_archived_at, reverse=True)
        before = call.query.get("before")
        return self._page(call, [thread for thread in threads if before is None or _archived_at(thread) < before])

    def _joined(self, call: Call) -> Answer:
        """By id, newest first ("Channel Resource", List Joined Private Archived Threads)."""
        threads = self._archived_in(self._visible(call, permissions.READ_MESSAGE_HISTORY), shapes.PRIVATE_THREAD)
        before = call.snowflake("before")
        joined = [thread for thread in reversed(threads) if self._world.bot_id in thread.thread_members]
        return self._page(call, [thread for thread in joined if before is None or int(thread.id) < int(before)])

    def _archived_in(self, parent: Channel, kind: int) -> list[Channel]:
        channels = parent.guild.channels.values() if parent.guild is not None else ()
        return [one for one in channels if one.parent is parent and one.kind == kind and one.thread_state["archived"]]

    def _page(self, call: Call, threads: list[Channel]) -> Answer:
        limit = call.number("limit", 50, 2, 100)
        return Answer({**self._threads(threads[:limit]), "has_more": len(threads) > limit})

    def _threads(self, threads: list[Channel]) -> Json:
        members = [
            {
                "id": thread.id,
                "user_id": self._world.bot_id,
                "join_timestamp": thread.thread_state["create_timestamp"],
                "flags": 0,
            }
            for thread in threads
            if self._world.bot_id in thread.thread_members
        ]
        return {"threads": [thread.info for thread in threads], "members": members}


def _archived_at(thread: Channel) -> str:
    return str(thread.thread_state["archive_timestamp"])
