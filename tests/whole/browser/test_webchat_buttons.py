"""Questions and approvals in the web chat's page, in a real Chromium, against the daemon as a process."""

from pathlib import Path

import pytest
import trio

from tests.whole.browser.chromium import EXECUTABLE, Tab, open_tab
from tests.whole.browser.test_webchat import CONNECTED, LOW_CONTRAST, fits, login_link, say, surprises
from tests.whole.process import daemon

pytestmark = [pytest.mark.slow, pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium on this machine")]

CONFIG = """
[agents.painter]
core = "callable"
object = "tests.whole.scripted.asker:paint"

[agents.painter.approvals]
ask = ["owners"]

[approvals.groups.owners]
people = ["webchat:owner"]

[channels.webchat.accounts.main]
"""
BUTTONS = "[...document.querySelectorAll('#log .choice')].map((button) => button.textContent)"
TEXTS = "[...document.querySelectorAll('#log .agent .body')].map((body) => body.innerText)"
FOCUS = "document.activeElement.textContent"
TOLD = "document.getElementById('told').textContent"


def posted(tab: Tab) -> int:
    """How many presses the page has posted."""
    return sum("/v1/webchat/presses?" in url for url in tab.requested)


async def wait_buttons(tab: Tab, first: str) -> None:
    await tab.wait_for(f"{BUTTONS}[0] === {first!r}")


async def looks_right(tab: Tab) -> None:
    """On a desk and on a phone, by day and by night: it fits, can be read, and hides nothing of what is asked."""
    for width, height, phone, dark in [(1280, 800, False, True), (390, 844, True, False), (320, 500, True, True)]:
        await tab.show_as(width, height, phone=phone, dark=dark)
        await fits(tab)
        assert await tab.evaluate(LOW_CONTRAST) == []
        wide = "[...document.querySelectorAll('.asking pre')].filter((pre) => pre.scrollWidth > pre.clientWidth).length"
        assert await tab.evaluate(wide) == 0
        end = "(({scrollHeight, scrollTop, clientHeight}) => scrollHeight - scrollTop - clientHeight)"
        await tab.wait_for(f"{end}(document.getElementById('scroller')) < 5")
    await tab.show_as(1280, 800)


async def answer_by_keyboard(tab: Tab) -> None:
    """From the composer back to the buttons, which are the last before it."""
    assert await tab.evaluate("document.activeElement.id") == "text"
    for label in ("Skip", "Blue"):
        await tab.press("Tab", shift=True)
        assert await tab.evaluate(FOCUS) == label
    await tab.press("Enter")
    await tab.wait_for(f"{TEXTS}[0].includes('Answer: Blue')")
    assert "Answer: Blue" in await tab.evaluate(FOCUS), "the focus stays where the buttons were"


async def test_a_question_and_a_permission_are_answered_by_buttons(tmp_path: Path) -> None:
    with trio.fail_after(90):
        async with daemon(tmp_path, CONFIG) as server, open_tab() as tab:
            await tab.show_as(1280, 800)
            await tab.open(await login_link(server))
            await tab.wait_for(CONNECTED)
            await say(tab, "paint it")
            await wait_buttons(tab, "Red")
            seen = await tab.accessible()
            for role, name in [("group", "Choices"), ("button", "Red"), ("button", "Blue"), ("button", "Skip")]:
                assert (role, name) in seen
            await answer_by_keyboard(tab)
            await wait_buttons(tab, "Allow once")
            await looks_right(tab)
            await tab.call("Page.reload")
            await tab.wait_for(f"{CONNECTED} && {BUTTONS}.length")
            assert await tab.evaluate(BUTTONS) == ["Allow once", "Deny", "Allow for this session: exactly this input"]
            await tab.evaluate("document.querySelectorAll('.choice').forEach((button) => button.click())")
            await tab.wait_for(f"{TOLD} === 'Allowed.'")
            assert ("status", "") in await tab.accessible()
            assert await tab.evaluate("document.getElementById('told').getAttribute('role')") == "status"
            await tab.wait_for(f"{TEXTS}[2] === 'Blue: allowed'")
            assert posted(tab) == 2, "while a press is on its way, the buttons beside it do nothing"
            texts = await tab.evaluate(TEXTS)
            assert "Allowed by webchat:owner" in texts[1]
            assert await tab.evaluate(BUTTONS) == []
            await tab.call("Page.reload")
            await tab.wait_for(f"{CONNECTED} && {TEXTS}.length === 3")
            assert await tab.evaluate(TEXTS) == texts, "the edits are there after a reload"
            assert surprises(tab) == []


async def test_a_question_outlives_the_daemon(tmp_path: Path) -> None:
    with trio.fail_after(90):
        async with open_tab() as tab:
            async with daemon(tmp_path, CONFIG) as server:
                url = server.url
                await tab.open(await login_link(server))
                await tab.wait_for(CONNECTED)
                await say(tab, "paint it")
                await wait_buttons(tab, "Red")
                server.kill()
                await server.wait()
                await tab.click(".choice")
                await tab.wait_for("document.getElementById('trouble').textContent.includes('The button did not work')")
                assert await tab.evaluate("document.querySelector('.choice').getAttribute('aria-disabled')") == "false"
            async with daemon(tmp_path, CONFIG, arguments=("--bind", url.removeprefix("http://"))):
                await tab.evaluate("dispatchEvent(new Event('online'))")
                await tab.wait_for(CONNECTED)
                await tab.click(".choice")
                await wait_buttons(tab, "Allow once")
                assert await tab.evaluate("document.getElementById('trouble').textContent") == ""
                await tab.click(".choice-row .choice:nth-child(2)")
                await tab.wait_for(f"{TEXTS}[2] === 'Red: denied'")
                texts = await tab.evaluate(TEXTS)
                assert "Answer: Red" in texts[0]
                assert "Denied by webchat:owner" in texts[1]
                assert len(texts) == 3
            assert surprises(tab) == []
