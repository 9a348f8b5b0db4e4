"""What every test by force needs: a gateway that is killed and started again on one state, and what must be true in the end."""

import signal
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Literal

import msgspec
import trio
from msgspec import Struct

from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.model.message.payload import OutboundPayload
from gatewayd.model.status import Snapshot
from tests.whole.process import PROGRAM, Daemon, EndedEarly, daemon, run_to_end
from tests.whole.scripted.recorder import Effect, effects, install
from tests.whole.walks import Walk

KILLED = -signal.SIGKILL
QUIET_SECONDS = 60.0


class Said(Struct, frozen=True):
    """An inbound row, as the store has it."""

    text: str
    state: str
    reason: str | None
    turn_id: str | None


class Reply(Struct, frozen=True):
    """An outbound row, as the store has it."""

    text: str
    state: str
    reason: str | None


class Bench:
    """One state directory, one way in, an agent that writes down what it does; daemons come and go."""

    def __init__(
        self,
        walk: Walk,
        folder: Path,
        *,
        agent: str = "",
        gateway: str = "",
        state_dir: Path | None = None,
        bind: str | None = None,
        core: str | None = None,
    ) -> None:
        self.walk = walk
        self.state_dir = state_dir or folder / "state"
        self.effects_file = folder / "effects"
        self.env = install(folder / "site")
        self.log = folder / "log"
        self._config_file = folder / "gatewayd.toml"
        own = f'core = "recorder"\nfile = "{self.effects_file}"'
        public = "" if walk.public_url is None else f'public_url = "{walk.public_url}"'
        self.config = f"[gateway]\n{public}\n{gateway}\n[agents.assistant]\n{core or own}\n{agent}\n{walk.accounts}"
        self._bind = () if bind is None else ("--bind", bind)

    @asynccontextmanager
    async def start(
        self, *, at: str | None = None, nth: int = 1, gate: Path | None = None, clock: Path | None = None
    ) -> AsyncIterator[Daemon]:
        """A daemon; with ``at`` one that dies there. The walk is attached to it.

        :raises EndedEarly: it ended before it was ready.
        """
        options = {"--at": at, "--nth": str(nth) if at else None, "--gate": gate, "--clock": clock}
        words = [str(word) for option, value in options.items() if value is not None for word in (option, value)]
        program = ("-m", "tests.whole.force.killed", *words, "--") if words else PROGRAM
        self._write_config()
        arguments = ("--config", str(self._config_file), *self._bind)
        async with daemon(self.state_dir, arguments=arguments, env=self.env, program=program, log=self.log) as gateway:
            await self.walk.attach(gateway)
            yield gateway

    async def refused(self) -> tuple[int, str]:
        """Start a daemon that is expected to refuse; its exit code and what it said."""
        self._write_config()
        return await run_to_end(self.state_dir, "--config", str(self._config_file), *self._bind, env=self.env)

    async def die(self, at: str, nth: int, *, within_seconds: float = 3.0) -> Literal["there", "elsewhere"]:
        """Run a daemon until it dies at the point; if it does not come there in time, it is killed where it is."""
        try:
            async with self.start(at=at, nth=nth) as gateway:
                with trio.move_on_after(within_seconds):
                    await gateway.process.wait()
                gateway.kill()
                return "there" if await gateway.wait() == KILLED else "elsewhere"
        except EndedEarly as early:
            if early.code != KILLED:
                raise
            return "there"

    async def wait_quiet(self, gateway: Daemon) -> Snapshot:
        """Wait until everything that was said is acknowledged and has come to its end."""
        with trio.fail_after(QUIET_SECONDS):
            while True:
                snapshot = await gateway.wait_status(is_quiet)
                if self.walk.all_acknowledged():
                    # Acknowledged first, then quiet: what was acknowledged just now is counted in this one.
                    snapshot = await gateway.status()
                    if is_quiet(snapshot):
                        return snapshot
                await trio.sleep(0.02)

    def _write_config(self) -> None:
        self._config_file.write_text(self.config)

    def effects(self) -> list[Effect]:
        return effects(self.effects_file)

    def rows(self) -> tuple[list[Said], list[Reply]]:
        """The truth. Only while no daemon runs on it, or for rows that do not change any more."""
        with closing(sqlite3.connect(f"file:{self.state_dir / 'gatewayd.db'}?mode=ro", uri=True)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            said = [
                Said(msgspec.json.decode(envelope, type=InboundEnvelope).text, *rest)
                for envelope, *rest in connection.execute("SELECT envelope, state, reason, turn_id FROM inbound ORDER BY id")
            ]
            # What has a subject belongs to a request, and is no reply.
            found = connection.execute("SELECT payload, state, reason FROM outbound WHERE subject IS NULL ORDER BY id")
            replies = [Reply(_text_of(payload), *rest) for payload, *rest in found]
        return said, replies

    async def check(self, gateway: Daemon, said: Mapping[int, Sequence[str]]) -> list[str]:
        """What must hold when all is quiet, for what was ``said`` in each chat. The texts of replies that nobody knows of.

        Each message has one row that ended with a reason, one effect, one reply; each reply is visible once, or its row says
        that nobody knows, and then at most once; each chat reads in the order in which it was said.
        """
        rows, replies = self.rows()
        everything = sorted(text for texts in said.values() for text in texts)
        assert sorted(row.text for row in rows) == everything, "a message was lost, or journaled twice"
        otherwise = {(row.state, row.reason) for row in rows} - {("done", "answered")}
        assert not otherwise, f"not every message was answered: {otherwise}"
        assert sorted(effect.text for effect in self.effects()) == everything, "an effect was lost, or had twice"
        assert sorted(reply.text for reply in replies) == [f"re: {text}" for text in everything]
        assert {reply.state for reply in replies} <= {"sent", "unknown"}
        unknown = [reply.text for reply in replies if reply.state == "unknown"]
        for chat, texts in said.items():
            # A prompt of a request is no reply.
            seen = [text for text in await self.walk.texts(chat, gateway) if text.startswith("re: ")]
            wanted = [f"re: {text}" for text in texts]
            missing = [text for text in wanted if text not in seen]
            assert set(missing) <= set(unknown), "a reply that was recorded as sent is not there"
            assert seen == [text for text in wanted if text in seen], "a reply was doubled, or is out of order"
        return unknown


def is_quiet(snapshot: Snapshot) -> bool:
    """Every account is connected, and nothing is on its way."""
    outbox, lanes, waiting = snapshot.outbox, snapshot.lanes, snapshot.counters["inbound_waiting"]
    connected = all(account.state == "connected" for account in snapshot.accounts)
    return connected and not any((outbox.ready, outbox.sending, lanes.live, lanes.waiting, waiting))


def _text_of(payload: bytes) -> str:
    decoded: OutboundPayload = msgspec.json.decode(payload, type=OutboundPayload)
    return decoded.body.text
