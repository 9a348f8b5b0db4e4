"""The pages on which an operator repairs what went wrong, in a real Chromium, against the daemon as a process."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.message.payload import RichText, SendText
from gatewayd.ports.store import OutboundDraft
from gatewayd.stores.sqlite import open_store, run_inline
from tests.whole.browser.chromium import EXECUTABLE, Tab, open_tab
from tests.whole.browser.test_webchat import LOW_CONTRAST
from tests.whole.process import Daemon, daemon

pytestmark = [pytest.mark.slow, pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium on this machine")]

CONFIG = """
[agents.assistant]
core = "callable"
object = "mended_agent:agent"

[channels.webchat.accounts.main]
"""
AGENT = '''
from pathlib import Path

async def agent(turn):
    """Fails until it is mended."""
    if not Path(__file__).with_name("mended").exists():
        raise RuntimeError("not mended yet")
    yield "mended"
'''
HOSTILE = (
    "<img src=x onerror=alert(1)><script>alert(2)</script> \u202egnp.exe \x1b[2J",
    "مرحبا، هذا نص من اليمين إلى اليسار \u2067<b>",
    "👩‍👩‍👧‍👦 ❤️ 🏳️‍🌈 done",
    "x" * 50_000 + " end " + "\u202e" * 49_995,
    "",
)
LIVE = "document.getElementById('state').textContent === 'Live'"
DEAD_LETTERS = "document.querySelectorAll('#dead-letters > li').length"
WIDTH = "Math.max(innerWidth, document.documentElement.scrollWidth)"

END_LOGIN = """
(() => {
  const key = 'gatewayd-console', session = JSON.parse(sessionStorage.getItem(key));
  sessionStorage.setItem(key, JSON.stringify({ ...session, token: 'of-a-login-that-has-ended' }));
})()
"""


def message(text: str, key: str) -> InboundEnvelope:
    peer = Peer("dm", "owner")
    return InboundEnvelope("webchat", "main", key, "message", peer, Sender("owner"), text=text, received_at=time.time())


async def leave_dead_letters(state_dir: Path, texts: Sequence[str] = HOSTILE) -> None:
    """As a daemon leaves them that was killed: messages that no turn could end, and a reply cut off while it was sent."""
    state_dir.mkdir()
    async with open_store(state_dir, now=time.time, run_blocking=run_inline) as store:
        rows = (await store.add_inbound([message(text, f"left-{index}") for index, text in enumerate(texts)])).rows
        ids = [row.id for row in rows]
        await store.start_turn(ids, turn_id="turn-1", session_key="assistant:webchat:main:dm:owner")
        await store.end_inbound(ids, state="dead", reason="agent_failed", now=time.time())
        draft = OutboundDraft("webchat", "main", "webchat:main:dm:owner", SendText(Peer("dm", "owner"), RichText("is it there?")))
        [reply] = await store.add_outbound([draft], now=time.time())
        await store.mark_sending(reply.id)
        await store.settle_outbound(reply.id, "unknown", now=time.time(), reason="killed while sending")


async def link(server: Daemon, page: str) -> str:
    async with server.client() as client:
        answer = await client.post("/v1/console/links", json={"page": page})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["url"])


async def say(server: Daemon, text: str, key: str) -> None:
    peer = {"kind": "dm", "id": "owner"}
    body = {"channel": "webchat", "account": "main", "event_key": key, "peer": peer, "sender": {"id": "owner"}, "text": text}
    async with server.client() as client:
        answer = await client.post("/v1/chat/inbound", json=body)
    assert answer.status_code == 202, answer.text


async def picture(tab: Tab, name: str) -> None:
    if folder := os.environ.get("GATEWAYD_SCREENSHOTS"):
        await tab.screenshot(Path(folder) / f"{name}.png")


async def on_all_screens(tab: Tab, name: str) -> None:
    """Nothing is cut off to the side, and everything can be read, on a small phone too and in the dark."""
    for width, phone, dark in ((360, True, True), (1280, False, False)):
        await tab.show_as(width, 800, phone=phone, dark=dark)
        await picture(tab, f"{name}-{width}-{'dark' if dark else 'light'}")
        assert await tab.evaluate(WIDTH) == width, (name, width)
        assert await tab.evaluate(LOW_CONTRAST) == [], (name, width, dark)


async def test_dead_letters_are_looked_at_retried_and_dropped(tmp_path: Path) -> None:
    (tmp_path / "mended_agent.py").write_text(AGENT)
    await leave_dead_letters(tmp_path / "state")
    with trio.fail_after(100):
        async with daemon(tmp_path / "state", CONFIG, env={"PYTHONPATH": str(tmp_path)}) as server, open_tab() as tab:
            await tab.open(await link(server, "dead-letters"))
            await tab.wait_for(f"{LIVE} && {DEAD_LETTERS} === 6")
            assert await tab.evaluate("location.hash + document.title") == "(6) Dead letters – gatewayd"
            assert await tab.evaluate("document.getElementById('summary').textContent") == (
                "In all: 5 messages given up, 1 reply perhaps delivered."
            )
            await read_hostile_texts(tab)
            await on_all_screens(tab, "dead-letters")
            await filter_by_keyboard(tab)
            await new_ones_come_by_themselves(tab, server)
            (tmp_path / "mended").touch()
            await retry_the_unknown_reply(tab)
            await retry_all_of_the_rest(tab)
            assert [entry for entry in tab.complaints if "favicon" not in entry] == []
            assert [url for url in tab.requested if not url.startswith(f"{server.url}/")] == []


async def read_hostile_texts(tab: Tab) -> None:
    """Each dead letter's whole text is shown as text, whatever is in it."""
    for index in range(len(HOSTILE)):
        await tab.evaluate(f"document.querySelector('#dead-letter-in-{index + 1} button').click()")
    await tab.wait_for("document.querySelectorAll('.whole pre').length === 5")
    shown = [await tab.evaluate(f"document.querySelector('#dead-letter-in-{index + 1} pre').textContent") for index in range(5)]
    assert shown[0].startswith("<img src=x onerror=alert(1)><script>alert(2)</script> \\u{202e}gnp.exe \\u{1b}[2J")
    assert "\\u{2067}<b>" in shown[1]
    assert shown[2] == HOSTILE[2]
    assert len(shown[3]) == 50_005 + len("\\u{202e}") * 49_995
    assert shown[4] == "(no text)"
    assert await tab.evaluate("document.querySelectorAll('#dead-letters img, #dead-letters script, #dead-letters b').length") == 0


async def filter_by_keyboard(tab: Tab) -> None:
    """The filters are found with the tab key alone, and say what they are."""
    controls = await tab.accessible()
    for name in ("What", "Channel", "Account"):
        assert ("combobox", name) in controls, controls
    assert ("checkbox", "Choose out-1") in controls
    assert ("link", "The trace of out-1") in controls
    await tab.evaluate("document.getElementById('kind').focus()")
    await tab.evaluate("(e => { e.value = 'out unknown'; e.dispatchEvent(new Event('change')); })(document.activeElement)")
    await tab.wait_for(f"{DEAD_LETTERS} === 1")
    for _ in range(3):
        await tab.press("Tab")
    assert await tab.evaluate("document.activeElement.id") == "all"
    await tab.evaluate("(e => { e.value = ''; e.dispatchEvent(new Event('change')); })(document.getElementById('kind'))")
    await tab.wait_for(f"{DEAD_LETTERS} === 6")


async def new_ones_come_by_themselves(tab: Tab, server: Daemon) -> None:
    await say(server, "poison", "live")
    await tab.wait_for(f"{DEAD_LETTERS} === 7")


async def retry_the_unknown_reply(tab: Tab) -> None:
    """What a retry of it risks is said before; no is no."""
    await tab.click("#dead-letter-out-1 .pick input")
    await tab.wait_for("document.getElementById('chosen').textContent === '1 chosen'")
    await tab.click("#retry")
    await tab.wait_for("document.getElementById('confirm').open")
    assert "it may be seen twice" in await tab.evaluate("document.getElementById('twice').innerText")
    assert await tab.evaluate("document.activeElement.value") == "no"
    await on_all_screens(tab, "confirm")
    await tab.press("Escape")
    await tab.wait_for("!document.getElementById('confirm').open && document.activeElement.id === 'retry'")
    assert await tab.evaluate(DEAD_LETTERS) == 7
    await tab.click("#retry")
    await tab.click("#do-it")
    await tab.wait_for(f"{DEAD_LETTERS} === 6 && document.getElementById('result').textContent === '1 dead letter retried.'")


async def retry_all_of_the_rest(tab: Tab) -> None:
    await tab.click("#all")
    await tab.wait_for("document.getElementById('chosen').textContent === '6 chosen'")
    await tab.click("#dead-letter-in-1 .pick input")
    await tab.click("#retry")
    await tab.click("#do-it")
    await tab.wait_for(f"{DEAD_LETTERS} === 1 && document.getElementById('result').textContent === '5 dead letters retried.'")
    await tab.click("#all")
    await tab.click("#drop")
    await tab.click("#do-it")
    await tab.wait_for(f"{DEAD_LETTERS} === 0 && !document.getElementById('none').hidden")
    await picture(tab, "dead-letters-none")


async def test_a_trace_is_told_and_an_ended_login_is_said(tmp_path: Path) -> None:
    (tmp_path / "mended_agent.py").write_text(AGENT)
    await leave_dead_letters(tmp_path / "state")
    with trio.fail_after(100):
        async with daemon(tmp_path / "state", CONFIG, env={"PYTHONPATH": str(tmp_path)}) as server, open_tab() as tab:
            await tab.open(await link(server, "dead-letters"))
            await tab.wait_for(f"{LIVE} && {DEAD_LETTERS} === 6")
            await tab.click("#dead-letter-in-1 a")
            await tab.wait_for(f"{LIVE} && document.querySelectorAll('.entry').length >= 3")
            assert await tab.evaluate("document.getElementById('verdict').textContent") != ""
            assert await tab.evaluate("document.querySelectorAll('#trace img, #trace script').length") == 0
            await on_all_screens(tab, "trace")
            before = await tab.evaluate("document.querySelectorAll('.entry').length")
            async with server.client() as client:
                assert (await client.post("/v1/dead-letters/in-1", json={"action": "drop"})).status_code == 200
            await tab.wait_for(f"document.querySelectorAll('.entry').length > {before}")
            await tab.evaluate("document.getElementById('id').focus(); document.getElementById('id').select()")
            await tab.type("in-999")
            await tab.press("Enter")
            await tab.wait_for("document.getElementById('trouble').textContent !== '' && document.getElementById('trace').hidden")
            assert await tab.evaluate("location.search") == "?id=in-999"
            await picture(tab, "trace-none")
            await tab.evaluate(END_LOGIN)
            await tab.open(f"{server.url}/dead-letters")
            await tab.wait_for("document.getElementById('login-reason').textContent.startsWith('The login has ended')")
            await on_all_screens(tab, "login-ended")


async def test_more_than_is_shown_is_dropped_together_by_who_may(tmp_path: Path) -> None:
    (tmp_path / "mended_agent.py").write_text(AGENT)
    await leave_dead_letters(tmp_path / "state", ["again"] * 620)
    with trio.fail_after(100):
        async with daemon(tmp_path / "state", CONFIG, env={"PYTHONPATH": str(tmp_path)}) as server, open_tab() as tab:
            await tab.open(await link(server, "trace"))
            await tab.wait_for(LIVE)
            await tab.open(f"{server.url}/dead-letters")
            await tab.wait_for(f"{LIVE} && {DEAD_LETTERS} === 100 && document.getElementById('orders').hidden")
            assert "can only read" in await tab.evaluate("document.getElementById('only-look').innerText")
            await tab.open(await link(server, "dead-letters"))
            await tab.wait_for(f"{LIVE} && {DEAD_LETTERS} === 100 && !document.getElementById('orders').hidden")
            await tab.click("#show-more")
            await tab.wait_for(f"{DEAD_LETTERS} === 200")
            await tab.click("#all")
            await tab.wait_for("!document.getElementById('beyond').hidden")
            await tab.click("#every")
            await tab.wait_for("document.getElementById('chosen').textContent === 'All that match are chosen'")
            await tab.click("#drop")
            await tab.wait_for("document.getElementById('question').textContent === 'Drop all dead letters that match?'")
            await tab.click("#do-it")
            await tab.wait_for(
                f"{DEAD_LETTERS} === 0 && document.getElementById('result').textContent === '621 dead letters dropped.'"
            )
            assert tab.complaints == []
