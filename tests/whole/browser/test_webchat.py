"""The web chat in a real Chromium, against the daemon as a process."""

import re
from pathlib import Path

import pytest
import trio

from tests.whole.browser.chromium import EXECUTABLE, Tab, open_tab
from tests.whole.process import Daemon, daemon

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium on this machine")

CONFIG = """
[agents.assistant]
core = "echo"
word_delay_seconds = 0.06

[channels.webchat.accounts.main]
"""
TEXT = "one two **three** four five <b>six</b> seven eight nine ten eleven twelve"
CONNECTED = "document.getElementById('state').textContent === 'Connected'"
LINES = "document.querySelectorAll('#log .line').length"
BODIES = "[...document.querySelectorAll('#log .body')].map((body) => body.innerText)"
OWN = "[...document.querySelectorAll('#log .you .body')].map((body) => body.innerText)"
UNSENT = "document.querySelectorAll('#unsent .line').length"
NOTES = "[...document.querySelectorAll('.note')].map((note) => note.innerText).join()"
# WCAG 2.2, 1.4.3: the contrast of every text that is shown, against the nearest background that is painted.
LOW_CONTRAST = """
(() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => numbers(colour).slice(0, 3).map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if ((numbers(colour)[3] ?? 1) === 1) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  return [...document.querySelectorAll('body *')]
    .filter((element) => element.checkVisibility() && !element.closest(':disabled')
      && [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()))
    .map((element) => {
      const [a, b] = [light(getComputedStyle(element).color), light(behind(element))];
      return [element.outerHTML.slice(0, 80), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
    })
    .filter(([, ratio]) => ratio < 4.5);
})()
"""


async def login_link(server: Daemon, name: str = "owner") -> str:
    async with server.client() as client:
        answer = await client.post("/v1/webchat/links", json={"name": name})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["url"])


async def say(tab: Tab, text: str) -> None:
    await tab.type(text)
    await tab.press("Enter")


def surprises(tab: Tab) -> list[str]:
    """Complaints of the browser that are not the refusals we provoke."""
    return [complaint for complaint in tab.complaints if not re.search(r"status of 40[19]|ERR_CONNECTION|CHUNKED", complaint)]


async def converse(tab: Tab, link: str) -> None:
    """Log in by link, say something by keyboard, see the answer grow and arrive."""
    await tab.open(link)
    await tab.wait_for(CONNECTED)
    assert await tab.evaluate("location.hash") == ""
    assert await tab.evaluate("document.activeElement.id") == "text"
    await tab.type(TEXT)
    await tab.press("Enter", shift=True)
    await tab.type("last")
    assert await tab.evaluate("document.getElementById('text').value") == f"{TEXT}\nlast"
    await tab.press("Enter")
    await tab.wait_for("document.querySelector('#draft .body strong')")
    draft = await tab.evaluate("document.querySelector('#draft .body').innerText")
    assert draft.startswith("one two three")
    assert "twelve" not in draft
    await tab.wait_for(f"{LINES} === 2")
    assert await tab.evaluate("document.querySelector('#log .agent .body').innerText") == (
        "one two three four five <b>six</b> seven eight nine ten eleven twelve\nlast"
    )
    assert await tab.evaluate("document.getElementById('draft').hidden")
    assert await tab.evaluate("document.getElementById('unsent').childElementCount") == 0


async def copies_code(tab: Tab) -> None:
    """A code block is shown as one, and its button copies it."""
    await say(tab, "```python\nprint('<hello>')\n```")
    await tab.wait_for(f"{LINES} === 4")
    assert await tab.evaluate("document.querySelector('#log pre').innerText") == "print('<hello>')\n"
    assert ("button", "Copy the python code") in await tab.accessible()
    await tab.click("#log .code button")
    await tab.wait_for("document.querySelector('#log .code button').textContent === 'Copied'")


async def is_accessible(tab: Tab) -> None:
    """Names and roles as assistive technology gets them."""
    seen = await tab.accessible()
    for role, name in [
        ("main", "Conversation"),
        ("log", "Messages"),
        ("form", "Write a message"),
        ("textbox", "Message"),
        ("button", "Send message"),
        ("button", "Log out"),
        ("button", "/new"),
    ]:
        assert (role, name) in seen
    unnamed = [role for role, name in seen if role in ("button", "link", "textbox", "image", "form", "log", "main") and not name]
    assert unnamed == []
    assert await tab.evaluate("document.getElementById('log').getAttribute('aria-live')") == "polite"
    assert await tab.evaluate("document.getElementById('draft').getAttribute('aria-live')") == "off"


async def fits(tab: Tab) -> None:
    """Nothing scrolls sideways, nothing but the conversation scrolls at all, and the input is visible."""
    assert await tab.evaluate("Math.max(innerWidth, document.documentElement.scrollWidth)") == tab.width
    assert await tab.evaluate("document.documentElement.scrollHeight <= innerHeight")
    bottom = await tab.evaluate("document.getElementById('composer').getBoundingClientRect().bottom")
    assert bottom <= await tab.evaluate("innerHeight")
    assert await tab.evaluate("parseFloat(getComputedStyle(document.getElementById('text')).fontSize)") >= 16


@pytest.mark.slow
async def test_a_newcomer_talks_to_the_agent(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with daemon(tmp_path, CONFIG) as server, open_tab() as tab:
            await tab.show_as(1280, 800)
            link = await login_link(server)
            await converse(tab, link)
            await is_accessible(tab)
            await tab.call("Page.reload")
            await tab.wait_for(f"{CONNECTED} && {LINES} === 2")
            await copies_code(tab)
            for width, height, phone, dark in [(1280, 800, False, True), (390, 844, True, False), (320, 300, True, True)]:
                await tab.show_as(width, height, phone=phone, dark=dark)
                await fits(tab)
                assert await tab.evaluate(LOW_CONTRAST) == []
            await tab.show_as(1280, 800)
            await tab.click("#logout")
            await tab.wait_for("!document.getElementById('login').hidden")
            await tab.open(link)
            await tab.wait_for("document.getElementById('login-reason').textContent.includes('used already')")
            assert await tab.evaluate(LOW_CONTRAST) == []
            assert surprises(tab) == []
            assert [url for url in tab.requested if not url.startswith(f"{server.url}/")] == []
            assert not any("code=" in url for url in tab.requested)


@pytest.mark.slow
async def test_an_outage_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_tab() as tab:
            async with daemon(tmp_path, CONFIG) as server:
                url = server.url
                await tab.open(await login_link(server))
                await tab.wait_for(CONNECTED)
                await say(tab, "before")
                await tab.wait_for(f"{LINES} === 2")
                server.kill()
                await tab.wait_for("document.getElementById('state').textContent === 'Reconnecting…'")
            for text in ("meanwhile", "and more"):
                await say(tab, text)
            await tab.wait_for(f"{UNSENT} === 2 && document.querySelectorAll('#unsent .waiting').length === 2")
            assert "Waiting to be sent: gatewayd does not answer." in await tab.evaluate(NOTES)
            assert "Not sent" not in await tab.evaluate(NOTES)
            async with daemon(tmp_path, CONFIG, arguments=("--bind", url.removeprefix("http://"))):
                await tab.evaluate("dispatchEvent(new Event('online'))")
                await tab.wait_for(CONNECTED)
                await tab.wait_for(f"{UNSENT} === 0 && document.querySelectorAll('#log .you').length === 3")
                assert await tab.evaluate(OWN) == ["before", "meanwhile", "and more"]
            assert surprises(tab) == []
