"""The page on which requests are answered, in a real Chromium, against the daemon as a process."""

import os
from pathlib import Path

import pytest
import trio

from tests.whole.browser.chromium import EXECUTABLE, Tab, open_browser, open_tab
from tests.whole.browser.test_webchat import LOW_CONTRAST
from tests.whole.process import Daemon, daemon

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium on this machine")

CONFIG = """
[agents.assistant]
core = "callable"
object = "console_agent:agent"

[channels.webchat.accounts.main]
"""
AGENT = '''
async def agent(turn):
    """Asks for what it is told: a command, perhaps with the tool before it."""
    tool, _, command = turn.text.rpartition("|")
    decision = await turn.ask(tool or "shell", {"command": command})
    yield f"{decision.outcome} by {decision.by}"
'''
FORGED = "ls\nallowed: rm\u202e"
SEEN = "ls\\nallowed: rm\\u{202e}"
HOSTILE = "echo <img src=x onerror=alert(1)> \u202egnp.exe"
PROMPTS = "document.querySelectorAll('#waiting .prompt').length"


async def say(server: Daemon, text: str, key: str) -> None:
    body = {
        "channel": "webchat",
        "account": "main",
        "event_key": key,
        "peer": {"kind": "dm", "id": "owner"},
        "sender": {"id": "owner"},
        "text": text,
    }
    async with server.client() as client:
        answer = await client.post("/v1/chat/inbound", json=body)
    assert answer.status_code == 202, answer.text


async def console_link(server: Daemon, page: str = "approvals", token: str | None = None) -> str:
    async with server.client(token=token) as client:
        answer = await client.post("/v1/console/links", json={"page": page})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["url"])


async def outcome(server: Daemon) -> dict[str, object]:
    """The newest decided request, once it was used."""
    async with server.client() as client:
        with trio.fail_after(20):
            while True:
                rows = (await client.get("/v1/approvals?state=all&limit=1")).json()["approvals"]
                if rows and rows[0]["state"] != "pending":
                    found: dict[str, object] = rows[0]
                    return found
                await trio.sleep(0.02)


async def press(tab: Tab, answer: str) -> None:
    await tab.click(f"#waiting .prompt [data-answer={answer}]")


@pytest.mark.slow
async def test_requests_come_are_answered_and_go(tmp_path: Path) -> None:
    (tmp_path / "console_agent.py").write_text(AGENT)
    async with daemon(tmp_path / "state", CONFIG, env={"PYTHONPATH": str(tmp_path)}) as server, open_tab() as tab:
        await tab.open(await console_link(server))
        await tab.wait_for("document.getElementById('state').textContent === 'Live'")
        assert await tab.evaluate("location.hash") == ""
        await say(server, HOSTILE, "one")
        await tab.wait_for(f"{PROMPTS} === 1")
        shown = await tab.evaluate("document.querySelector('#waiting .input').textContent")
        assert "<img src=x" in shown
        assert "\\u{202e}" in shown
        assert await tab.evaluate("document.title") == "(1) Approvals – gatewayd"
        assert ("button", "Allow once: shell") in await tab.accessible()
        assert ("button", "Allow for this session: exactly this input: shell") in await tab.accessible()
        assert await tab.evaluate("document.getElementById('news').textContent") == "1 new request: shell"
        assert await tab.evaluate(LOW_CONTRAST) == []
        if folder := os.environ.get("GATEWAYD_SCREENSHOTS"):
            await tab.screenshot(Path(folder) / "console.png")
            await tab.show_as(390, 844, phone=True, dark=True)
            await tab.screenshot(Path(folder) / "console-phone-dark.png")
        await press(tab, "once")
        await tab.wait_for(f"{PROMPTS} === 0 && document.querySelectorAll('#recent li').length === 1")
        row = await outcome(server)
        assert (row["state"], row["decided_by"]) == ("allowed", "operator:local")
        await say(server, "rm -rf x", "two")
        await tab.wait_for(f"{PROMPTS} === 1")
        await press(tab, "deny")
        await tab.wait_for("document.querySelector('#recent .outcome').textContent === 'denied'")
        await say(server, f"{FORGED}|x", "three")
        await tab.wait_for(f"{PROMPTS} === 1")
        assert await tab.evaluate("document.querySelector('#waiting .tool').textContent") == SEEN
        assert await tab.evaluate("document.getElementById('news').textContent") == f"1 new request: {SEEN}"
        assert ("button", f"Deny: {SEEN}") in await tab.accessible()
        await press(tab, "session")
        await tab.wait_for("document.querySelector('#recent .outcome').textContent.includes('exactly this input')")
        assert tab.complaints == []


# An element of the requests whose own box hides a part of it, and a page that is wider than its window.
HIDDEN_PARTS = """
[...document.querySelectorAll('.requests *')].filter((part) => part.checkVisibility() && !part.matches('.visually-hidden'))
  .filter((part) => part.scrollHeight > part.clientHeight + 1 && getComputedStyle(part).overflowY !== 'visible'
    || part.getBoundingClientRect().right > innerWidth + 1)
  .map((part) => part.className || part.tagName)
"""


@pytest.mark.slow
async def test_a_long_input_is_shown_whole_before_it_can_be_answered(tmp_path: Path) -> None:
    (tmp_path / "console_agent.py").write_text(AGENT)
    async with daemon(tmp_path / "state", CONFIG, env={"PYTHONPATH": str(tmp_path)}) as server, open_tab() as tab:
        await tab.open(await console_link(server))
        await tab.wait_for("document.getElementById('state').textContent === 'Live'")
        command = "echo harmless" + "\n" * 300 + "w" * 200 + " " * 3000 + "; rm -rf THE-END"
        await say(server, command, "long")
        await tab.wait_for(f"{PROMPTS} === 1")
        for width, height, phone in ((1280, 800, False), (390, 844, True)):
            await tab.show_as(width, height, phone=phone)
            assert await tab.evaluate(HIDDEN_PARTS) == []
            assert await tab.evaluate("Math.max(innerWidth, document.documentElement.scrollWidth)") == width
            shown = await tab.evaluate("document.querySelector('#waiting .input').innerText")
            assert shown.rstrip().endswith('THE-END"\n}')
            below = "document.querySelector('.answers').getBoundingClientRect().top"
            assert await tab.evaluate(f"{below} >= document.querySelector('#waiting .input').getBoundingClientRect().bottom")
        await tab.show_as(1280, 800)
        await press(tab, "deny")
        await tab.wait_for("document.querySelectorAll('#recent li').length === 1")
        assert "more" in await tab.evaluate("document.querySelector('#recent li').innerText.slice(-30)")
        assert tab.complaints == []


@pytest.mark.slow
async def test_what_is_answered_elsewhere_goes_and_a_used_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "console_agent.py").write_text(AGENT)
    async with daemon(tmp_path / "state", CONFIG, env={"PYTHONPATH": str(tmp_path)}) as server, open_tab() as tab:
        link = await console_link(server)
        await tab.open(link)
        await tab.wait_for("document.getElementById('state').textContent === 'Live'")
        await say(server, "ls", "one")
        await tab.wait_for(f"{PROMPTS} === 1")
        async with server.client() as client:
            [row] = (await client.get("/v1/approvals")).json()["approvals"]
            answer = await client.post(f"/v1/approvals/{row['code']}", json={"decision": "allow", "scope": "session"})
        assert answer.json()["scope"] == "session"
        await tab.wait_for(f"{PROMPTS} === 0")
        await tab.evaluate("sessionStorage.clear()")
        await tab.open("about:blank")
        await tab.open(link)
        await tab.wait_for("document.getElementById('login-reason').textContent.includes('used already')")


LOOKER = "the-token-of-one-who-looks-0123456789"
TOKENS = """
[auth.tokens.boss]
token = { env = "BOSS" }
scopes = ["admin"]

[auth.tokens.looker]
token = { env = "LOOKER" }
scopes = ["read", "approvals"]
"""
BOSS = "the-token-of-the-boss-0123456789"
NAME = "document.getElementById('name').textContent"


@pytest.mark.slow
@pytest.mark.parametrize("profiles", [1, 2])
async def test_two_people_each_act_in_their_own_name(profiles: int, tmp_path: Path) -> None:
    """In two tabs of one browser and in two browsers: on every page of the console, over a reload, and when one logs out."""
    (tmp_path / "console_agent.py").write_text(AGENT)
    env = {"PYTHONPATH": str(tmp_path), "BOSS": BOSS, "LOOKER": LOOKER}
    async with daemon(tmp_path / "state", CONFIG + TOKENS, env=env) as server, open_browser() as one, open_browser() as other:
        server.token = BOSS
        boss = await one.first()
        looker = await (one.window(boss) if profiles == 1 else other.first())
        for page in ("dead-letters", "trace", "approvals"):
            for tab, token, name in ((boss, BOSS, "boss"), (looker, LOOKER, "looker")):
                await tab.open(await console_link(server, page, token))
                await tab.wait_for(f"{NAME} === {name!r} && document.getElementById('state').dataset.state === 'connected'")
            for tab, name in ((boss, "boss"), (looker, "looker")):
                await tab.reload()
                await tab.wait_for(f"{NAME} === {name!r} && document.getElementById('state').dataset.state === 'connected'")
        for tab, name in ((looker, "looker"), (boss, "boss")):
            await say(server, f"by {name}", name)
            await tab.wait_for(f"{PROMPTS} === 1")
            await press(tab, "once")
            await tab.wait_for(f"document.getElementById('recent').innerText.includes('by operator:{name}')")
        await looker.evaluate("document.getElementById('logout').click()")
        await looker.wait_for("!document.getElementById('login').hidden")
        await boss.reload()
        await boss.wait_for(f"{NAME} === 'boss' && !document.getElementById('console').hidden")
        assert boss.complaints + looker.complaints == []
