"""A running site in which everybody asks for everything, and what was seen of each."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self, get_args

import trio
import trio.testing
from msgspec import Struct
from msgspec.structs import replace

from gatewayd.agents import callable as own
from gatewayd.agents import echo
from gatewayd.channels import loopback, webchat
from gatewayd.channels.webchat.http import COOKIE
from gatewayd.channels.webchat.login import Login, log_in, new_login_link
from gatewayd.channels.webchat.settings import WebchatSettings
from gatewayd.model.config import (
    SCOPES_OF_ROLE,
    AccountFrame,
    AccountSettings,
    AgentFrame,
    AgentSettings,
    AuthSection,
    Role,
    Scope,
    TokenConfig,
)
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.reload import ReloadReport
from gatewayd.model.secret import Secret
from gatewayd.plugins import Registry
from gatewayd.ports.store import TokenRow
from gatewayd.web.access.tokens import digest_of
from tests.web import attached, hook
from tests.web.api.test_reload import REPORT
from tests.web.client import dial, now, request
from tests.web.matrix.rows import ALL, BEYOND, Row, senders
from tests.web.site import ACCOUNTS, AGENTS, Site, configuration, open_site

CANARY: Final = "canary"
"""Who talks with the agents here: the beginning of every person's id and of every text."""
HOLDER: Final = "canary-of-the-cookie"
_WRITE: Final = re.compile(r"\s*(?:INSERT(?: OR \w+)? INTO|UPDATE|DELETE FROM)\s+(\w+)", re.I)
_ENVELOPE: Final = {"channel": "loopback", "account": "main", "sender": {"id": CANARY}, "text": "hello"}
BODIES: Final[Mapping[str, Any]] = {
    "POST /v1/approvals/{approval}": {"decision": "deny"},
    "POST /v1/channels/hook/start": {"account_id": "plain"},
    "POST /v1/channels/hook/stop": {"account_id": "plain"},
    "POST /v1/channels/hook/restart": {"account_id": "plain"},
    "POST /v1/chat/inbound": {**_ENVELOPE, "event_key": "{key}", "peer": {"kind": "dm", "id": CANARY}},
    "POST /v1/console/links#dead-letters": {"page": "dead-letters"},
    "POST /v1/console/links#trace": {"page": "trace"},
    "POST /v1/console/login": {"code": "{console}"},
    "POST /v1/dead-letters": {"action": "drop", "refs": ["{dead_letter}"]},
    "POST /v1/dead-letters/{dead_letter}": {"action": "drop"},
    "POST /v1/pairing/{code}": {"decision": "approve"},
    "POST /v1/pairing/revoke": {"channel": "loopback", "account": "strict", "sender_id": "{paired}"},
    "POST /v1/webchat/login": {"code": "{link}"},
    f"POST /v1/webchat/messages?name={HOLDER}": {"id": "{key}", "text": "hello"},
    f"POST /v1/webchat/presses?name={HOLDER}": {"id": "{key}", "line": "{line}", "data": "a"},
    "POST /v1/webchat/revoke": {"id": "{login}"},
    "POST /v1/webhooks/hook/main": {"key": "{key}"},
    "POST /permission/per_1/reply": {"reply": "reject"},
    "POST /question/que_1/reply": {"answers": [["Red"]]},
}


class Seen(Struct, frozen=True):
    """What was answered, and what changed meanwhile: tables of the store, "reload", and "heard" by the server of an agent."""

    status: int
    text: str
    touched: frozenset[str]


class AnyAnswer(dict[str, Any]):
    """A server of an agent that has an answer to everything."""

    def get(self, line: str, default: object = None) -> bytes:
        return attached.says([] if line in ("GET /permission", "GET /question") else {"id": "ses_1"})


def token_of(sender: str) -> str:
    return f"the-token-of-{sender}-0123456789-0123456789-0123456789"


def _scopes_of(role: Role, words: str) -> tuple[Scope, ...]:
    possible = tuple(scope for scope in get_args(Scope) if scope in SCOPES_OF_ROLE[role])
    return possible if words == ALL else tuple(scope for scope in possible if scope in words.split("+"))


def _tokens() -> dict[str, TokenConfig]:
    found = {}
    for number, sender in enumerate(senders()):
        role, _, words = sender.partition(".")
        if role in get_args(Role) and words != BEYOND:
            scopes = _scopes_of(role, words)  # type: ignore[arg-type]
            found[f"t{number}"] = TokenConfig(token=Secret(token_of(sender)), role=role, scopes=scopes)  # type: ignore[arg-type]
    return found


class World:
    """The site, with what its requests are about made as it is needed. ``fresh`` are subjects that nobody has used up yet."""

    def __init__(self, site: Site, server: attached.Server) -> None:
        self._site = site
        self._server = server
        self._console: dict[str, str] = {}
        self._login: Login | None = None
        self._fresh: dict[str, str] = {}
        self._touched: set[str] = set()
        self._number = self._asked = 0
        self._makers: dict[str, Callable[[], Awaitable[str]]] = {
            "approval": self._approval,
            "code": self._code,
            "paired": self._paired,
            "dead_letter": self._dead_letter,
            "link": self._link,
            "login": self._login_of_another,
            "line": self._line,
            "console": lambda: self._console_code("approvals"),
            "key": self._key,
        }

    @classmethod
    @asynccontextmanager
    async def open(cls, state_dir: Path) -> AsyncIterator[Self]:
        async with attached.open_server() as server, AsyncExitStack() as stack:
            server.answers = AnyAnswer()
            accounts = (*ACCOUNTS, AccountSettings("webchat", "main", AccountFrame(), WebchatSettings()))
            coder = AgentSettings("coder", AgentFrame(core="attached"), attached.AttachedSettings(url=server.url))
            config = replace(configuration(accounts=accounts, agents=(*AGENTS, coder)), auth=AuthSection(tokens=_tokens()))
            channels = [loopback.PLUGIN, hook.PLUGIN, webchat.PLUGIN]
            registry = Registry.of(channels, [echo.PLUGIN, attached.PLUGIN, own.PLUGIN])
            site = await stack.enter_async_context(open_site(state_dir, config, registry=registry))
            nursery = await stack.enter_async_context(trio.open_nursery())
            await nursery.start(site.gateway.responses.run)
            world = cls(site, server)
            await world._prepare()
            yield world
            nursery.cancel_scope.cancel()

    @property
    def app(self) -> Any:
        return self._site.server._app

    async def _prepare(self) -> None:
        for sender in senders():
            role, _, words = sender.partition(".")
            if words == BEYOND:
                row = TokenRow(digest_of(token_of(sender)), "token", sender, role, get_args(Scope), now(), None)
                await self._site.store.put_token(row)

        async def reload(actor: str) -> ReloadReport:
            self._touched.add("reload")
            return REPORT

        self._site.reload = reload
        self._site.store._writer._connection.set_trace_callback(self._note)
        await self._say("main", CANARY, "hello")
        for name in ("dead_letter", "approval", "code", "line"):
            self._fresh[name] = await self._makers[name]()

    def _note(self, statement: str) -> None:
        if (written := _WRITE.match(statement)) and written[1] != "event":
            self._touched.add(written[1])

    # What requests are about.

    async def _key(self) -> str:
        self._number += 1
        return f"key-{self._number:06}"

    async def _say(self, account: str, person: str, text: str) -> None:
        sender = Sender(person, name=person)
        key = await self._key()
        envelope = InboundEnvelope("loopback", account, key, "message", Peer("dm", person), sender, text=text, received_at=now())
        await self._site.gateway.inbox.deliver([envelope])

    async def _approval(self) -> str:
        known = {row.id for row in await self._site.gateway.approvals.list(None, limit=1000)}
        await self._say("main", f"{CANARY}-{await self._key()}", "/demo-tool canary")
        await self._settle()
        [new] = [row.id for row in await self._site.gateway.approvals.list(None, limit=1000) if row.id not in known]
        return new

    async def _code(self) -> str:
        person = f"{CANARY}-{await self._key()}"
        await self._say("strict", person, "let me in")
        await self._settle()
        [code] = [row.code for row in await self._site.gateway.access.pending() if row.sender_id == person]
        return code

    async def _paired(self) -> str:
        code = await self._code()
        [person] = [row.sender_id for row in await self._site.gateway.access.pending() if row.code == code]
        await self._site.gateway.let_in(code, by="a test")
        await self._settle()
        return person

    async def _dead_letter(self) -> str:
        person, key = CANARY, await self._key()
        envelope = InboundEnvelope(
            "loopback", "main", key, "message", Peer("dm", person), Sender(person), text=CANARY, received_at=now()
        )
        [row] = (await self._site.store.add_inbound([envelope])).rows
        await self._site.store.start_turn([row.id], turn_id=f"turn-{row.id}", session_key=f"assistant:{person}")
        await self._site.store.end_inbound([row.id], state="dead", reason="agent_failed", now=now())
        return f"in-{row.id}"

    async def _link(self) -> str:
        return (await new_login_link(self._site.store, self._site.url, CANARY, now())).code

    async def _log_in(self, name: str) -> Login:
        link = await new_login_link(self._site.store, self._site.url, name, now())
        login = await log_in(self._site.store, link.code, now(), session_days=30)
        assert login is not None
        return login

    async def _login_of_another(self) -> str:
        return (await self._log_in(f"{CANARY}-two")).id

    async def _line(self) -> str:
        channel = self._site.gateway.manager.account("webchat", "main").channel
        await channel.receive(HOLDER, "hello", await self._key())  # type: ignore[union-attr]
        await self._settle()
        rows = await self._site.store.transcript("webchat", "main", Peer("dm", HOLDER), limit=10)
        return max(f"out-{row.id}" for row in rows if not isinstance(row.content, InboundEnvelope))

    async def _console_code(self, page: str) -> str:
        answer = await self._once("POST", "/v1/console/links", _bearer("operator.admin"), json.dumps({"page": page}))
        return str(json.loads(answer)["url"].partition("#code=")[2])

    # Asking.

    async def ask(self, row: Row, sender: str) -> Seen:
        path, body = row.path, BODIES.get(row.name)
        text = "{}" if body is None else json.dumps(body)
        for name in re.findall(r"\{(\w+)\}", path + text):
            if name not in self._fresh:
                self._fresh[name] = await self._makers[name]()
            path, text = path.replace(f"{{{name}}}", self._fresh[name]), text.replace(f"{{{name}}}", self._fresh[name])
        headers = await self._credentials(sender)
        self._touched, heard = set(), len(self._server.heard)
        status, said = await self._answer(row.method, path, headers, text)
        if status < 300 and row.method != "GET":
            await self._settle()
            for name in re.findall(r"\{(\w+)\}", row.path + json.dumps(body)):
                self._fresh.pop(name, None)
            if row.path.partition("?")[0].endswith(("/logout", "/v1/webchat/login")):
                self._console.pop(sender, None)
                self._login = None
        also = {"heard"} if len(self._server.heard) > heard else set()
        return Seen(status, said, frozenset(self._touched | also))

    async def peek(self, row: Row) -> int:
        """The status of a HEAD by nobody."""
        return (await self._answer("HEAD", row.path, {}, ""))[0]

    async def _answer(self, method: str, path: str, headers: dict[str, str], body: str) -> tuple[int, str]:
        headers = headers | {"Content-Type": "application/json", "Connection": "close"}
        raw = request(method, path, headers=headers, body=None if method in ("GET", "HEAD", "OPTIONS") else body.encode())
        # Each from an address of its own: too many wrong tokens from one are answered 429.
        self._asked += 1
        source = f"127.0.{self._asked // 250 % 250}.{self._asked % 250 + 1}"
        async with dial(self._site.url, source=source) as client:
            await client.say(raw)
            status, told = await client.head()
            if told.get("content-type", "").startswith("text/event-stream") and status == 200:
                return status, (await client.chunk()).decode() + (await client.chunk()).decode()
            return status, (await client.rest()).decode("utf-8", "replace")

    async def _once(self, method: str, path: str, headers: dict[str, str], body: str) -> str:
        status, said = await self._answer(method, path, headers, body)
        assert status == 200, said
        return said

    async def _credentials(self, sender: str) -> dict[str, str]:
        kind, _, word = sender.partition(".")
        if kind == "none":
            return {}
        if kind == "wrong":
            return {"Authorization": "Bearer of-nobody-0123456789-0123456789-0123456789"}
        if kind == "hook":
            return {"X-Hook-Secret": hook.SECRET}
        if kind == "cookie":
            if self._login is None:
                self._login = await self._log_in(HOLDER)
            return {"Cookie": f"{COOKIE}={self._login.token}"}
        if kind == "console":
            if sender not in self._console:
                code = await self._console_code(word)
                said = await self._once("POST", "/v1/console/login", {}, json.dumps({"code": code}))
                self._console[sender] = str(json.loads(said)["token"])
            return {"Authorization": f"Bearer {self._console[sender]}"}
        return _bearer(sender)

    async def _settle(self) -> None:
        """Until nothing is under way."""
        outbox = self._site.gateway.outbox
        await trio.testing.wait_all_tasks_blocked(0.001)
        while outbox.status().ready or outbox.status().sending:
            await trio.testing.wait_all_tasks_blocked(0.001)


def _bearer(sender: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_of(sender)}"}


def is_so(letter: str, effect: str, seen: Seen) -> bool:
    """Whether what was seen is what a letter of answers.txt means."""
    shown, done = effect.startswith("+") and effect[1:] in seen.text, seen.touched - {"audit"}
    about_people = CANARY in seen.text
    match letter:
        case "u" | "f" | "x" | "r":
            status = {"u": 401, "f": 403, "x": 404, "r": 400}[letter]
            return seen.status == status and not done - ({"heard"} if letter == "x" else set()) and not about_people
        case "s" if effect.startswith("+"):
            return 200 <= seen.status < 300 and shown and not done and about_people == (effect == f"+{CANARY}")
        case "s":
            wanted = set() if effect == "-" else set(effect.split(","))
            return 200 <= seen.status < 300 and wanted <= seen.touched
        case "b" | "p":
            return seen.status == 200 and not done and not about_people and (letter == "b" or not shown)
        case "n":
            return 200 <= seen.status < 300 and not seen.touched
        case _:
            return False
