"""What goes wrong around the web chat's page, by a script for each fault, in a real Chromium: nothing typed is lost, nothing is
shown as unsent that was sent, and nothing is sent twice."""

import json
import time
from pathlib import Path

import pytest
import trio

from tests.whole.browser.chromium import EXECUTABLE, Tab, open_tab
from tests.whole.browser.test_webchat import (
    BODIES,
    CONFIG,
    CONNECTED,
    NOTES,
    OWN,
    UNSENT,
    login_link,
    say,
    surprises,
)
from tests.whole.browser.test_webchat_people import lines_of
from tests.whole.process import daemon

pytestmark = [pytest.mark.slow, pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium on this machine")]

# Posts arrive, and their answers get lost.
LOSE_ANSWERS = """
window.wire = window.fetch;
window.fetch = async (...all) => {
  const answer = await window.wire(...all);
  if (all[1].method !== 'POST') return answer;
  window.lost = (window.lost ?? 0) + 1;
  throw new TypeError('lost');
};
"""
# What an input method's Enter looks like (UI Events, section 5.2.5 and 8.3.1): key, keyCode and isComposing of each event.
END = ("compositionend", 0, False)
ORDERS = {
    "Chrome": [("keydown", 229, True), END, ("keyup", 13, False)],
    "Firefox": [("keydown", 229, True), END, ("keyup", 13, False), ("keydown", 229, False)],
    "Safari": [END, ("keydown", 229, False), ("keyup", 13, False)],
    "an old one": [("keydown", 229, False), END, ("keyup", 229, False)],
}
CODE = "one **two** three\n\n```python\nprint('a')\n```\n\nfour five six seven eight nine ten eleven twelve thirteen fourteen"


def replay(order: list[tuple[str, int, bool]]) -> str:
    return f"""
    (() => {{
      const text = document.getElementById('text');
      text.dispatchEvent(new CompositionEvent('compositionstart', {{ bubbles: true }}));
      for (const [kind, keyCode, isComposing] of {json.dumps(order)}) text.dispatchEvent(kind.startsWith('key')
        ? new KeyboardEvent(kind, {{ key: 'Enter', code: 'Enter', keyCode, isComposing, bubbles: true, cancelable: true }})
        : new CompositionEvent(kind, {{ bubbles: true, data: text.value }}));
    }})()
    """


async def focus(tab: Tab) -> None:
    await tab.evaluate("document.getElementById('text').focus()")


async def test_a_message_whose_answer_was_lost_is_sent_and_not_shown_as_unsent(tmp_path: Path) -> None:
    with trio.fail_after(90):
        async with daemon(tmp_path, CONFIG) as server, open_tab() as tab:
            await tab.open(await login_link(server))
            await tab.wait_for(CONNECTED)
            await tab.evaluate(LOSE_ANSWERS)
            await say(tab, "one")
            await tab.wait_for(f"window.lost >= 1 && {OWN}.length === 1 && {UNSENT} === 0")
            await say(tab, "two")
            await tab.wait_for(f"{OWN}.length === 2 && {UNSENT} === 0")
            assert await tab.evaluate(NOTES) == ""
            assert await tab.evaluate("Object.keys(localStorage).filter((key) => key.includes('unsent')).length") == 0
            assert await lines_of(server, "owner") == ["one", "two"]
            assert surprises(tab) == []


async def test_with_its_stream_gone_too_a_message_is_sent_once_over_a_reload(tmp_path: Path) -> None:
    with trio.fail_after(90):
        async with daemon(tmp_path, CONFIG) as server, open_tab() as tab:
            await tab.open(await login_link(server))
            await tab.wait_for(CONNECTED)
            await tab.evaluate(LOSE_ANSWERS.replace("if (all[1].method !== 'POST') return answer;", ""))
            await tab.evaluate("dispatchEvent(new Event('offline'))")
            for text in ("one", "two", "three"):
                await say(tab, text)
            await tab.wait_for("document.querySelectorAll('#unsent .waiting').length === 3")
            assert "Not sent" not in await tab.evaluate(NOTES)
            assert await lines_of(server, "owner") == ["one"], "it arrived, and nobody told the page"
            await tab.reload()
            await tab.wait_for(f"{CONNECTED} && {UNSENT} === 0 && {OWN}.length === 3")
            await tab.reload()
            await tab.wait_for(f"{CONNECTED} && {OWN}.length === 3")
            assert await lines_of(server, "owner") == ["one", "two", "three"]


async def test_what_was_written_during_a_restart_is_sent_after_a_reload(tmp_path: Path) -> None:
    with trio.fail_after(90):
        async with open_tab() as tab:
            async with daemon(tmp_path, CONFIG) as server:
                url = server.url
                await tab.open(await login_link(server))
                await tab.wait_for(CONNECTED)
                server.kill()
                await server.wait()
            for number in range(5):
                await say(tab, f"{number}")
            await tab.wait_for("document.querySelectorAll('#unsent .waiting').length === 5")
            await tab.type("half a word")
            async with daemon(tmp_path, CONFIG, arguments=("--bind", url.removeprefix("http://"))) as server:
                await tab.reload()
                await tab.wait_for(f"{CONNECTED} && {UNSENT} === 0 && {OWN}.length === 5")
                assert await tab.evaluate("document.getElementById('text').value") == "half a word"
                assert await lines_of(server, "owner") == ["0", "1", "2", "3", "4"]


async def test_offline_messages_wait_in_order_and_go_by_themselves(tmp_path: Path) -> None:
    offline = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    with trio.fail_after(90):
        async with daemon(tmp_path, CONFIG) as server, open_tab() as tab:
            await tab.open(await login_link(server))
            await tab.wait_for(CONNECTED)
            await tab.call("Network.emulateNetworkConditions", offline=True, **offline)
            await tab.wait_for("document.getElementById('state').textContent === 'Offline'")
            for number in range(4):
                await say(tab, f"{number}")
            await tab.wait_for("document.querySelectorAll('#unsent .waiting').length === 4")
            await tab.call("Network.emulateNetworkConditions", offline=False, **offline)
            await tab.wait_for(f"{CONNECTED} && {UNSENT} === 0 && {OWN}.length === 4")
            assert await lines_of(server, "owner") == ["0", "1", "2", "3"]


async def test_what_is_refused_for_good_says_why_and_can_be_discarded(tmp_path: Path) -> None:
    """Here by what an older page left behind; words are written by nobody else."""
    with trio.fail_after(90):
        async with daemon(tmp_path, CONFIG) as server, open_tab() as tab:
            await tab.open(await login_link(server))
            await tab.wait_for(CONNECTED)
            old = {"id": "an-old-message", "text": "x" * 32_001, "at": time.time() * 1000, "why": ""}
            await tab.evaluate(f"localStorage.setItem('gatewayd.unsent.owner.an-old-message', {json.dumps(json.dumps(old))})")
            await tab.evaluate("localStorage.setItem('gatewayd.unsent.owner.broken', '{')")
            await tab.evaluate("localStorage.setItem('gatewayd.unsent.someone.else', '{}')")
            await tab.reload()
            await tab.wait_for(f"{CONNECTED} && {NOTES}.includes('Not sent: the message has 32001 characters')")
            await say(tab, "goes on")
            await tab.wait_for(f"{OWN}.length === 1")
            await tab.evaluate("[...document.querySelectorAll('#unsent button')].at(-1).click()")
            await tab.wait_for(f"{UNSENT} === 0")
            assert await tab.evaluate("Object.keys(localStorage).filter((key) => key.includes('.owner.')).length") == 0


async def test_what_has_waited_for_days_goes_only_when_the_person_says_so(tmp_path: Path) -> None:
    with trio.fail_after(90):
        async with daemon(tmp_path, CONFIG) as server, open_tab() as tab:
            await tab.open(await login_link(server))
            await tab.wait_for(CONNECTED)
            old = {"id": "an-old-message", "text": "of last week", "at": (time.time() - 7 * 86_400) * 1000, "why": ""}
            await tab.evaluate(f"localStorage.setItem('gatewayd.unsent.owner.an-old-message', {json.dumps(json.dumps(old))})")
            await tab.reload()
            await tab.wait_for(f"{CONNECTED} && {NOTES}.includes('This has waited since')")
            await say(tab, "of today")
            await tab.wait_for(f"{OWN}.length === 1")
            assert await lines_of(server, "owner") == ["of today"]
            await tab.evaluate("document.querySelector('#unsent button').click()")
            await tab.wait_for(f"{OWN}.length === 2 && {UNSENT} === 0")


async def test_the_enter_of_an_input_method_sends_nothing(tmp_path: Path) -> None:
    with trio.fail_after(90):
        async with daemon(tmp_path, CONFIG) as server, open_tab() as tab:
            await tab.open(await login_link(server))
            await tab.wait_for(CONNECTED)
            for number, order in enumerate(ORDERS.values()):
                await tab.type("か")
                await tab.evaluate(replay(order))
                assert await tab.evaluate("document.getElementById('text').value") == "か" * (number + 1)
                assert await tab.evaluate(f"{UNSENT} + {OWN}.length") == 0
            await tab.press("Enter")
            await tab.wait_for(f"{OWN}.length === 1")
            assert await lines_of(server, "owner") == ["か" * len(ORDERS)]


async def test_what_is_typed_outlives_a_reload_and_half_an_emoji_is_sent(tmp_path: Path) -> None:
    with trio.fail_after(90):
        async with daemon(tmp_path, CONFIG) as server, open_tab() as tab:
            await tab.open(await login_link(server))
            await tab.wait_for(CONNECTED)
            await tab.type("half an ")
            await tab.evaluate("document.execCommand('insertText', false, 'emoji \\ud83d')")
            await tab.reload()
            await tab.wait_for(f"{CONNECTED} && document.getElementById('text').value.startsWith('half an emoji ')")
            await tab.evaluate("document.getElementById('text').setSelectionRange(99, 99)")
            await tab.evaluate("document.execCommand('insertText', false, ' \\udc00!')")
            await tab.press("Enter")
            await tab.wait_for(f"{OWN}.length === 1 && {UNSENT} === 0")
            assert await lines_of(server, "owner") == ["half an emoji \ufffd \ufffd!"]
            await tab.reload()
            await tab.wait_for(f"{CONNECTED} && {OWN}.length === 1")
            assert await tab.evaluate("document.getElementById('text').value") == ""


async def test_selected_words_of_a_growing_reply_stay_selected(tmp_path: Path) -> None:
    select = "getSelection().setBaseAndExtent({0}.firstChild.firstChild, 0, {0}.querySelector('strong').firstChild, 3)"
    selected = "getSelection().toString()"
    with trio.fail_after(90):
        async with daemon(tmp_path, CONFIG) as server, open_tab() as tab:
            await tab.open(await login_link(server))
            await tab.wait_for(CONNECTED)
            await tab.evaluate(f"document.getElementById('text').value = {json.dumps(CODE)}")
            await tab.press("Enter")
            draft = "document.querySelector('#draft .body')"
            await tab.wait_for(f"{draft}.querySelector('.code button') && {draft}.innerText.includes('four')")
            await tab.evaluate(f"window.copy = {draft}.querySelector('.code button'); window.copy.focus()")
            await tab.evaluate(select.format(draft))
            assert await tab.evaluate(selected) == "one two"
            await tab.wait_for(f"{draft}.innerText.includes('eight')")
            assert await tab.evaluate(f"[{selected}, window.copy.isConnected, document.activeElement === window.copy]") == [
                "one two",
                True,
                True,
            ]
            await tab.wait_for(f"{BODIES}.length === 2")
            assert await tab.evaluate(selected) == "one two"
            assert await tab.evaluate("document.querySelector('#log .agent').contains(getSelection().anchorNode)")
