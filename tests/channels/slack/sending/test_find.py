"""A send of unknown outcome is looked up: what was done is found, what surely was not is sent again, and nothing is guessed."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from gatewayd.channels.slack.sending.find import MOST_PAGES
from gatewayd.model.errors import NeedsOperator, OutcomeUnknown, TryAgain
from gatewayd.model.message.payload import EditText, Receipt, RichText, SendFile
from tests.channels.slack.sending.rig import EPOCH, Rig, now, sending
from tests.fakes.slack_platform import BOT, BOT_USER

LONG_AGO = EPOCH - 60


async def cut(rig: Rig, *, after: bool = True, method: str = "chat.postMessage", **more: Any) -> float:
    """A send whose answer was lost; when it began."""
    since = now()
    rig.slack.fault("drop_after" if after else "drop_before", method)
    with pytest.raises(OutcomeUnknown):
        await rig.send(**more)
    await trio.sleep(5)
    return since


@pytest.mark.parametrize("where", ["thread", "peer", "direct"])
async def test_what_was_sent_is_found_and_what_was_not_is_not(where: str, autojump_clock: MockClock) -> None:
    async with sending() as rig:
        peer = getattr(rig, where)
        since = await cut(rig, peer=peer, after=False)
        assert await rig.find(peer, since=since) is None
        since = await cut(rig, peer=peer)
        found = await rig.find(peer, since=since)
        assert found is not None
        assert rig.message(found)["text"] == "hello"
        assert found == await rig.restarted().find(peer, since=since)


@pytest.mark.parametrize("error", ["fatal_error", "internal_error"])
async def test_an_error_after_the_effect_is_looked_up(error: str, autojump_clock: MockClock) -> None:
    async with sending() as rig:
        since = now()
        rig.slack.refuse("chat.postMessage", error, after=True)
        with pytest.raises(OutcomeUnknown):
            await rig.send()
        await trio.sleep(5)
        assert await rig.find(since=since) is not None


async def test_another_message_with_the_same_words_is_not_it(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        since = now()
        await rig.send(key="another")
        rig.slack.say(rig.alice, rig.general, "hello", thread=rig.asked)
        await trio.sleep(5)
        assert await rig.find(since=since) is None


@pytest.mark.parametrize("where", ["thread", "peer"])
async def test_it_is_found_among_many_in_small_pages(where: str, autojump_clock: MockClock) -> None:
    async with sending() as rig:
        peer = getattr(rig, where)
        for at in range(20):
            rig.slack.say(rig.alice, rig.general, f"before {at}", thread=peer.thread)
        since = await cut(rig, peer=peer)
        for at in range(40):
            rig.slack.say(rig.alice, rig.general, f"later {at}", thread=peer.thread)
        rig.slack.small_pages()
        assert await rig.find(peer, since=since) is not None
        assert await rig.find(peer, since=since, key="never") is None, "all pages were read"


async def test_a_window_that_is_too_long_to_read_tells_nothing(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        since = await cut(rig, after=False)
        rig.slack.small_pages()
        for at in range(15 * MOST_PAGES):
            rig.slack.say(rig.alice, rig.general, f"later {at}", thread=rig.asked)
        with pytest.raises(OutcomeUnknown, match="pages"):
            await rig.find(since=since)
        assert len(rig.slack.calls("conversations.replies")) == MOST_PAGES


async def test_a_clock_that_is_far_ahead_hides_no_answer(autojump_clock: MockClock) -> None:
    """What is answered was said before, by Slack's own clock."""
    async with sending() as rig:
        await rig.send(reply_to=rig.reply_to)
        await trio.sleep(5)
        assert await rig.find(since=now() + 7200, reply_to=rig.reply_to) is not None


@pytest.mark.parametrize("odd", [None, [], {}, 7, "x", {"event_type": "gatewayd_send", "event_payload": []}])
async def test_what_others_wrote_may_have_anything_in_it(odd: Any, autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        since = await cut(rig)
        for name in ("user", "bot_id", "team", "user_team", "metadata"):
            channel = rig.slack.workspace.channel(rig.general)
            fields = {"user": rig.alice, "text": "odd", "thread_ts": rig.asked}
            rig.slack.workspace.post(channel, fields)[name] = odd
        assert await rig.find(since=since, grows=True) is not None
        assert await rig.find(since=since, grows=True, key="never") is None


@pytest.mark.parametrize("body", [b'{"ok":true}', b'{"ok":true,"channel":7}', b'{"ok":true,"channel":"C1","ts":"soon"}'])
async def test_a_message_that_is_out_is_not_sent_again_for_an_odd_answer(body: bytes, autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        for method in ("chat.startStream", "chat.postMessage"):
            rig.slack.break_with(method, 200, body=body)
        assert await rig.send(QUESTION, grows=True, reply_to=rig.reply_to) == Receipt()
        assert await rig.send() == Receipt()
        assert len(rig.slack.calls("chat.postMessage")) == 1


async def test_pages_that_end_before_the_window_tell_nothing(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        since = await cut(rig, after=False)
        rig.slack.break_with("conversations.replies", 200, body=b'{"ok":true,"messages":[],"has_more":true}')
        with pytest.raises(OutcomeUnknown, match="pages"):
            await rig.find(since=since)


async def test_an_account_that_is_out_of_order_is_looked_up_later(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        since = await cut(rig)
        rig.slack.refuse("conversations.replies", "account_inactive")
        with pytest.raises(NeedsOperator):
            await rig.find(since=since)
        assert await rig.find(since=since) is not None


async def test_a_limit_is_waited_for(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        since = await cut(rig)
        rig.slack.rate_limit("conversations.replies", 60)
        with pytest.raises(TryAgain) as caught:
            await rig.find(since=since)
        assert caught.value.after_seconds == 60
        await trio.sleep(60)
        assert await rig.find(since=since) is not None


async def test_an_outage_of_the_history_is_waited_for(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        since = await cut(rig)
        rig.slack.fault("drop_before", "conversations.replies", times=3)
        with pytest.raises(TryAgain):
            await rig.find(since=since)
        assert await rig.find(since=since) is not None


async def test_a_history_that_may_not_be_read_tells_nothing_and_parks_nobody(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        since = await cut(rig)
        rig.slack.remove_scope("channels:history")
        with pytest.raises(OutcomeUnknown, match="channels:history"):
            await rig.find(since=since)


async def test_a_send_that_was_just_cut_may_be_on_its_way(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        with pytest.raises(TryAgain) as caught:
            await rig.find(since=now())
        assert caught.value.after_seconds is not None
        await trio.sleep(caught.value.after_seconds)
        assert await rig.find(since=now() - caught.value.after_seconds) is None
        assert await rig.find(since=now() + 3600) is None, "a clock that was set back"


async def test_what_has_no_key_can_never_be_told(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        file = SendFile(rig.thread, "f1", "a.txt", 3)
        with pytest.raises(OutcomeUnknown):
            await rig.sender.find_sent(file, key="k", since=LONG_AGO)
        with pytest.raises(OutcomeUnknown):
            await rig.find(since=LONG_AGO, only_for=rig.alice)
        url = rig.command_url()
        with pytest.raises(OutcomeUnknown):
            await rig.find(rig.peer, since=LONG_AGO, answer_with=url)
        assert await rig.find(rig.peer, since=LONG_AGO, answer_with=url, grows=True) is None, "it never goes by the URL"
        await rig.send(peer=rig.peer)
        assert await rig.find(rig.peer, since=LONG_AGO, answer_with=url) is not None, "it was sent the plain way"


async def test_an_edit_may_be_made_again_whatever_became_of_it(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        edit = EditText(rig.thread, RichText("new"), of=1, message_id=f"{rig.general}:{rig.asked}")
        assert await rig.sender.find_sent(edit, key="k", since=LONG_AGO) is None
        assert rig.slack.log == []


QUESTION = "This is the beginning of a long answer about **everything** and more. And"


async def test_a_stream_is_found_by_its_thread_author_time_and_words(autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        await rig.send("an earlier answer", key="earlier")
        rig.slack.say(rig.alice, rig.general, QUESTION, thread=rig.asked)
        await rig.send(QUESTION, key="another")
        about: dict[str, Any] = {"grows": True, "reply_to": rig.reply_to}
        since = await cut(rig, text=QUESTION, method="chat.startStream", after=False, **about)
        assert await rig.find(since=since, text=QUESTION, **about) is None
        since = await cut(rig, text=QUESTION, method="chat.startStream", **about)
        found = await rig.find(since=since, text=QUESTION, **about)
        assert found is not None
        assert rig.message(found)["text"].startswith("This is the beginning")
        assert await rig.find(since=since, text="Other words", **about) is None
        assert await rig.find(since=since - 3600, text=QUESTION, **about) is None, "of another time"


@pytest.mark.parametrize(
    "text",
    [
        "See [the docs](https://example.org/a_b) of it, which say. And",
        "```python\nprint('<!channel>')\n```\n\nthat is all. And",
        "Is a<b & c>d?\n\nThat depends. And",
        "No ```py\nx = `1`\nand *that* is no code. And",
        "- *one*\n  - `two` 🎉\n\nand \u05e9\u05dc\u05d5\u05dd \u4f60\u597d. And",
    ],
)
async def test_a_stream_is_found_whatever_its_markup_is(text: str, autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        about: dict[str, Any] = {"grows": True, "reply_to": rig.reply_to}
        since = await cut(rig, text=text, method="chat.startStream", **about)
        assert await rig.find(since=since, text=text, **about) is not None


@pytest.mark.parametrize(
    "kept",
    [
        "See <https://example.org/a_b|the docs> &amp; &lt;b&gt; :tada: *of* <https://example.org>, ",
        "See [the docs](https://example.org/a_b) & &lt;b&gt; \U0001f389 **of** https://example.org, ",
        "See the docs & <b> \U0001f389 of https://example.org, ",
    ],
)
async def test_a_stream_is_found_in_whatever_form_slack_keeps_it(kept: str, autojump_clock: MockClock) -> None:
    text = "See [the docs](https://example.org/a_b) & <b> \U0001f389 **of** https://example.org, which say"
    async with sending(streaming=True) as rig:
        since = now()
        post(rig, text="See other docs")
        found = post(rig, text=kept)
        await trio.sleep(5)
        assert await rig.find(since=since, text=text, grows=True) == Receipt(f"{rig.general}:{found}")


async def test_a_file_or_a_longer_reply_is_not_the_stream_that_was_begun(autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        since = now()
        post(rig, text="", files=[{"id": "F1"}])
        post(rig, text=f"{QUESTION} more")
        await trio.sleep(5)
        assert await rig.find(since=since, text=QUESTION, grows=True) is None


def post(rig: Rig, **fields: Any) -> str:
    """A message of the bot in the thread, without a key."""
    own = {"user": BOT_USER, "bot_id": BOT, "thread_ts": rig.asked}
    ts: str = rig.slack.workspace.post(rig.slack.workspace.channel(rig.general), {**own, **fields})["ts"]
    return ts


async def test_of_two_streams_none_is_chosen(autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        about: dict[str, Any] = {"grows": True, "reply_to": rig.reply_to}
        since = await cut(rig, text=QUESTION, method="chat.startStream", **about)
        await cut(rig, text=QUESTION, method="chat.startStream", **about)
        with pytest.raises(OutcomeUnknown, match="two streams"):
            await rig.find(since=since, text=QUESTION, **about)
