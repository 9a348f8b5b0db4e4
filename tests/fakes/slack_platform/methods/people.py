"""auth.test, users.info, bots.info, team.info, assistant.threads.setStatus, reactions.* (docs.slack.dev/reference/methods)."""

from tests.fakes.slack_platform.errors import Json, SlackError
from tests.fakes.slack_platform.methods.arguments import Method, needed, page, text
from tests.fakes.slack_platform.methods.chat import Chat
from tests.fakes.slack_platform.workspace import APP, BOT, BOT_NAME, BOT_USER, TEAM, Workspace


class People:
    """Who is there. ``statuses`` are those that setStatus set, by (channel, thread_ts)."""

    def __init__(self, workspace: Workspace, chat: Chat) -> None:
        self._workspace = workspace
        self._chat = chat
        self.statuses: dict[tuple[str, str], str] = {}

    def methods(self) -> dict[str, Method]:
        return {
            "api.test": lambda values: {"args": values},
            "auth.test": self.auth_test,
            "users.info": self.user_info,
            "users.list": self.user_list,
            "bots.info": self.bot_info,
            "team.info": lambda values: {"team": self._workspace.team},
            "assistant.threads.setStatus": self.set_status,
            "reactions.add": self.add_reaction,
            "reactions.remove": self.remove_reaction,
        }

    def auth_test(self, values: Json) -> Json:
        return {
            "url": f"https://{self._workspace.team['domain']}.slack.com/",
            "team": self._workspace.team["name"],
            "user": BOT_NAME,
            "team_id": TEAM,
            "user_id": BOT_USER,
            "bot_id": BOT,
            "is_enterprise_install": self._workspace.is_organisation,
        }

    def user_info(self, values: Json) -> Json:
        return {"user": self._workspace.user(needed(values, "user", error="user_not_found")).answer()}

    def user_list(self, values: Json) -> Json:
        shown, following = page([user.answer() for user in self._workspace.users.values()], values, default=100, at_most=1000)
        return {"members": shown, "cache_ts": int(self._workspace.now()), "response_metadata": {"next_cursor": following}}

    def bot_info(self, values: Json) -> Json:
        wanted = needed(values, "bot", error="bot_not_found")
        for user in self._workspace.users.values():
            if user.bot == wanted:
                return {
                    "bot": {
                        "id": wanted,
                        "deleted": user.deleted,
                        "name": user.name,
                        "updated": 1700000000,
                        "app_id": user.app or APP,
                        "user_id": user.id,
                        "icons": {"image_36": "https://a.slack-edge.com/bot.png"},
                    }
                }
        raise SlackError("bot_not_found")

    def set_status(self, values: Json) -> Json:
        """The status goes with the next message of the bot in the thread, with "" or after two minutes."""
        channel = self._chat.writable(needed(values, "channel_id", error="channel_not_found"), posting=False)
        thread = needed(values, "thread_ts")
        if self._chat.root_of(channel, thread) is None:
            raise SlackError("invalid_thread_ts")
        if "status" not in values:
            needed(values, "status")
        self.statuses[channel.id, thread] = text(values, "status")
        return {}

    def add_reaction(self, values: Json) -> Json:
        channel = self._chat.writable(needed(values, "channel", error="channel_not_found"), posting=False)
        name = needed(values, "name", error="invalid_name").strip(":")
        message = self._workspace.message(channel, needed(values, "timestamp", error="bad_timestamp"))
        for reaction in message.setdefault("reactions", []):
            if reaction["name"] == name:
                if BOT_USER in reaction["users"]:
                    raise SlackError("already_reacted")
                reaction["users"].append(BOT_USER)
                reaction["count"] += 1
                return {}
        message["reactions"].append({"name": name, "users": [BOT_USER], "count": 1})
        return {}

    def remove_reaction(self, values: Json) -> Json:
        channel = self._chat.writable(needed(values, "channel", error="channel_not_found"), posting=False)
        name = needed(values, "name", error="invalid_name").strip(":")
        message = self._workspace.message(channel, needed(values, "timestamp", error="bad_timestamp"))
        for reaction in message.get("reactions", []):
            if reaction["name"] == name and BOT_USER in reaction["users"]:
                reaction["users"].remove(BOT_USER)
                reaction["count"] -= 1
                message["reactions"] = [one for one in message["reactions"] if one["count"]]
                return {}
        raise SlackError("no_reaction")
