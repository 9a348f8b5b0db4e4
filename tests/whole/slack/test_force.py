"""kill -9 where Slack differs from other ways in: look-ups, threads, growth by edits and streams, files, prompts, backfills.

The points of one message's walk are in tests/whole/force/test_kill.py, for Slack as for every other way.
"""

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from gatewayd.model.ids import AccountId, ConversationId
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import RichText, SendFile
from gatewayd.ports.store import OutboundDraft
from gatewayd.stores.sqlite import open_store
from tests.whole.force.force import KILLED, Bench
from tests.whole.force.points import ASK, BACKFILL, DOUBT, UPLOAD, Point
from tests.whole.process import Daemon
from tests.whole.slack.rig import Workspace
from tests.whole.walks import Walk, until

pytestmark = pytest.mark.force

THREAD, DIRECT = 1, 2
TOLD = "tell " + "of a dark and stormy night on which the rain fell in torrents, except at occasional intervals."
APPROVERS = """
[agents.assistant.approvals]
ask = ["owners"]
[approvals.groups.owners]
people = ["slack:{alice}"]
"""


class Places(Walk):
    """Two chats: a thread in a channel, which begins with a mention and goes on without one, and a direct message. Slack sends
    nothing twice, so what is lost is in the histories only."""

    def __init__(self, place: Workspace, *, more: str = "") -> None:
        self.name = "slack socket"
        self.place = place
        self.more = more
        self.root: str | None = None
        self._said: list[tuple[int, str]] = []
        place.slack.retry_events(False)

    @property
    def accounts(self) -> str:
        return self.place.account(more=self.more)

    async def attach(self, gateway: Daemon) -> None:
        """An account that was never connected looks for nothing that was said before."""
        await until(lambda: bool(self.place.slack.connections) or gateway.process.poll() is not None)

    def say(self, chat: int, text: str) -> None:
        place = self.place
        self._said.append((chat, text))
        if chat == DIRECT:
            place.slack.say(place.alice, place.dm, text)
        elif self.root is None:
            self.root = place.slack.say(place.alice, place.general, f"{place.mention} {text}")
        else:
            place.slack.say(place.bob, place.general, text, thread=self.root)

    def all_acknowledged(self) -> bool:
        """All of it is answered: what was lost on its way is not known otherwise to have arrived."""
        return all(f"re: {text}" in self.shown(chat) for chat, text in self._said)

    def shown(self, chat: int) -> list[str]:
        if chat == DIRECT:
            return self.place.said(self.place.dm)
        return [] if self.root is None else self.place.said(self.place.general, thread=self.root)

    async def texts(self, chat: int, gateway: Daemon) -> list[str]:
        return self.shown(chat)


@asynccontextmanager
async def bench_in(folder: Path, *, more: str = "", agent: str = "") -> AsyncIterator[tuple[Places, Bench]]:
    with trio.fail_after(120):
        async with Workspace.serve(folder / "slack") as place:
            walk = Places(place, more=more)
            yield walk, Bench(walk, folder, agent=agent.format(alice=place.alice))
            nowhere_else = {THREAD: walk.shown(THREAD), DIRECT: walk.shown(DIRECT)}
            assert len(place.said(place.general)) == len(nowhere_else[THREAD]), "something was shown outside of its thread"


@pytest.mark.parametrize("first", ["sending", "called"])
@pytest.mark.parametrize("then", DOUBT, ids=[point.name for point in DOUBT])
async def test_killed_while_a_reply_is_looked_up(tmp_path: Path, first: str, then: Point) -> None:
    async with bench_in(tmp_path) as (walk, bench):
        async with bench.start(at=first) as gateway:
            walk.say(THREAD, "first")
            assert await gateway.wait() == KILLED
        async with bench.start(at=then.name) as gateway:
            assert await gateway.wait() == KILLED
        walk.say(DIRECT, "second")
        async with bench.start() as gateway:
            await bench.wait_quiet(gateway)
            assert await bench.check(gateway, {THREAD: ["first"], DIRECT: ["second"]}) == []
            assert walk.shown(THREAD) == ["re: first"]
            assert await gateway.stop() == 0
    [posted, *_] = walk.place.slack.calls("chat.postMessage")
    assert posted["metadata"]["event_type"] == "gatewayd_send"


@pytest.mark.parametrize("at", ["received", "journaled", "called"])
async def test_killed_in_a_thread_that_was_joined_just_now(tmp_path: Path, at: str) -> None:
    """What follows in it needs no mention: that the bot is in it is committed with the mention, or found again with it."""
    async with bench_in(tmp_path) as (walk, bench):
        async with bench.start() as gateway:
            walk.say(DIRECT, "before")
            await bench.wait_quiet(gateway)
            assert await gateway.stop() == 0
        async with bench.start(at=at) as gateway:
            walk.say(THREAD, "first")
            assert await gateway.wait() == KILLED
        walk.say(THREAD, "second")
        async with bench.start() as gateway:
            await bench.wait_quiet(gateway)
            walk.say(THREAD, "third")
            await bench.wait_quiet(gateway)
            assert await bench.check(gateway, {THREAD: ["first", "second", "third"], DIRECT: ["before"]}) == []


EDITED = [("shown", 1), ("growing", 1), ("called", 1), ("ended", 1), ("called", 2)]
STREAMED = [("sending", 1), ("called", 1), ("growing", 1), ("ended", 1), ("called", 2)]


@pytest.mark.parametrize(("streaming", "at", "nth"), [*((False, *it) for it in EDITED), *((True, *it) for it in STREAMED)])
async def test_killed_while_a_reply_grows(tmp_path: Path, streaming: bool, at: str, nth: int) -> None:
    """The whole answer is in the message in which it began, also where it was not known whether that was shown."""
    more = f"growing = true\nstreaming = {str(streaming).lower()}\n"
    async with bench_in(tmp_path, more=more) as (walk, bench):
        async with bench.start(at=at, nth=nth) as gateway:
            walk.say(THREAD, TOLD)
            assert await gateway.wait() == KILLED
        async with bench.start() as gateway:
            await bench.wait_quiet(gateway)
            assert walk.shown(THREAD) == [f"re: {TOLD}"]
            assert [effect.text for effect in bench.effects()] == [TOLD]
            assert [(row.state, row.reason) for row in bench.rows()[0]] == [("done", "answered")]
            assert await gateway.stop() == 0
        slack, place = walk.place.slack, walk.place
        assert not [one for one in slack.messages(place.general) if one.get("streaming_state") == "in_progress"]
        assert bool(slack.calls("chat.startStream")) == streaming


@pytest.mark.parametrize("point", ASK, ids=[point.name for point in ASK])
async def test_killed_while_a_prompt_is_open(tmp_path: Path, point: Point) -> None:
    """Somebody presses the button whenever it is there and Slack can tell. Slack tells of no press twice."""

    async def press_it(place: Workspace) -> None:
        while True:
            ts = await place.wait_button(place.general, "Allow once")
            if place.slack.connections:
                place.press(place.alice, place.general, ts, "Allow once")
            await trio.sleep(0.5)

    async with bench_in(tmp_path, agent=APPROVERS) as (walk, bench), trio.open_nursery() as nursery:
        nursery.start_soon(press_it, walk.place)
        async with bench.start(at=point.name) as gateway:
            walk.say(THREAD, "ask first")
            assert await gateway.wait() == KILLED
        walk.say(DIRECT, "second")
        async with bench.start() as gateway:
            await bench.wait_quiet(gateway)
            assert [text for text in walk.shown(THREAD) if text.startswith("re: ")] == ["re: ask first"]
            assert walk.shown(DIRECT) == ["re: second"]
            assert sorted(effect.text for effect in bench.effects()) == ["ask first", "second"]
            listed = await gateway.get("/v1/approvals?state=all")
            used = [row for row in listed["approvals"] if row["consumed_at"]]  # type: ignore[attr-defined]
            assert len(used) == (2 if point.name == "used" else 1)
            await walk.place.wait_text(walk.place.general, f"Allowed by slack:{walk.place.alice}")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("pressed", [0, -1], ids=["older", "newer"])
async def test_a_prompt_is_shown_anew_after_a_kill_and_either_counts_once(tmp_path: Path, pressed: int) -> None:
    """It was pressed while nobody listened, and Slack tells of no press twice: the new prompt says that it waits still."""
    async with bench_in(tmp_path, agent=APPROVERS) as (walk, bench):
        place = walk.place
        async with bench.start() as gateway:
            walk.say(THREAD, "ask first")
            first = await place.wait_button(place.general, "Allow once")
            await gateway.wait_status(lambda snapshot: snapshot.outbox.ready == snapshot.outbox.sending == 0)
            gateway.kill()
            await gateway.wait()
        await place.slack.wait_until(lambda: not place.slack.connections)
        place.press(place.alice, place.general, first, "Allow once")
        await place.slack.wait_delivered()
        assert place.slack.outcomes()[-1] == "lost"
        async with bench.start() as gateway:
            await place.slack.wait_until(lambda: len(place.with_button(place.general, "Allow once")) == 2)
            await gateway.wait_status(lambda snapshot: snapshot.outbox.ready == snapshot.outbox.sending == 0)
            assert bench.effects() == []
            for ts in (place.with_button(place.general, "Allow once")[pressed],) * 2:
                place.press(place.alice, place.general, ts, "Allow once")
            await place.wait_text(place.general, "re: ask first", thread=walk.root)
            await place.slack.wait_until(lambda: not place.with_button(place.general, "Allow once"))
            await bench.wait_quiet(gateway)
            assert [effect.text for effect in bench.effects()] == ["ask first"]
            assert len([text for text in walk.shown(THREAD) if f"Allowed by slack:{place.alice}" in text]) == 2
            listed = await gateway.get("/v1/approvals?state=all")
            assert len(listed["approvals"]) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("at", [*(point.name for point in UPLOAD), "sending", "called"])
async def test_killed_while_a_file_goes_out(tmp_path: Path, at: str) -> None:
    async with bench_in(tmp_path) as (walk, bench):
        place, content = walk.place, b"some words\n" * 1000
        async with bench.start() as gateway:
            walk.say(DIRECT, "before")
            await bench.wait_quiet(gateway)
            assert await gateway.stop() == 0
        await queue_file(bench.state_dir, Peer("dm", place.alice), content)
        async with bench.start(at=at) as gateway:
            assert await gateway.wait() == KILLED
        walk.say(DIRECT, "after")
        async with bench.start() as gateway:
            await bench.wait_quiet(gateway)
            assert await gateway.stop() == 0
        files = [file for one in place.slack.messages(place.dm) for file in one.get("files", ())]
        assert [place.slack.workspace.contents[file["id"]] for file in files] == [content]
        assert walk.shown(DIRECT) == ["re: before", "words", "re: after"]


async def queue_file(state_dir: Path, peer: Peer, content: bytes) -> None:
    """A file that waits in the outbox, as the hub writes it."""
    name = secrets.token_hex(16)
    folder = state_dir / "files"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / name).write_bytes(content)
    payload = SendFile(peer, name, "words.txt", len(content), "text/plain", RichText("words"))
    conversation = str(ConversationId(AccountId("slack", "main"), peer))
    async with open_store(state_dir, now=time.time) as store:
        await store.add_outbound([OutboundDraft("slack", "main", conversation, payload)], now=time.time())


@pytest.mark.parametrize("at", [*((point.name, 1) for point in BACKFILL), ("received", 1), ("journaled", 1), ("journaled", 2)])
async def test_killed_while_it_reads_back_what_it_missed(tmp_path: Path, at: tuple[str, int]) -> None:
    point, nth = at
    async with bench_in(tmp_path) as (walk, bench):
        async with bench.start() as gateway:
            walk.say(THREAD, "before")
            await bench.wait_quiet(gateway)
            assert await gateway.stop() == 0
        said = {THREAD: ["before", "first", "second"], DIRECT: ["third", "fourth"]}
        for chat, texts in said.items():
            for text in texts[-2:]:
                walk.say(chat, text)
        async with bench.start(at=point, nth=nth) as gateway:
            assert await gateway.wait() == KILLED
        async with bench.start() as gateway:
            await bench.wait_quiet(gateway)
            assert await bench.check(gateway, said) == []
