"""Whatever Slack does to a reply that grows, over cuts, refusals, limits and new lives of the process: it is there once, and its
end is exact."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Literal, TypeVar

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from gatewayd.kit.text.markdown import render
from gatewayd.model.errors import OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.payload import Receipt
from tests.channels.slack.sending.blocks import read
from tests.channels.slack.sending.rig import Rig, now, sending

Step = Literal["grow", "wait", "restart", "end_stream"]

METHODS = ("chat.postMessage", "chat.startStream", "chat.appendStream", "chat.update", "chat.stopStream", "conversations.replies")
WORDS = [f"word{at}" for at in range(200)]
END = "The **end** <!channel>\n\n```\nx = 1\n```"

faults = st.lists(
    st.tuples(
        st.sampled_from(METHODS),
        st.sampled_from(["drop_before", "drop_after", "hang", "hang_after", "fatal_error", "internal_error", "limit", "garbage"]),
    ),
    max_size=8,
)
openings = st.lists(
    st.sampled_from(
        ["[a link](https://example.org/a_b) ", "`a<b` ", "**x & y** ", "\U0001f389 ", "```py\nx = 1\n```\n\n", "a<b>c\n\n"]
    ),
    max_size=3,
).map("".join)
steps = st.lists(st.sampled_from(["grow", "grow", "grow", "wait", "restart", "end_stream"]), max_size=12)
T = TypeVar("T")


def arrange(rig: Rig, method: str, fault: str) -> None:
    slack = rig.slack
    match fault:
        case "fatal_error" | "internal_error":
            slack.refuse(method, fault, after=fault == "fatal_error")
        case "limit":
            slack.rate_limit(method, 30, times=1)
        case "garbage":
            slack.break_with(method, 502)
        case _:
            slack.fault(fault, method)  # type: ignore[arg-type]


async def until_done(call: Callable[[], Awaitable[T]]) -> T:
    """As the hub does with an edit or a look-up: what could not be done now is done later."""
    for _ in range(20):
        try:
            return await call()
        except TryAgain as error:
            await trio.sleep(error.after_seconds or 5)
    raise AssertionError("it never comes to an end")


async def send(rig: Rig, text: str) -> Receipt:
    """As the hub sends what can be looked up: again only when it surely was not sent."""
    since = now()
    while True:
        with suppress(OutcomeUnknown):
            return await until_done(lambda: rig.send(text, grows=True, reply_to=rig.reply_to))
        await trio.sleep(5)
        found = await until_done(lambda: rig.find(since=since, text=text, grows=True, reply_to=rig.reply_to))
        if found is not None:
            return found


@given(st.booleans(), openings, faults, steps)
def test_a_reply_is_there_once_and_its_end_is_exact(
    streaming: bool, opening: str, broken: list[tuple[str, str]], path: list[Step]
) -> None:
    async def go() -> None:
        async with sending(streaming=streaming) as rig:
            for method, fault in broken:
                arrange(rig, method, fault)
            await send_grow_and_end(rig, opening, path, streaming=streaming)
            [_, message] = rig.slack.messages(rig.general)
            blocks = [{key: it for key, it in block.items() if key != "block_id"} for block in message["blocks"]]
            assert read(blocks).replace("\n", "") == render(END).text.replace("\n", "")
            assert message.get("streaming_state") != "in_progress"

    trio.run(go, clock=MockClock(autojump_threshold=0))


async def send_grow_and_end(rig: Rig, opening: str, path: list[Step], *, streaming: bool) -> None:
    receipt = await send(rig, opening + " ".join(WORDS[:10]))
    count = 10
    for step in path:
        match step:
            case "grow":
                count += 10
                with trio.move_on_after(5), suppress(TryAgain, OutcomeUnknown, SendRejected):
                    await rig.grow(receipt, opening + " ".join(WORDS[:count]))
            case "wait":
                await trio.sleep(100)
            case "restart":
                rig = rig.restarted(streaming=streaming)
            case _:
                rig.slack.end_stream(rig.general, rig.message(receipt)["ts"])
    await trio.sleep(5)
    await until_done(lambda: rig.edit(receipt, END))
