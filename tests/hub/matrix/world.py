"""A daemon with one Telegram bot, in which every row of the matrix has a chat of its own, and what became of each."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self

import httpx2
import trio
import trio.testing
from msgspec import Struct
from msgspec.structs import replace

from gatewayd.channels import telegram
from gatewayd.channels.telegram.settings import TelegramSettings
from gatewayd.hub.turns.chat_commands import NOT_YOURS_TO_RENEW, NOT_YOURS_TO_STOP, NOTHING_ASKED, NOTHING_RUNS
from gatewayd.model.config import (
    AccountFrame,
    AccountSettings,
    AgentApprovals,
    AgentFrame,
    AgentSettings,
    ApprovalsSection,
    ApproverGroup,
    GroupRules,
    LimitsSection,
)
from gatewayd.model.records.approval import Approval, ToolRequest
from gatewayd.model.records.question import Question
from gatewayd.model.secret import Secret
from gatewayd.plugins import Registry
from gatewayd.ports.agent import AgentConfig, AgentCore, AgentPlugin, AgentServices, CoreTurnState, Turn
from gatewayd.ports.agent import Final as FinalAnswer
from gatewayd.ports.store import InboundRow
from tests.fakes.bot_api import FakeBotApi
from tests.fakes.bot_api.updates import caption_content, make_supergroup, make_user, photo_content, text_content
from tests.hub.matrix.rows import WORDS_BESIDE, Row, senders
from tests.web.site import Site, configuration, open_site

PEOPLE: Final = {name: 1000 + number for number, name in enumerate(senders("group"))}
"""Who writes in groups, the same in each."""
_BEGIN, _NOTE = "begin", "a note"
_ASKED: Final = ("re: ", "shell: ", "assistant wants", "Why?", "Waiting for permission")
"""How the agent's replies begin, and what is asked in the chat, whatever became of it."""
_SAID: Final[dict[str, str | tuple[str, ...]]] = {
    "help": "Everything else goes to the agent",
    "start": "Hello. The agent",
    "whoami": "You: ",
    "status": "Agent assistant.",
    "stopped": "Stopped.",
    "idle": NOTHING_RUNS,
    "renewed": "A new session has begun.",
    "unasked": NOTHING_ASKED,
    "refused": (NOT_YOURS_TO_STOP, NOT_YOURS_TO_RENEW, "You may not answer this request here."),
    "allowed": "Allowed.",
    "denied": "Denied.",
    "shown": "of approval ap",
    "pair": "This assistant does not know you yet.",
}


class Effect(Struct, frozen=True):
    """All that became of a row: what was said in its chat, whether the turn that ran was stopped, how many sessions its chat has
    had, what became of the request and of the question, and what the agent was sent."""

    said: tuple[str, ...] = ()
    stopped: bool = False
    sessions: int = 1
    request: str | None = None
    question: str | None = None
    sent: str | None = None


class ScriptedCore:
    """A turn that begins with "begin" waits, and asks if it says so; any other is said back."""

    def __init__(self) -> None:
        self.opened, self.released = trio.Event(), trio.Event()
        self.begun: set[str] = set()
        self.sent: dict[str, list[str]] = {}
        self._sessions = 0

    async def new_session(self, session_key: str) -> str:
        self._sessions += 1
        return f"session-{self._sessions}"

    async def turn_state(self, session_id: str, turn_id: str) -> CoreTurnState:
        return "new"

    async def resume(self, turn: Turn) -> FinalAnswer:
        raise AssertionError("no turn of it runs on")

    async def run(self, turn: Turn) -> FinalAnswer:
        chat, text = turn.request.peer.id, turn.request.text
        if not text.startswith(_BEGIN):
            self.sent.setdefault(chat, []).append(text)
            return FinalAnswer(f"re: {text}")
        self.begun.add(chat)
        await self.opened.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._until_released, nursery.cancel_scope)
            if text.endswith("approval"):
                await turn.permission(ToolRequest("shell", '{"command":"ls"}'))
            elif text.endswith("answer"):
                await turn.question(Question("Why?"))
            await self.released.wait()
        return FinalAnswer(f"re: {text}")

    async def _until_released(self, scope: trio.CancelScope) -> None:
        await self.released.wait()
        scope.cancel()


PLUGIN = AgentPlugin(
    id="scripted", label="Scripted", settings="tests.hub.matrix.world:Settings", open="tests.hub.matrix.world:open_core"
)
_cores: dict[str, ScriptedCore] = {}


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """``name`` of the core that the test holds."""

    name: str


@asynccontextmanager
async def open_core(agent: AgentConfig, services: AgentServices) -> AsyncIterator[AgentCore]:
    assert isinstance(agent.settings, Settings)
    yield _cores[agent.settings.name]


class Chat(Struct):
    """The chat of one row. ``seen`` counts the bot's messages before the row's own was sent."""

    row: Row
    id: int
    user: dict[str, Any]
    begun: bool
    note: int = 0
    seen: int = 0

    @property
    def peer(self) -> dict[str, Any]:
        return make_supergroup(self.id, "Matrix") if self.row.place == "group" else {**self.user, "type": "private"}


def chats_of(rows: Sequence[Row]) -> list[Chat]:
    return [_chat(number, row) for number, row in enumerate(rows)]


def _chat(number: int, row: Row) -> Chat:
    is_dm = row.place == "dm"
    user_id = 100_000 + number if is_dm else PEOPLE[row.sender]
    user = {**make_user(user_id, row.sender, f"{row.sender}{user_id}"), "is_bot": row.sender == "bot"}
    begun = not is_dm or row.sender not in ("stranger", "bot")
    return Chat(row, user_id if is_dm else -1_002_000_000_000 - number, user, begun)


def _config(api: FakeBotApi, chats: Sequence[Chat], name: str) -> Any:
    def ids(*kinds: str) -> tuple[str, ...]:
        return tuple({str(chat.user["id"]): None for chat in chats if chat.row.sender in kinds})

    everybody = tuple(str(chat.user["id"]) for chat in chats if chat.row.sender != "stranger")
    in_groups = GroupRules(allow_from=tuple(dict.fromkeys(everybody)), commands=(str(PEOPLE["commander"]),))
    frame = AccountFrame(
        allow_from=ids("own_chat", "operator", "approver"),
        operators=ids("operator"),
        groups={"*": in_groups},
        require_mention=False,
    )
    policy = AgentApprovals(ask=("team",))
    team = ApproverGroup(tuple(f"telegram:{one}" for one in ids("approver")))
    settings = TelegramSettings(token=Secret(api.token), api_base=api.url, poll_timeout_seconds=5)
    config = configuration(
        accounts=(AccountSettings("telegram", "main", frame, settings),),
        agents=(AgentSettings("assistant", AgentFrame(core="scripted", approvals=policy), Settings(name)),),
        limits=LimitsSection(turns=len(chats), sender_backlog=len(chats)),
    )
    return replace(config, approvals=ApprovalsSection(groups={"team": team}, max_pending=len(chats)))


class World:
    """The daemon, the platform, and the chats."""

    def __init__(self, site: Site, api: FakeBotApi, core: ScriptedCore, chats: Sequence[Chat]) -> None:
        self._site = site
        self._api = api
        self._core = core
        self.chats = chats
        self._requests: dict[str, Approval] = {}
        self._questions: dict[str, str] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, state_dir: Path, rows: Sequence[Row]) -> AsyncIterator[Self]:
        chats, core = chats_of(rows), ScriptedCore()
        _cores[str(state_dir)] = core
        async with FakeBotApi.serve() as api:
            registry = Registry.of([telegram.PLUGIN], [PLUGIN])
            config = _config(api, chats, str(state_dir))
            async with open_site(state_dir, config, registry=registry) as site, trio.open_nursery() as nursery:
                await nursery.start(site.gateway.responses.run)
                yield cls(site, api, core, chats)
                nursery.cancel_scope.cancel()

    async def play(self) -> dict[Row, Effect]:
        """Every row at once: a turn begins in each chat, then the row's message comes, then the turn may end."""
        for chat in self.chats:
            self._api.add_chat(chat.peer)
            if chat.begun:
                writer = make_user(PEOPLE["writer"], "writer", "writer") if chat.row.place == "group" else chat.user
                self._api.user_sends(chat.peer, f"{_BEGIN} {chat.row.when}", user=writer)
        await self._settle()
        assert len(self._core.begun) == sum(chat.begun for chat in self.chats)
        for chat in self.chats:
            if chat.row.form == "edited":
                chat.note = self._api.user_sends(chat.peer, _NOTE, user=chat.user)["message"]["message_id"]
        await self._settle()
        self._core.opened.set()
        await self._settle()
        await self._note_what_is_asked()
        for chat in self.chats:
            chat.seen = len(self._api.texts(chat.id)) if chat.begun else 0
        async with self._site.client("write") as client:
            for chat in self.chats:
                await self._send(chat, client)
        await self._settle()
        asked = {chat.row: await self._asked(chat) for chat in self.chats}
        self._core.released.set()
        await self._settle()
        journal = await self._site.rows()
        return {chat.row: replace(asked[chat.row], **await self._ended(chat, journal)) for chat in self.chats}

    async def _settle(self) -> None:
        """Until nothing is under way any more."""
        await self._api.wait_delivered()
        outbox = self._site.gateway.outbox
        # The clock jumps only when nothing is to be done. No longer: half a second later every turn shows that it types.
        await trio.sleep(0.01)
        while (status := outbox.status()).ready or status.sending:
            with trio.move_on_after(0.01):
                await outbox.wait_settled()

    async def _note_what_is_asked(self) -> None:
        pending = await self._site.store.list_approvals("pending", limit=len(self.chats))
        self._requests = {approval.origin.rpartition(":")[2]: approval for approval in pending}
        for question in await self._site.store.pending_questions(limit=len(self.chats)):
            self._questions[question.session_key.rpartition(":")[2]] = question.turn_id
        kinds = [chat.row.when for chat in self.chats if chat.begun]
        assert (len(self._requests), len(self._questions)) == (kinds.count("approval"), kinds.count("answer"))

    def text_of(self, chat: Chat) -> str:
        request = self._requests.get(str(chat.id))
        code = "BCDFGHJK" if request is None else request.code
        return f"{chat.row.word} {code}" if chat.row.when == "approval" else WORDS_BESIDE.get(chat.row.word, chat.row.word)

    async def _send(self, chat: Chat, client: httpx2.AsyncClient) -> None:
        text, api = self.text_of(chat), self._api
        match chat.row.form:
            case "own":
                api.user_sends(chat.peer, text, user=chat.user)
            case "edited":
                api.user_edits(chat.peer, chat.note, text)
            case "forwarded":
                origin = {"type": "hidden_user", "sender_user_name": "Eve", "date": 1}
                api.user_sends(chat.peer, user=chat.user, content={**text_content(text), "forward_origin": origin})
            case "via_bot":
                bot = {**make_user(9, "Gif", "gif"), "is_bot": True}
                api.user_sends(chat.peer, user=chat.user, content={**text_content(text), "via_bot": bot})
            case "caption":
                file = {"file_id": "f", "file_unique_id": "u", "file_size": 1, "file_path": "p"}
                api.user_sends(chat.peer, user=chat.user, content={**photo_content([file]), **caption_content(text)})
            case "connector":
                body = {
                    "channel": "telegram",
                    "account": "main",
                    "peer": {"kind": chat.row.place, "id": str(chat.id)},
                    "sender": {"id": str(chat.user["id"])},
                    "text": text,
                    "addressed": True,
                }
                assert (await client.post("/v1/chat/inbound", json=body)).status_code == 202

    async def _asked(self, chat: Chat) -> Effect:
        """What the row's message did to what was asked."""
        request, turn_id = self._requests.get(str(chat.id)), self._questions.get(str(chat.id))
        state = None if request is None else (await self._site.gateway.approvals.get(request.id)).state
        asked = [] if turn_id is None else await self._site.store.questions_of(turn_id)
        question = asked[0].state if asked else None
        return Effect(request=None if state == "pending" else state, question=None if question == "pending" else question)

    async def _ended(self, chat: Chat, journal: Sequence[InboundRow]) -> dict[str, Any]:
        own = [row for row in journal if row.envelope.peer.id == str(chat.id)]
        session = await self._site.store.get_session(own[0].session_key or "") if own else None
        sent = [text for text in self._core.sent.get(str(chat.id), ()) if text != _NOTE]
        assert len(sent) < 2, "a message is run once"
        return {
            "said": tuple(_word_of(text) for text in self._said(chat)),
            "stopped": any(row.reason == "stopped" and row.turn_id is not None for row in own),
            "sessions": 1 if session is None else session.generation,
            "sent": sent[0] if sent else None,
        }

    def _said(self, chat: Chat) -> list[str]:
        try:
            texts = self._api.texts(chat.id)[chat.seen :]
        except KeyError:
            return []
        return [text for text in texts if not text.startswith(_ASKED)]


def _word_of(text: str) -> str:
    """What a text of gatewayd says, in a word; the text itself where it is none that is known."""
    return next((word for word, begins in _SAID.items() if _has(text, begins)), text)


def _has(text: str, words: str | tuple[str, ...]) -> bool:
    return any(each in text for each in ((words,) if isinstance(words, str) else words))
