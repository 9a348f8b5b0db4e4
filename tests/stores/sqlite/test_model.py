"""The store against a model in plain Python, with crashes between and within the commits.

A crash is a copy of the files taken while the store is open: what a kill leaves behind. A torn one cuts the copied log at any
byte, as a power cut does on a disk that did not write all: then the store must be in some earlier state, whole.
"""

import shutil
import tempfile
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import get_args

import trio
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gatewayd.model.lifecycle import SendOutcome
from gatewayd.ports.store import EventDraft
from gatewayd.stores.sqlite import SqliteStore, open_store
from gatewayd.testing.store_contract.rows import EVERY_ACCOUNT, draft, envelope
from tests.examples import examples

KEYS = st.sampled_from("abcdefgh")
SETTLED = st.sampled_from(get_args(SendOutcome))


@dataclass
class Model:
    """What the store must say. Inbound: key -> [state, attempts]; outbound: [text, state, attempts, whether it has a
    doubt]; in the order of ids."""

    inbound: dict[str, list[str | int]] = field(default_factory=dict)
    outbound: list[list[str | int]] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)
    state: str | None = None

    def add(self, keys: list[str], value: str) -> list[str]:
        new = [key for key in dict.fromkeys(keys) if key not in self.inbound]
        self.inbound.update({key: ["received", 0] for key in new})
        self.state = value
        return new

    def start(self, key: str) -> None:
        row = self.inbound.get(key)
        if row and row[0] in ("received", "running"):
            row[:] = ["running", int(row[1]) + 1]

    def end(self, keys: list[str], replies: list[str]) -> None:
        live = [self.inbound[key] for key in keys if self.inbound.get(key, ["done"])[0] in ("received", "running")]
        for row in live:
            row[0] = "done"
        if live:
            self.outbound += [[text, "ready", 0, False] for text in replies]

    def mark(self, index: int) -> bool:
        row = self.outbound[index]
        if row[1] != "ready":
            return False
        row[1:3] = ["sending", int(row[2]) + 1]
        return True

    def settle(self, index: int, state: str, in_doubt: bool | None) -> None:
        row = self.outbound[index]
        was, doubt = row[1], bool(row[3])
        allowed = {
            "sending": {"ready", "sent", "unknown"} | (set() if doubt else {"dead"}),
            "ready": {"ready"} | ({"unknown"} if doubt else {"parked"}),
        }
        if state in allowed.get(str(was), ()):
            if state == "ready":
                doubt = doubt if in_doubt is None else in_doubt
            row[1], row[3] = state, state == "unknown" or (doubt and state != "sent")

    def recover(self) -> None:
        for row in self.outbound:
            if row[1] == "sending":
                row[1], row[3] = "unknown", True


async def read(store: SqliteStore) -> Model:
    """The whole store as a Model."""
    said = Model(state=await store.load_state("telegram", "main", "offset"))
    keys = [await store.find_inbound("telegram", "main", key) for key in "abcdefgh"]
    for inbound in sorted((row for row in keys if row), key=lambda row: row.id):
        said.inbound[inbound.envelope.event_key] = [inbound.state, inbound.attempts]
    number = 1
    while outbound := await store.get_outbound(number):
        doubt = outbound.doubt_since is not None
        said.outbound.append([outbound.payload.body.text, outbound.state, outbound.attempts, doubt])
        number += 1
    said.events = [bytes(event.data) for event in await store.events_after(0, limit=1000)]
    return said


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.portal_manager = start_blocking_portal("trio")
        self.portal = self.portal_manager.__enter__()
        self.directory = self.root / "0"
        self.open()
        self.model = Model()
        self.history = [deepcopy(self.model)]

    def open(self) -> None:
        self.opened = self.portal.wrap_async_context_manager(open_store(self.directory, now=lambda: 0.0))
        self.store = self.opened.__enter__()
        # A cache of a few pages: changes reach the log long before their commit.
        self.portal.call(self.store._write, lambda connection: connection.execute("PRAGMA cache_size = 5").fetchall())

    def teardown(self) -> None:
        self.opened.__exit__(None, None, None)
        self.portal_manager.__exit__(None, None, None)
        shutil.rmtree(self.root)

    def committed(self) -> None:
        self.history.append(deepcopy(self.model))

    @initialize(texts=st.lists(st.text(max_size=20), max_size=3))
    def start_with_some_replies(self, texts: list[str]) -> None:
        self.portal.call(partial(self.store.add_outbound, [draft(text) for text in texts], now=1.0))
        self.model.outbound += [[text, "ready", 0, False] for text in texts]
        self.committed()

    @rule(keys=st.lists(KEYS, max_size=4), value=st.text(max_size=5))
    def add_inbound(self, keys: list[str], value: str) -> None:
        journaled = self.portal.call(
            partial(self.store.add_inbound, [envelope(key) for key in keys], state=[("telegram", "main", "offset", value)])
        )
        assert [row.envelope.event_key for row in journaled.rows] == self.model.add(keys, value)
        self.committed()

    def id_of(self, key: str) -> int:
        row = self.portal.call(self.store.find_inbound, "telegram", "main", key)
        return row.id if row else 10_000

    @rule(key=KEYS)
    def start_turn(self, key: str) -> None:
        self.portal.call(partial(self.store.start_turn, [self.id_of(key)], turn_id="turn", session_key="key"))
        self.model.start(key)
        self.committed()

    @rule(keys=st.lists(KEYS, max_size=3), replies=st.lists(st.text(max_size=3000), max_size=3))
    def end_inbound(self, keys: list[str], replies: list[str]) -> None:
        before = len(self.model.outbound)
        rows = self.portal.call(
            partial(
                self.store.end_inbound,
                [self.id_of(key) for key in keys],
                state="done",
                reason="answered",
                now=2.0,
                replies=[draft(text) for text in replies],
            )
        )
        self.model.end(keys, replies)
        assert [row.payload.body.text for row in rows] == [text for text, *_ in self.model.outbound[before:]]
        self.committed()

    @precondition(lambda self: self.model.outbound)
    @rule(data=st.data())
    def mark_sending(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.model.outbound) - 1))
        assert self.portal.call(self.store.mark_sending, index + 1) == self.model.mark(index)
        self.committed()

    @precondition(lambda self: self.model.outbound)
    @rule(data=st.data(), state=SETTLED, in_doubt=st.none() | st.booleans())
    def settle_outbound(self, data: st.DataObject, state: SendOutcome, in_doubt: bool | None) -> None:
        index = data.draw(st.integers(0, len(self.model.outbound) - 1))
        self.portal.call(partial(self.store.settle_outbound, index + 1, state, now=3.0, in_doubt=in_doubt))
        self.model.settle(index, state, in_doubt)
        self.committed()

    @rule(count=st.integers(0, 5))
    def add_events(self, count: int) -> None:
        datas = [b'{"n":%d}' % number for number in range(count)]
        before = len(self.model.events)
        events = self.portal.call(self.store.add_events, [EventDraft(at=1.0, kind="test", data=data) for data in datas])
        assert [event.seq for event in events] == list(range(before + 1, before + count + 1))
        self.model.events += datas
        self.committed()

    @rule()
    def recover(self) -> None:
        status = self.portal.call(partial(self.store.recover_outbound, EVERY_ACCOUNT, stale_before=0.0, now=4.0))
        self.model.recover()
        states = [row[1] for row in self.model.outbound]
        assert (status.ready, status.unknown, status.dead) == tuple(states.count(each) for each in ("ready", "unknown", "dead"))
        assert status.sending == 0
        self.committed()

    @rule()
    def stop_and_start(self) -> None:
        self.opened.__exit__(None, None, None)
        self.open()
        self.history = self.history[-1:]  # the log has gone into the file: nothing earlier can come back

    def next_directory(self) -> Path:
        return self.root / str(int(self.directory.name) + 1)

    def go_on_in(self, copy: Path) -> None:
        self.opened.__exit__(None, None, None)
        shutil.rmtree(self.directory)
        self.directory = copy
        self.open()

    @rule()
    def crash(self) -> None:
        copy = self.next_directory()
        shutil.copytree(self.directory, copy)
        self.go_on_in(copy)

    @rule(text=st.text(max_size=30_000), keys=st.lists(KEYS, min_size=1, max_size=4))
    def crash_within_a_batch(self, text: str, keys: list[str]) -> None:
        """Before the crash nobody is told; after it nothing of the batch is there."""
        copy = self.next_directory()

        async def batch() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(self.store.add_outbound, [draft(text)] * 5, now=1.0))
                nursery.start_soon(self.store.add_inbound, [envelope(key) for key in keys])
                nursery.start_soon(self.store._write, lambda connection: shutil.copytree(self.directory, copy))
                nursery.start_soon(partial(self.store.add_outbound, [draft(text)], now=1.0))

        commits = self.store.statistics().commits
        self.portal.call(batch)
        assert self.store.statistics().commits == commits + 1
        self.go_on_in(copy)

    @rule(keep=st.floats(0, 1))
    def torn_crash(self, keep: float) -> None:
        copy = self.next_directory()
        shutil.copytree(self.directory, copy)
        log = copy / "gatewayd.db-wal"
        if log.exists():
            with log.open("r+b") as file:
                file.truncate(int(log.stat().st_size * keep))
        self.go_on_in(copy)
        found = self.portal.call(read, self.store)
        states = [number for number, model in enumerate(self.history) if model == found]
        assert states, "not a state the store was ever in"
        self.history = self.history[: states[-1] + 1]
        self.model = deepcopy(self.history[-1])

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        assert self.portal.call(read, self.store) == self.model


StoreMachine.TestCase.settings = settings(
    max_examples=examples(10), stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestStoreIsItsModel = StoreMachine.TestCase
