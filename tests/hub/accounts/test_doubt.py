"""Sends that may have been seen: what becomes of them, by what the platform can do."""

from collections.abc import Sequence
from functools import partial
from math import inf

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from gatewayd.hub.operations.dead_letters import put_back
from gatewayd.model.config import OutboxSection
from gatewayd.model.errors import AnswerExpired, OutcomeUnknown, SendRejected, StoreRefused, TryAgain
from gatewayd.model.message.payload import EditText, OutboundPayload, Receipt, RichText, SendText
from gatewayd.ports.channel import ChannelPlugin, Deliver
from gatewayd.ports.store import OutboundRow
from tests.examples import examples
from tests.hub.accounts.lone import LoneSender
from tests.hub.street import ALICE, EPOCH, now

HELLO = SendText(ALICE, RichText("hello"))


class Scripted:
    """A platform and its driver. ``answers`` are those of its next calls, then all is well. ``calls`` are the calls with their
    times, ``shown`` what people see. A send that comes again within ``window`` seconds after the first is dropped."""

    def __init__(self, answers: Sequence[str] = (), *, window: float | None = None) -> None:
        self._answers = iter(answers)
        self._window = window
        self._seen: dict[str, tuple[str, float]] = {}
        self.calls: list[tuple[str, float]] = []
        self.keys: set[str] = set()
        self.shown: list[str] = []
        self.payloads: list[OutboundPayload] = []
        self.dies = trio.Event()

    async def listen(self, deliver: Deliver) -> None:
        await trio.sleep_forever()

    async def _note(self, name: str, key: str) -> None:
        self.calls.append((name, now()))
        self.keys.add(key)
        if len(self.calls) > 50:
            await trio.sleep_forever()  # who calls in circles has a mistake, and is not to spin

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        await self._note("send", key)
        self.payloads.append(payload)
        answer = next(self._answers, "fine")
        await trio.sleep(0.1)
        if answer in ("fine", "cut after", "hangs after", "dies after"):
            receipt = self._show(payload, key)
        match answer:
            case "fine":
                return receipt
            case "cut before" | "cut after":
                raise OutcomeUnknown("cut")
            case "refused store":
                raise StoreRefused("full")
            case "again":
                raise TryAgain("busy", scope="conversation")
            case "outage":
                raise TryAgain("no route", after_seconds=1000)
            case "pace":
                raise TryAgain("too fast", after_seconds=2, scope="sends")
            case "rejected":
                raise SendRejected("blocked")
            case "expired":
                raise AnswerExpired("used up")
            case "bug":
                raise KeyError("x")
            case "dies before" | "dies after":
                self.dies.set()
        await trio.sleep_forever()
        raise AssertionError

    def _show(self, payload: OutboundPayload, key: str) -> Receipt:
        known, at = self._seen.get(key, ("", -inf))
        if isinstance(payload, EditText):
            if payload.body.text not in self.shown:
                self.shown.append(payload.body.text)
            return Receipt(payload.message_id)
        if self._window is None or now() - at >= self._window:
            self.shown.append(payload.body.text)
            known = str(len(self.shown))
            self._seen.setdefault(key, (known, now()))
        return Receipt(known)


class Asked(Scripted):
    """Can be asked, too."""

    async def find_sent(self, payload: OutboundPayload, *, key: str, since: float) -> Receipt | None:
        await self._note("find", key)
        self.since = since
        answer = next(self._answers, "fine")
        await trio.sleep(0.1)
        match answer:
            case "again" | "outage" | "pace":
                raise TryAgain("busy", after_seconds=1, scope="sends" if answer == "pace" else "conversation")
            case "refused store":
                raise StoreRefused("full")
            case "cut before" | "cut after" | "expired":
                raise OutcomeUnknown("nobody remembers")
            case "bug" | "rejected":
                raise KeyError("x")
            case "wrong":
                return "17"  # type: ignore[return-value]
            case "hangs" | "hangs after":
                await trio.sleep_forever()
            case "dies before" | "dies after":
                self.dies.set()
                await trio.sleep_forever()
        found = self._seen.get(key)
        return None if found is None else Receipt(found[0])


def plugin(window: float | None = None, *, reconciles: bool = False) -> ChannelPlugin:
    return ChannelPlugin("scripted", "Scripted", "", "", resend_safe_seconds=window, reconciles=reconciles)


async def send(
    platform: Scripted, kind: ChannelPlugin, *, payload: OutboundPayload = HELLO, **outbox: object
) -> tuple[LoneSender, OutboundRow]:
    """One reply, until it has ended."""
    config = OutboxSection(**({"max_attempts": 9, "stale_after_seconds": 1e6} | outbox))  # type: ignore[arg-type]
    lone = LoneSender(kind, config)
    await lone.start()
    [row] = await lone.write(payload)
    lone.bugs = await lone.run(platform)  # type: ignore[attr-defined]
    return lone, await lone.now_of(row)


def names(platform: Scripted) -> list[str]:
    return [name for name, _ in platform.calls]


async def test_an_ordinary_send_is_two_writes(autojump_clock: MockClock) -> None:
    lone, row = await send(Scripted(), plugin())
    assert (row.state, row.doubt_since, lone.store.writes) == ("sent", None, 2)


@pytest.mark.parametrize("cut", ["cut before", "cut after", "hangs", "hangs after", "refused store"])
async def test_where_no_repeat_is_safe_a_cut_ends_it(cut: str, autojump_clock: MockClock) -> None:
    platform = Scripted([cut])
    lone, row = await send(platform, plugin())
    assert (row.state, row.attempts, row.doubt_since) == ("unknown", 1, EPOCH)
    assert names(platform) == ["send"]
    assert lone.told == [row.id]


@pytest.mark.parametrize("cut", ["cut before", "cut after", "hangs", "hangs after", "refused store"])
@pytest.mark.parametrize("window", [600.0, inf])
async def test_while_a_repeat_is_safe_it_is_sent_again_with_its_key_and_shown_once(
    cut: str, window: float, autojump_clock: MockClock
) -> None:
    platform = Scripted([cut], window=window)
    lone, row = await send(platform, plugin(window))
    assert (row.state, row.attempts, row.doubt_since, row.receipt) == ("sent", 2, None, Receipt("1"))
    assert names(platform) == ["send", "send"]
    assert (platform.shown, len(platform.keys), lone.told) == (["hello"], 1, [])


async def test_when_the_time_for_a_repeat_is_over_it_is_not_sent(autojump_clock: MockClock) -> None:
    platform = Scripted(["cut after", "again", "outage"], window=600)
    _, row = await send(platform, plugin(600))
    assert (row.state, row.reason, row.attempts, row.doubt_since) == ("unknown", "no route", 3, EPOCH)
    assert names(platform) == ["send"] * 3


async def test_the_time_that_a_send_may_take_is_counted_in(autojump_clock: MockClock) -> None:
    platform = Scripted(["cut after"], window=60)
    _, row = await send(platform, plugin(60), send_timeout_seconds=60)
    assert (row.state, names(platform)) == ("unknown", ["send"])


@pytest.mark.parametrize(
    ("then", "reason"),
    [("rejected", "blocked"), ("bug", "bug: KeyError: 'x'"), ("again", "given up after 3 attempts: busy")],
)
async def test_the_next_attempt_does_not_make_it_unseen(then: str, reason: str, autojump_clock: MockClock) -> None:
    platform = Scripted(["cut after", then, then], window=1e5)
    lone, row = await send(platform, plugin(1e5), max_attempts=3)
    assert (row.state, row.reason, row.doubt_since) == ("unknown", reason, EPOCH)
    assert (platform.shown, lone.told) == (["hello"], [row.id])


async def test_it_is_given_up_after_so_many_attempts(autojump_clock: MockClock) -> None:
    platform = Scripted(["cut before"] * 9, window=inf)
    _, row = await send(platform, plugin(inf), max_attempts=4)
    assert (row.state, row.reason, row.attempts) == ("unknown", "given up after 4 attempts: cut", 4)


async def test_a_doubtful_reply_that_becomes_stale_is_not_parked(autojump_clock: MockClock) -> None:
    platform = Scripted(["cut after", *["pace"] * 999], window=inf)
    lone, row = await send(platform, plugin(inf), stale_after_seconds=100)
    assert (row.state, row.reason, lone.told) == ("unknown", "stale", [row.id])


@pytest.mark.parametrize("kind", [plugin(), plugin(60), plugin(reconciles=True)], ids=["nothing", "keys", "asked"])
async def test_an_edit_is_sent_again_on_each_channel(kind: ChannelPlugin, autojump_clock: MockClock) -> None:
    platform = Asked(["fine", "cut after", "hangs", "cut before"])
    lone, row = await send(platform, kind)
    edit = await lone.edit(row, "changed")
    await lone.run(platform)
    edit = await lone.now_of(edit)
    assert (edit.state, edit.attempts, edit.doubt_since) == ("sent", 4, None)
    assert (platform.shown, names(platform)) == (["hello", "changed"], ["send"] * 5)


@pytest.mark.parametrize("answers", [["cut after"] * 3, ["cut after", "rejected"]])
async def test_an_edit_that_was_cut_is_never_said_to_be_unseen(answers: list[str], autojump_clock: MockClock) -> None:
    platform = Scripted(["fine", *answers])
    lone, row = await send(platform, plugin(), max_attempts=3)
    edit = await lone.edit(row, "changed")
    await lone.run(platform)
    assert (await lone.now_of(edit)).state == "unknown"
    assert platform.shown == ["hello", "changed"]


# Platforms that can be asked.


@pytest.mark.parametrize("cut", ["cut before", "cut after", "hangs", "hangs after"])
async def test_a_platform_that_can_be_asked_is_asked_before_a_repeat(cut: str, autojump_clock: MockClock) -> None:
    platform = Asked([cut])
    _, row = await send(platform, plugin(reconciles=True))
    arrived = cut.endswith("after")
    assert (row.state, row.doubt_since, row.receipt) == ("sent", None, Receipt("1"))
    assert names(platform) == (["send", "find"] if arrived else ["send", "find", "send"])
    assert (platform.shown, platform.since, len(platform.keys)) == (["hello"], EPOCH, 1)
    assert row.attempts == 2, "the look-up that led to a send counts for nothing"


async def test_within_the_time_for_a_repeat_it_is_not_asked(autojump_clock: MockClock) -> None:
    platform = Asked(["cut after", "outage"], window=600)
    _, row = await send(platform, plugin(600, reconciles=True))
    assert row.state == "sent"
    assert (names(platform), platform.shown) == (["send", "send", "find"], ["hello"])


async def test_a_send_after_an_answer_has_a_doubt_of_its_own(autojump_clock: MockClock) -> None:
    platform = Asked(["cut before", "fine", "cut before", "expired"])
    _, row = await send(platform, plugin(reconciles=True))
    assert row.state == "unknown"
    assert row.doubt_since == platform.since > EPOCH
    rejected = Asked(["cut before", "fine", "rejected"])
    _, row = await send(rejected, plugin(reconciles=True))
    assert (row.state, row.doubt_since) == ("dead", None), "surely nobody has seen it"


@pytest.mark.parametrize("later", ["again", "pace", "hangs", "refused store"])
async def test_what_cannot_be_told_now_is_asked_later(later: str, autojump_clock: MockClock) -> None:
    platform = Asked(["cut after", later, later])
    _, row = await send(platform, plugin(reconciles=True))
    assert (row.state, names(platform)) == ("sent", ["send", "find", "find", "find"])
    assert row.attempts == (2 if later == "pace" else 4)


async def test_what_is_never_told_is_unknown_after_so_many_attempts(autojump_clock: MockClock) -> None:
    platform = Asked(["cut after", *["again"] * 9])
    lone, row = await send(platform, plugin(reconciles=True), max_attempts=3)
    assert (row.state, row.reason, row.attempts) == ("unknown", "given up after 3 attempts: busy", 3)
    assert (names(platform), lone.told) == (["send", "find", "find"], [row.id])


@pytest.mark.parametrize(
    ("answer", "reason", "bugs"),
    [
        ("expired", "nobody remembers", 0),
        ("bug", "bug: KeyError: 'x'", 1),
        ("wrong", "bug: find_sent returned neither None nor a Receipt with the message's id as a text", 1),
    ],
)
async def test_what_can_never_be_told_is_unknown(answer: str, reason: str, bugs: int, autojump_clock: MockClock) -> None:
    platform = Asked(["cut after", answer])
    lone, row = await send(platform, plugin(reconciles=True))
    assert (row.state, row.reason, lone.told) == ("unknown", reason, [row.id])
    assert lone.bugs == bugs  # type: ignore[attr-defined]
    assert names(platform) == ["send", "find"]


async def test_a_driver_that_cannot_do_what_its_manifest_says_has_a_bug(autojump_clock: MockClock) -> None:
    lone, row = await send(Scripted(["cut after"]), plugin(reconciles=True))
    assert (row.state, lone.bugs) == ("unknown", 1)  # type: ignore[attr-defined]
    assert row.reason == "bug: the manifest says that the channel reconciles, and it has no find_sent"


async def test_an_answer_that_has_expired_is_not_sent_the_plain_way_after_a_doubt(autojump_clock: MockClock) -> None:
    payload = SendText(ALICE, RichText("hello"), answer_with="token-1")
    platform = Scripted(["cut after", "expired"], window=inf)
    _, row = await send(platform, plugin(inf), payload=payload)
    assert (row.state, row.reason, platform.shown) == ("unknown", "used up", ["hello"])
    assert platform.payloads == [payload, payload]


# What an operator retries.


async def retry(lone: LoneSender, row: OutboundRow) -> None:
    rule = partial(put_back, accounts={("scripted", "main"): None}, by="operator:ann", note=None, now=now())
    [done] = (await lone.store.retry_dead_letters([f"out-{row.id}"], rule, now=now())).done
    assert isinstance(done.row, OutboundRow)
    lone.outbox.requeue(done.row, done.was)


@pytest.mark.parametrize(
    ("then", "state", "calls"),
    [
        ([], "sent", 2),
        (["again", "again"], "sent", 4),
        (["rejected"], "unknown", 2),
        (["cut after"], "unknown", 2),
        (["again", "cut before"], "unknown", 3),
    ],
)
async def test_a_retry_is_for_one_send(then: list[str], state: str, calls: int, autojump_clock: MockClock) -> None:
    platform = Scripted(["cut before", *then])
    lone, row = await send(platform, plugin())
    await retry(lone, row)
    await lone.run(platform)
    row = await lone.now_of(row)
    assert (row.state, names(platform), len(platform.keys)) == (state, ["send"] * calls, 1)
    assert row.doubt_since == (None if state == "sent" else EPOCH)


async def test_a_retry_that_is_cut_is_not_repeated_when_its_time_may_run_out(autojump_clock: MockClock) -> None:
    platform = Scripted(["cut before", "cut before", "cut before"], window=600)
    lone, row = await send(platform, plugin(600), max_attempts=2)
    await retry(lone, row)
    await lone.run(platform)
    assert ((await lone.now_of(row)).state, names(platform)) == ("unknown", ["send"] * 3)


@pytest.mark.parametrize(
    ("then", "state", "calls"),
    [
        (["fine"], "sent", ["find"]),
        (["expired"], "sent", ["find", "send"]),
        (["expired", "rejected"], "unknown", ["find", "send"]),
        (["expired", "cut after", "fine"], "sent", ["find", "send", "find"]),
        (["expired", "cut after", "again", "expired"], "unknown", ["find", "send", "find", "find"]),
        (["expired", "again", "expired"], "sent", ["find", "send", "find", "send"]),
        (["bug"], "unknown", ["find"]),
    ],
)
async def test_a_retry_is_looked_up_first(then: list[str], state: str, calls: list[str], autojump_clock: MockClock) -> None:
    platform = Asked(["cut after", "expired", *then])
    lone, row = await send(platform, plugin(reconciles=True))
    assert row.state == "unknown"
    await retry(lone, row)
    await lone.run(platform)
    assert ((await lone.now_of(row)).state, names(platform)[2:]) == (state, calls)


async def test_each_retry_may_send_once_where_the_platform_can_never_tell(autojump_clock: MockClock) -> None:
    platform = Asked(["cut after", "expired", *["expired", "cut after", "expired"] * 2])
    lone, row = await send(platform, plugin(reconciles=True))
    for _ in range(2):
        await retry(lone, row)
        await lone.run(platform)
        assert (await lone.now_of(row)).state == "unknown"
    assert names(platform) == ["send", *["find", "find", "send"] * 2, "find"]


# Whatever happens.


ANSWERS = [
    *("fine", "cut before", "cut after", "hangs", "hangs after", "refused store", "again", "outage", "pace", "rejected", "bug"),
    *("expired", "wrong", "dies before", "dies after"),
]
KINDS = [plugin(), plugin(200.0), plugin(inf), plugin(reconciles=True), plugin(200.0, reconciles=True)]


@settings(max_examples=examples(300), deadline=None)
@example(["cut after", "rejected"], KINDS[1], 9)
@example(["dies after", "again", "rejected"], KINDS[2], 9)
@given(st.lists(st.sampled_from(ANSWERS), max_size=8), st.sampled_from(KINDS), st.integers(1, 5))
def test_whatever_happens_a_reply_is_shown_once_and_never_said_to_be_unseen(
    answers: list[str], kind: ChannelPlugin, max_attempts: int
) -> None:
    async def go() -> None:
        platform = Asked(answers, window=kind.resend_safe_seconds)
        config = OutboxSection(send_timeout_seconds=20, max_attempts=max_attempts, stale_after_seconds=10_000)
        lone = LoneSender(kind, config)
        await lone.start()
        [row] = await lone.write(HELLO)
        for _ in range(len(answers) + 2):
            await live(lone, platform)
        row = await lone.now_of(row)
        assert row.state not in ("ready", "sending"), "it ends"
        seen = len(platform.shown)
        assert seen <= 1, "it is shown once"
        assert row.state != "sent" or seen == 1
        assert row.state not in ("dead", "parked") or seen == 0, "nobody has seen it"
        assert (row.state == "unknown") == (row.doubt_since is not None)
        assert (row.state == "unknown") == (lone.told == [row.id])
        assert len(platform.keys) <= 1
        check_calls(platform.calls, answers, kind)

    trio.run(go, clock=MockClock(autojump_threshold=0))


async def live(lone: LoneSender, platform: Scripted) -> None:
    """A life of the process, until nothing waits or it is gone in the middle of a call."""
    platform.dies = trio.Event()
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await lone.run(platform)
            nursery.cancel_scope.cancel()

        nursery.start_soon(run)
        await platform.dies.wait()
        # What it does from here on is undone: a process that is gone writes nothing.
        rows, told = dict(lone.store._outbound), list(lone.told)
        nursery.cancel_scope.cancel()
    if platform.dies.is_set():
        lone.store._outbound, lone.told = rows, told
        await trio.sleep(1)
        await lone.start()


def check_calls(calls: list[tuple[str, float]], answers: Sequence[str], kind: ChannelPlugin) -> None:
    """A small model: when which call may be made."""
    doubt: float | None = None
    for (name, at), answer in zip(calls, [*answers, *["fine"] * len(calls)], strict=False):
        safe = kind.resend_safe_seconds
        may_send = doubt is None or (safe is not None and at - doubt + 20 < safe)
        assert name == ("send" if may_send else "find"), (name, at, doubt)
        assert name == "send" or kind.reconciles
        if name == "send" and answer not in ("again", "outage", "pace", "rejected", "bug", "expired"):
            doubt = at if doubt is None else doubt
        elif name == "find" and answer == "fine":
            doubt = None
