"""Several pages of the web chat in one browser, of one person or of two, in a real Chromium, against the daemon as a process."""

from pathlib import Path

import pytest
import trio

from tests.whole.browser.chromium import EXECUTABLE, Browser, Tab, open_browser
from tests.whole.browser.test_console import console_link
from tests.whole.browser.test_webchat import BODIES, CONFIG, CONNECTED, OWN, UNSENT, fits, login_link, say, surprises
from tests.whole.process import Daemon, daemon

pytestmark = [pytest.mark.slow, pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium on this machine")]

NAME = "document.getElementById('name').innerText"
TEXT = "document.getElementById('text').value"
TROUBLE = "document.getElementById('trouble').innerText"
# Requests reach nobody from now on, as when the network is away; and the other way round.
CUT = "window.wire ??= window.fetch; window.fetch = () => Promise.reject(new TypeError('cut'))"
MEND = "window.fetch = window.wire"
# As in a browser that tells a page nothing of a login on another one: the page posts, and asks nothing by itself.
DEAF = """
addEventListener('storage', (event) => event.stopImmediatePropagation(), true);
window.wire = window.fetch;
window.fetch = (...all) => (all[1].method === 'POST' ? window.wire(...all) : new Promise(() => {}));
"""
WORD = "w" * 200


async def enter(tab: Tab, server: Daemon, name: str) -> None:
    await tab.open(await login_link(server, name))
    await tab.wait_for(f"{CONNECTED} && {NAME} === {name!r}")


async def page(browser: Browser, server: Daemon) -> Tab:
    """One more page, for whoever is logged in."""
    tab = await browser.tab()
    await tab.open(server.url)
    await tab.wait_for(CONNECTED)
    return tab


async def lines_of(server: Daemon, name: str) -> list[str]:
    """What the daemon has taken from ``name``."""
    async with server.client() as client:
        link = (await client.post("/v1/webchat/links", json={"name": name})).json()
        await client.post("/v1/webchat/login", json={"code": link["code"]})
        history = (await client.get("/v1/webchat/history")).json()
    return [line["text"] for line in history["lines"] if line["from"] == "you"]


async def test_two_people_in_one_browser_keep_their_words_apart(tmp_path: Path) -> None:
    with trio.fail_after(90):
        async with daemon(tmp_path, CONFIG) as server, open_browser() as browser:
            frida = await browser.first()
            await enter(frida, server, "frida")
            await say(frida, "of frida")
            await frida.wait_for(f"{BODIES}.length === 2")
            await frida.evaluate(CUT)
            await frida.evaluate("document.getElementById('text').focus()")
            await say(frida, "not sent by frida")
            await frida.wait_for("document.querySelectorAll('#unsent .waiting').length === 1")
            await frida.type("half a thought of frida")
            guest = await browser.tab()
            await enter(guest, server, "guest")
            await say(guest, "of guest")
            await guest.wait_for(f"{BODIES}.length === 2")
            assert await guest.evaluate(UNSENT) == 0
            await frida.evaluate(MEND)
            await frida.call("Page.bringToFront")
            await frida.wait_for(f"{NAME} === 'guest' && {TROUBLE}.includes('Another person has logged in')")
            assert await frida.evaluate(OWN) == ["of guest"]
            assert await frida.evaluate(TEXT) == ""
            assert await frida.evaluate(UNSENT) == 0
            assert await lines_of(server, "frida") == ["of frida"]
            assert await lines_of(server, "guest") == ["of guest"]
            await enter(frida, server, "frida")
            await frida.wait_for(f"{OWN}.length === 2 && {UNSENT} === 0")
            assert await frida.evaluate(TEXT) == "half a thought of frida"
            await guest.call("Page.bringToFront")
            await guest.wait_for(f"{NAME} === 'frida'")
            assert await lines_of(server, "frida") == ["of frida", "not sent by frida"]
            assert await lines_of(server, "guest") == ["of guest"]
            assert surprises(frida) + surprises(guest) == []


async def test_what_a_page_says_before_it_knows_is_refused_and_kept(tmp_path: Path) -> None:
    """Enter is quicker than the news that somebody else has logged in; so are a press of "Log out" and a reload."""
    with trio.fail_after(90):
        async with daemon(tmp_path, CONFIG) as server, open_browser() as browser:
            frida = await browser.first()
            await enter(frida, server, "frida")
            guest = await browser.tab()
            await frida.evaluate(DEAF)
            await enter(guest, server, "guest")
            await frida.call("Page.bringToFront")
            await frida.evaluate("document.getElementById('text').focus()")
            await say(frida, "quick")
            await frida.wait_for("document.getElementById('chat').hidden")
            await frida.reload()
            await frida.wait_for(f"{CONNECTED} && {NAME} === 'guest'")
            assert await frida.evaluate(f"[{UNSENT}, {OWN}.length]") == [0, 0]
            assert await lines_of(server, "guest") == []
            await enter(frida, server, "frida")
            await frida.wait_for(f"{OWN}.length === 1")
            assert await lines_of(server, "frida") == ["quick"]


async def test_two_people_in_two_profiles_and_one_who_logs_out(tmp_path: Path) -> None:
    with trio.fail_after(90):
        async with daemon(tmp_path, CONFIG) as server, open_browser() as one, open_browser() as other:
            frida, guest = await one.first(), await other.first()
            await enter(frida, server, "frida")
            await enter(guest, server, "guest")
            for tab, text in ((frida, f"of frida {WORD}"), (guest, f"of guest {WORD}")):
                await tab.show_as(390, 844, phone=True)
                await tab.evaluate("document.getElementById('text').focus()")
                await tab.type(text)
                await fits(tab)
                await tab.evaluate("document.getElementById('send').click()")
                await tab.wait_for(f"{BODIES}.length === 2")
                assert set(await tab.evaluate(BODIES)) == {text}
                await fits(tab)
                assert await tab.evaluate("document.getElementById('name').getBoundingClientRect().width") > 0
            await frida.evaluate(CUT)
            await frida.type("unsent")
            await frida.evaluate("document.getElementById('send').click()")
            await frida.type("half")
            await frida.wait_for("document.querySelectorAll('#unsent .waiting').length === 1")
            assert await frida.evaluate("Object.keys(localStorage).filter((key) => key.includes('.frida.')).length") == 1
            await frida.evaluate(MEND)
            await frida.evaluate("document.getElementById('logout').click()")
            await frida.wait_for("!document.getElementById('login').hidden")
            assert (
                await frida.evaluate("[...Object.keys(localStorage), ...Object.keys(sessionStorage)].join()") == "gatewayd.login"
            )
            assert await guest.evaluate(NAME) == "guest"


async def test_of_many_visible_windows_each_loads_sends_and_is_told(tmp_path: Path) -> None:
    """Of the chat and of the console, which share the browser's six connections."""
    with trio.fail_after(180):
        async with daemon(tmp_path, CONFIG) as server, open_browser() as browser:
            pages = [await browser.first()]
            await enter(pages[0], server, "frida")
            for number in range(7):
                operator = await browser.window(pages[0])
                await operator.open(await console_link(server))
                await operator.wait_for("!document.getElementById('console').hidden")
                await operator.wait_for("document.getElementById('state').dataset.state === 'connected'")
                window = await browser.window(pages[0])
                await window.open(server.url)
                await window.wait_for(CONNECTED)
                await say(window, f"{number}")
                await window.wait_for(f"{OWN}.includes('{number}') && {UNSENT} === 0")
                pages.append(window)
            assert await pages[0].evaluate("document.visibilityState") == "visible"
            for tab in pages:
                await tab.wait_for(f"{OWN}.length === 7 && {CONNECTED}", within=15)
            assert [line for tab in pages for line in surprises(tab)] == []


async def test_the_tenth_page_loads_and_sends(tmp_path: Path) -> None:
    with trio.fail_after(180):
        async with daemon(tmp_path, CONFIG) as server, open_browser() as browser:
            pages = [await browser.first()]
            await enter(pages[0], server, "frida")
            for number in range(9):
                pages.append(await page(browser, server))
                await say(pages[-1], f"{number}")
                await pages[-1].wait_for(f"{OWN}.includes('{number}') && {UNSENT} === 0")
            await say(pages[-1], "last")
            for tab in reversed(pages):
                await tab.call("Page.bringToFront")
                await tab.wait_for(f"{OWN}.length === 10 && {CONNECTED}")
            await say(pages[0], "first")
            for tab in pages:
                await tab.call("Page.bringToFront")
                await tab.wait_for(f"{OWN}.includes('first')")
            assert [line for tab in pages for line in surprises(tab)] == []
