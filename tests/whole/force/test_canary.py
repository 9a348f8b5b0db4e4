"""No secret comes out: tokens in every credential, every error forced, and every place looked at where something is told.

A piece of twelve characters of a canary counts as found: a secret that was cut before it was looked for would show that much.
"""

import base64
import json
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import trio

from tests.whole.process import Daemon, daemon
from tests.whole.scripted.parrot import WAYS, Parrot

PIECE = 12
MESSAGES = 24
"""To each agent: what it is answered is cut at another place each time."""


class Canaries:
    """Secrets by the name of the environment variable that holds them."""

    def __init__(self) -> None:
        self.env: dict[str, str] = {}
        self.others: dict[str, str] = {}

    def new(self, name: str, prefix: str = "") -> str:
        """A reference to a new one, for the configuration. ``prefix`` is no secret."""
        self.env[f"CANARY_{name}"] = prefix + secrets.token_urlsafe(24)
        return f'{{ env = "CANARY_{name}" }}'

    def value(self, name: str) -> str:
        return self.env[f"CANARY_{name}"]

    def add(self, name: str, value: str) -> str:
        """One that the daemon has made."""
        self.others[name] = value
        return value

    def found_in(self, text: str) -> set[str]:
        """The names of those of which a piece is in ``text``, as it is or in base64."""
        pieces = {text[at : at + PIECE] for at in range(len(text) - PIECE + 1)}
        return {name for name, value in (self.env | self.others).items() if not pieces.isdisjoint(_pieces(value))}


def _pieces(value: str) -> Iterator[str]:
    secret = value.rpartition(":")[2]
    forms = [secret, *(base64.b64encode(b"-" * shift + secret.encode()).decode()[4:-4] for shift in range(3))]
    for form in forms:
        yield from (form[at : at + PIECE] for at in range(len(form) - PIECE + 1))


def configuration(parrot: Parrot, canaries: Canaries) -> str:
    """An account for each way a platform can fail, an agent for each way a provider can, and an agent that tells all."""
    lines = ["[gateway]", 'log_level = "debug"', f'public_url = "{parrot.url}"']
    for role, scopes in (("operator", '["admin"]'), ("connector", '["read", "write"]'), ("node", '["read"]')):
        lines += [f"[auth.tokens.{role}]", f'role = "{role}"', f"scopes = {scopes}", f"token = {canaries.new(role)}"]
    lines += ["[agents.assistant]", 'core = "callable"', 'object = "tests.whole.force.leaky:fail"']
    lines += ["[channels.webchat.accounts.main]", 'dm_policy = "open"']
    for number, way in enumerate(("works", *WAYS, "hooked", "nobody", "notls")):
        token = canaries.new(f"bot_{way}", f"{number + 1}00:")
        parrot.ways[canaries.value(f"bot_{way}")] = "works" if way == "hooked" else way
        base = {"nobody": "http://127.0.0.1:9", "notls": parrot.url.replace("http", "https")}.get(way, parrot.url)
        lines += [f"[channels.telegram.accounts.{way}]", f"token = {token}", f'api_base = "{base}"', 'dm_policy = "open"']
        lines += ['mode = "webhook"'] if way == "hooked" else []
    for way in WAYS:
        lines += [f"[agents.model-{way}]", 'core = "chat_completions"', f'url = "{parrot.url}/{way}"', 'model = "m"']
        lines += [f"api_key = {canaries.new(f'key_{way}')}", *_binding(f"model-{way}")]
    for name, auth in (("password", "password"), ("token", "token")):
        lines += [f"[agents.server-{name}]", 'core = "opencode"', f'url = "{parrot.url}"', f"{auth} = {canaries.new(name)}"]
        lines += _binding(f"server-{name}")
    for core, name, more in (("acp", "program", []), ("acp", "living", ["on"]), ("opencode", "sidecar", [])):
        command = json.dumps([sys.executable, "-m", "tests.whole.force.leaky", *more])
        given = f"secrets = {{ CANARY_{name} = {canaries.new(name)}, PYTHONPATH = {{ env = 'TREE' }} }}"
        lines += [f"[agents.{name}]", f'core = "{core}"', f"command = {command}", given, *_binding(name)]
    return "\n".join(lines)


def _binding(agent: str) -> list[str]:
    return ["[[bindings]]", f'match = {{ channel = "webchat", peer = "dm:{agent}" }}', f'agent = "{agent}"']


async def provoke(gateway: Daemon, canaries: Canaries, parrot: Parrot) -> None:
    """Messages to every agent, and requests that hold secrets where they do not belong."""
    agents = [agent.agent for agent in (await gateway.status()).agents]
    async with gateway.client(token=canaries.value("operator")) as client:
        for agent in agents:
            place = {"channel": "webchat", "account": "main", "peer": {"kind": "dm", "id": agent}, "sender": {"id": agent}}
            for number in range(MESSAGES):
                answer = await client.post("/v1/chat/inbound", json=place | {"text": "fail", "event_key": f"{agent}-{number}"})
                assert answer.status_code == 202
        link = (await client.post("/v1/webchat/links", json={"name": "alice"})).json()["url"]
        canaries.add("login code", link.rpartition("=")[2].rpartition("/")[2].rpartition("#")[2])
        made = (await client.post("/v1/console/links", json={})).json()["url"]
        canaries.add("console code", made.rpartition("=")[2].rpartition("/")[2].rpartition("#")[2])
    async with httpx2.AsyncClient(base_url=gateway.url, verify=False, trust_env=False) as stranger:
        for secret in (*canaries.env.values(), *canaries.others.values()):
            await _misplace(stranger, secret, (parrot.secrets or [""])[0])


async def _misplace(client: httpx2.AsyncClient, secret: str, webhook_secret: str) -> None:
    """A token with a letter too many, in the query, the path, a header, a body: each is refused, and none may be repeated."""
    wrong = {"Authorization": f"Bearer {secret}x"}
    hook = {"X-Telegram-Bot-Api-Secret-Token": webhook_secret}
    answers = [
        await client.get("/v1/gateway/status", headers=wrong),
        await client.get(f"/v1/gateway/status?token={secret}"),
        await client.get(f"/{secret}"),
        await client.get("/v1/gateway/status", headers={"Authorization": f"Basic {secret}"}),
        await client.get("/v1/gateway/status", headers={"Host": f"{secret}.example".replace(":", "")}),
        await client.get("/v1/gateway/status", headers={"Origin": f"https://{secret}.example"}),
        await client.post("/v1/webchat/login", json={"code": secret + "x"}),
        await client.post(
            "/v1/webchat/login", content=f'{{"code": {secret}'.encode(), headers={"Content-Type": "application/json"}
        ),
        await client.post(f"/v1/webhooks/telegram/{secret}", content=secret.encode()),
        await client.post("/v1/webhooks/telegram/hooked", content=secret.encode(), headers=hook),
        await client.post("/v1/webhooks/telegram/hooked", json={"update_id": secret, secret: [secret]}, headers=hook),
    ]
    assert {answer.status_code // 100 for answer in answers} <= {4, 5}, [answer.status_code for answer in answers]


async def places(gateway: Daemon, parrot: Parrot, canaries: Canaries) -> dict[str, str]:
    """Everything that the daemon tells anybody, by where it is told."""
    async with gateway.client(token=canaries.value("operator")) as client:
        found = {"log": gateway.log.read_text(), "platform": "\n".join(_texts(parrot))}
        pages = ["/metrics", "/readyz", "/v1/gateway/status", "/v1/channels", "/v1/agents", "/v1/audit", "/v1/dead-letters"]
        pages += ["/v1/approvals?state=all", "/v1/pairing", "/health"]
        pages += [f"/v1/agents/{agent.agent}" for agent in (await gateway.status()).agents]
        pages += [f"/v1/messages/in-{number}" for number in range(1, 100)] + [f"/v1/messages/out-{n}" for n in range(1, 30)]
        for page in pages:
            answer = await client.get(page)
            assert answer.status_code in (200, 404, 503), (page, answer.text)
            found[page] = answer.text
        events = ""
        async with client.stream("GET", "/v1/events?after=0") as stream:
            with trio.move_on_after(2):
                async for text in stream.aiter_text():
                    events += text
        assert "inbound.dead" in events
        found["/v1/events"] = events
    for file in gateway.state_dir.rglob("*"):
        # The store keeps a webhook's secret, which it has made: it has to know it again after a restart.
        if file.is_file() and file.name not in ("gatewayd.toml", "token"):
            found[str(file.relative_to(gateway.state_dir))] = file.read_bytes().decode("latin-1")
    return found


def _texts(parrot: Parrot) -> Iterator[str]:
    """What people in chats are shown."""
    for body in parrot.bodies:
        if '"chat_id"' in body:
            yield body


@pytest.mark.force
async def test_no_canary_comes_out_anywhere(tmp_path: Path) -> None:
    canaries = Canaries()
    with trio.fail_after(120):
        async with Parrot.serve() as parrot:
            config = configuration(parrot, canaries)
            env = canaries.env | {"TREE": f"{Path(__file__).parents[1]}/..", "NOTIFY_SOCKET": str(tmp_path / "nobody")}
            state_dir = tmp_path / "state"
            (state_dir / "agents").mkdir(parents=True)
            async with daemon(state_dir, config, env=env) as gateway:
                gateway.token = canaries.value("operator")
                await provoke(gateway, canaries, parrot)
                await gateway.wait_status(
                    lambda snapshot: snapshot.dead_letters.in_dead >= 8 and snapshot.dead_letters.out_dead >= 1
                )
                await trio.sleep(3)
                found = await places(gateway, parrot, canaries)
                assert await gateway.stop() == 0
                found["log"] = gateway.log.read_text()
    assert parrot.secrets
    leaks = {place: names for place, text in found.items() if (names := canaries.found_in(text))}
    assert leaks == {}
    hook = Canaries()
    hook.add("webhook secret", parrot.secrets[0])
    assert [place for place, text in found.items() if hook.found_in(text) and not place.startswith("gatewayd.db")] == []


@pytest.mark.force
async def test_the_token_that_is_made_at_the_first_start_does_not_come_out(tmp_path: Path) -> None:
    canaries = Canaries()
    config = '[agents.assistant]\ncore = "callable"\nobject = "tests.whole.force.leaky:fail"\n[channels.webchat.accounts.main]\n'
    with trio.fail_after(60):
        async with Parrot.serve() as parrot, daemon(tmp_path / "state", config) as gateway:
            canaries.env["CANARY_operator"] = gateway.token
            async with httpx2.AsyncClient(base_url=gateway.url, verify=False, trust_env=False) as stranger:
                await _misplace(stranger, gateway.token, "")
            place = {"channel": "webchat", "account": "main", "peer": {"kind": "dm", "id": "bob"}, "sender": {"id": "bob"}}
            async with gateway.client() as client:
                await client.post("/v1/chat/inbound?wait=10", json=place | {"text": "fail"})
            found = await places(gateway, parrot, canaries)
            await gateway.stop()
            found["log"] = gateway.log.read_text()
    assert {place for place, text in found.items() if canaries.found_in(text)} == set()


@pytest.mark.parametrize("form", [str, lambda text: base64.b64encode(f"user:{text}".encode()).decode(), lambda text: text[5:17]])
def test_the_search_finds_what_it_looks_for(form: object) -> None:
    canaries = Canaries()
    canaries.new("x", "100:")
    assert callable(form)
    assert canaries.found_in(f"so {form(canaries.value('x').partition(':')[2])} it is") == {"CANARY_x"}
