"""conversations.* and users.conversations (docs.slack.dev/reference/methods)."""

from tests.fakes.slack_platform.errors import Json, SlackError
from tests.fakes.slack_platform.methods.arguments import Method, flag, from_cursor, needed, number, page, text, to_cursor
from tests.fakes.slack_platform.workspace import BOT_USER, Channel, Workspace, event_of

SMALL_PAGE = 15
"""The most messages a call gives a distributed app outside the Marketplace (docs.slack.dev/apis/web-api/rate-limits)."""
KINDS = {"public_channel": "channel", "private_channel": "group", "im": "im", "mpim": "mpim"}


class Conversations:
    """Reading what was said. ``small_pages``: at most 15 messages a page."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.small_pages = False

    def methods(self) -> dict[str, Method]:
        return {
            "conversations.history": self.history,
            "conversations.replies": self.replies,
            "conversations.info": self.info,
            "conversations.list": self.list,
            "conversations.members": self.members,
            "conversations.open": self.open,
            "users.conversations": self.of_user,
        }

    def history(self, values: Json) -> Json:
        """Newest first; with ``oldest`` alone, the page that is closest to ``oldest`` (slackhq/slack-api-docs, issue 4)."""
        channel = self._readable(values)
        found = [message for message in channel.messages.values() if _is_in_channel(message)]
        chosen = _between(found, values)
        limit = self._limit(values, 100)
        cursor = from_cursor(text(values, "cursor"), "next_ts")
        if text(values, "oldest") not in {"", "0"} and not text(values, "latest"):
            begin = [message for message in chosen if not cursor or _micro(message["ts"]) >= int(cursor)]
            shown, rest = begin[:limit], begin[limit:]
            following = rest[0]["ts"] if rest else ""
        else:
            begin = [message for message in chosen if not cursor or _micro(message["ts"]) <= int(cursor)]
            shown, rest = begin[-limit:], begin[:-limit]
            following = rest[-1]["ts"] if rest else ""
        answer: Json = {
            "messages": [_shown(message, values) for message in reversed(shown)],
            "has_more": bool(rest),
            "pin_count": 0,
            "channel_actions_ts": None,
            "channel_actions_count": 0,
        }
        if following:
            answer["response_metadata"] = {"next_cursor": to_cursor("next_ts", str(_micro(following)))}
        return answer

    def replies(self, values: Json) -> Json:
        """Oldest first. ``ts`` is any message of the thread (…/conversations.replies). The root comes first on every page,
        whatever ``oldest`` says: rusq/slackdump, thread.go, drops it from the second page on."""
        channel = self._readable(values)
        ts = needed(values, "ts", error="thread_not_found")
        message = channel.messages.get(ts)
        if message is None:
            raise SlackError("thread_not_found")
        root = channel.messages.get(message.get("thread_ts", ts))
        if root is None:
            return {"messages": [_shown(message, values)], "has_more": False}
        chosen = _between(self._workspace.replies(channel, root["ts"]), values)
        cursor = from_cursor(text(values, "cursor"), "next_ts")
        begin = [reply for reply in chosen if not cursor or _micro(reply["ts"]) >= int(cursor)]
        limit = max(1, self._limit(values, 1000) - 1)
        shown, rest = begin[:limit], begin[limit:]
        answer: Json = {"messages": [_shown(one, values) for one in (root, *shown)], "has_more": bool(rest)}
        if rest:
            answer["response_metadata"] = {"next_cursor": to_cursor("next_ts", str(_micro(rest[0]["ts"])))}
        return answer

    def info(self, values: Json) -> Json:
        channel = self.visible(needed(values, "channel", error="channel_not_found"))
        answer = channel.answer()
        if not flag(values, "include_num_members"):
            answer.pop("num_members", None)
        return {"channel": answer}

    def list(self, values: Json) -> Json:
        kinds = self._kinds(values)
        found = [
            channel.answer()
            for channel in self._workspace.channels.values()
            if channel.kind in kinds and self._sees(channel) and not (flag(values, "exclude_archived") and channel.archived)
        ]
        shown, following = page(found, values, default=100, at_most=999)
        return {"channels": shown, "response_metadata": {"next_cursor": following}}

    def of_user(self, values: Json) -> Json:
        user = text(values, "user") or BOT_USER
        self._workspace.user(user)
        kinds = self._kinds(values)
        found = [
            channel.answer()
            for channel in self._workspace.channels.values()
            if channel.kind in kinds
            and user in channel.members
            and self._sees(channel)
            and not (flag(values, "exclude_archived") and channel.archived)
        ]
        shown, following = page(found, values, default=100, at_most=999)
        return {"channels": shown, "response_metadata": {"next_cursor": following}}

    def members(self, values: Json) -> Json:
        channel = self.visible(needed(values, "channel", error="channel_not_found"))
        shown, following = page(channel.members, values, default=100, at_most=999)
        return {"members": shown, "response_metadata": {"next_cursor": following}}

    def open(self, values: Json) -> Json:
        """…/conversations.open: one user is a DM, up to eight a group DM."""
        if text(values, "channel"):
            channel = self.visible(text(values, "channel"))
        else:
            users = values.get("users", "")
            names = [name for name in (users if isinstance(users, list) else str(users).split(",")) if name]
            if not names:
                raise SlackError("users_list_not_supplied")
            if len(names) > 8:
                raise SlackError("too_many_users")
            for name in names:
                if name not in self._workspace.users:
                    raise SlackError("user_not_found")
                if name == BOT_USER or self._workspace.users[name].deleted:
                    raise SlackError("cannot_dm_bot" if name == BOT_USER else "user_disabled")
            channel = self._workspace.direct(*names)
        return {"channel": channel.answer() if flag(values, "return_im") else {"id": channel.id}}

    def visible(self, channel_id: str) -> Channel:
        """:raises SlackError: channel_not_found, for a private one too that the bot is not in."""
        channel = self._workspace.channel(channel_id)
        if not self._sees(channel):
            raise SlackError("channel_not_found")
        return channel

    def _sees(self, channel: Channel) -> bool:
        return channel.kind == "channel" or BOT_USER in channel.members

    def _readable(self, values: Json) -> Channel:
        channel = self.visible(needed(values, "channel", error="channel_not_found"))
        if BOT_USER not in channel.members:
            raise SlackError("not_in_channel")
        return channel

    def _limit(self, values: Json, default: int) -> int:
        limit = number(values, "limit", default)
        if not 1 <= limit <= 1000:
            raise SlackError("invalid_limit")
        return min(limit, SMALL_PAGE) if self.small_pages else limit

    def _kinds(self, values: Json) -> set[str]:
        names = [name.strip() for name in text(values, "types", "public_channel").split(",")]
        if not set(names) <= KINDS.keys():
            raise SlackError("invalid_types")
        return {KINDS[name] for name in names}


def _is_in_channel(message: Json) -> bool:
    return message.get("thread_ts", message["ts"]) == message["ts"] or message.get("subtype") == "thread_broadcast"


def _between(messages: list[Json], values: Json) -> list[Json]:
    """:raises SlackError: invalid_ts_oldest, invalid_ts_latest."""
    inclusive = flag(values, "inclusive")
    oldest = _bound(values, "oldest", 0)
    latest = _bound(values, "latest", 10**18)
    if inclusive:
        return [message for message in messages if oldest <= _micro(message["ts"]) <= latest]
    return [message for message in messages if oldest < _micro(message["ts"]) < latest]


def _bound(values: Json, name: str, default: int) -> int:
    if not text(values, name):
        return default
    try:
        return _micro(text(values, name))
    except ValueError:
        raise SlackError(f"invalid_ts_{name}") from None


def _micro(ts: str) -> int:
    seconds, _, rest = ts.partition(".")
    return int(seconds) * 1_000_000 + int((rest or "0").ljust(6, "0")[:6])


def _shown(message: Json, values: Json) -> Json:
    """As history gives it: with the thread's counts; metadata only when asked for."""
    counts = {name: message[name] for name in message.keys() - event_of(message).keys()}
    shown = event_of(message) | counts
    if not flag(values, "include_all_metadata"):
        shown.pop("metadata", None)
    return shown
