"""What all connections share."""

from tests.fakes.discord_platform.errors import Json
from tests.fakes.discord_platform.gateway.behaviour import Behaviour
from tests.fakes.discord_platform.gateway.sessions import Sessions
from tests.fakes.discord_platform.gateway.starts import SessionStarts
from tests.fakes.discord_platform.model.world import World


class GatewayState:
    """``identifies``, ``resumes`` and ``heartbeats`` are the times (Trio's clock) at which they came. ``replay_overlap``: how
    many events before the asked one a resume brings once more."""

    def __init__(self, world: World, starts: SessionStarts, resume_url: str) -> None:
        self.world = world
        self.starts = starts
        self.resume_url = resume_url
        self.sessions = Sessions()
        self.behaviour = Behaviour()
        self.identifies: list[float] = []
        self.resumes: list[float] = []
        self.heartbeats: list[float] = []
        self.replay_overlap = 0
        self.needs_shards = False
        world.listeners.append(self.sessions.publish)

    def reset_token(self) -> str:
        """A new token; every session ends ("Gateway", Identifying)."""
        token = self.world.application.reset_token()
        for session in self.sessions.connected():
            if session.line is not None:
                session.line.close(4004)
        self.sessions.end_all()
        return token

    def guilds(self) -> list[Json]:
        """GUILD_CREATE of every guild that the bot is in."""
        return [self.world.guild_create(guild) for guild in self.world.guilds.values() if self.world.bot_id in guild.members]

    def members(self, asked: Json) -> Json:
        """GUILD_MEMBERS_CHUNK."""
        guild = self.world.guilds[str(asked["guild_id"])]
        ids = asked.get("user_ids")
        wanted = [ids] if isinstance(ids, str) else ids
        found = [member for user_id, member in guild.members.items() if wanted is None or user_id in wanted]
        chunk: Json = {"guild_id": guild.id, "members": found, "chunk_index": 0, "chunk_count": 1, "not_found": []}
        return {**chunk, "nonce": asked["nonce"]} if "nonce" in asked else chunk
