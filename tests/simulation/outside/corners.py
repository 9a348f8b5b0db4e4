"""Corners: situations that a run meets rarely. One seed in four goes deep into one of them, on top of all else that it does."""

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from msgspec.structs import replace

from gatewayd.hub.gateway import Gateway
from gatewayd.model.errors import Conflict
from gatewayd.model.message.envelope import Peer
from gatewayd.model.records.approval import Scope, SessionGrant
from tests.simulation.outside.cores import Core
from tests.simulation.outside.platforms import Account, Update
from tests.simulation.outside.troubles import Plan, Troubles

if TYPE_CHECKING:
    from tests.simulation.life import Life
    from tests.simulation.world import World

Name = Literal[
    "prompts behind reloads",
    "agents behind a yes",
    "crashes behind actions",
    "answers cut at their commit",
    "crashes while a reply grows",
]
CORNERS: Final[tuple[Name, ...]] = (
    "prompts behind reloads",
    "agents behind a yes",
    "crashes behind actions",
    "answers cut at their commit",
    "crashes while a reply grows",
)
_EVERY: Final = 4
_TIMES: Final = 4
_CHAT: Final = Peer("dm", "101")


def corner_of(seed: int) -> Name | None:
    """By the seed's number and not by chance: of any twenty in a row each corner has one."""
    return CORNERS[seed // _EVERY % len(CORNERS)] if seed % _EVERY == 0 else None


class Corner:
    """The corner of one seed, if it has one; where nothing may crash there is none. It has a stream of chance of its own, so the
    seeds without a corner are the runs that they would be if there were none."""

    def __init__(self, world: "World", troubles: Troubles) -> None:
        self._world = world
        self._troubles = troubles
        self._rng = world.rng_of("corner")
        self.name = corner_of(world.seed) if world.scenario.mood == "rough" else None
        self._left = _TIMES
        self._edit: tuple[Account, Update] | None = None
        if self.name is None:
            return
        world.count(f"corners: {self.name}")
        if self.name == "crashes while a reply grows":
            world.scenario = replace(world.scenario, frame=replace(world.scenario.frame, growing=True))
            for account in world.accounts.values():
                account.on_growth = self._note_growth
        for core in world.cores:
            core.on_action = partial(self._note_action, core)
            if self.name == "agents behind a yes":
                # Both name their requests alike, as far as they know them.
                core.memory = "server"
            elif self.name == "crashes behind actions" and core.memory == "server":
                core.memory = "journal"

    def plan(self) -> Plan:
        """What is done of itself: when, and what."""
        found: Plan = []
        rng, world = self._rng, self._world
        for _ in range(_TIMES if self.name is not None else 0):
            at, account = rng.uniform(0, world.scenario.seconds), rng.choice(list(world.accounts.values()))
            write = partial(world.people.write, account, _CHAT)
            if self.name == "answers cut at their commit":
                found.append((at, partial(write, "ask")))
                continue
            if self.name == "crashes while a reply grows":
                polled = [one for one in world.accounts.values() if one.channel == "polled"]
                found.append((at, partial(world.people.write, rng.choice(polled), _CHAT, "slow")))
                continue
            if self.name == "prompts behind reloads":
                found += [(max(0.0, at - 1), partial(self._offer, "input")), (at + 5, partial(self._offer, "tool"))]
                found += [(at + seconds, self._allow("session")) for seconds in (5.5, 9.0)]
                found += [(at + seconds, partial(write, "tool")) for seconds in (10.0, 12.0, 14.0)]
            else:
                found += [(at + seconds, self._allow("once")) for seconds in (2.0, 4.0, 7.0, 12.0)]
            found.append((at, partial(write, "tool")))
        return found

    def corrects(self) -> bool:
        """Whether the next answer to a question is changed at once, and cut at its commit."""
        return self.name == "answers cut at their commit" and self._spend()

    def cut_at(self, account: Account, edit: Update) -> None:
        """The process is to die as soon as this edit is in the store, before anything is done about it."""
        self._edit = account, edit

    def pass_commit(self, life: "Life") -> None:
        """A commit is done, and nobody has heard of it."""
        if self._edit is not None and not self._world.is_quiet and self._is_stored(*self._edit):
            self._edit = None
            life.crash("when an answer and its edit were stored")

    def _is_stored(self, account: Account, update: Update) -> bool:
        sql = "SELECT 1 FROM inbound WHERE (channel, account, event_key) = (?, ?, ?)"
        with closing(sqlite3.connect(self._world.state_dir / "gatewayd.db")) as connection:
            key = account.channel, account.name, account.key_of(update.number)
            return connection.execute(sql, key).fetchone() is not None

    def _spend(self) -> bool:
        self._left -= 1
        return self._left >= 0

    def _offer(self, grant: SessionGrant) -> None:
        """A reload: prompts that are shown from now on say this of a yes for the session."""
        world = self._world
        world.frames = {
            name: replace(frame, approvals=replace(frame.approvals, session_grant=grant, quorum=1))
            for name, frame in world.frames.items()
        }
        world.trace.tell("operator", f"lets a yes for the session cover: {grant}")
        self._troubles.reload()

    def _allow(self, scope: Scope) -> Callable[[], object]:
        return partial(self._world.operate, "allows", partial(_allow_all, scope=scope))

    def _note_action(self, core: Core) -> None:
        """An agent has done what it was allowed, and its turn may go on for a while."""
        if self.name not in ("agents behind a yes", "crashes behind actions") or not self._spend():
            return
        cut = partial(self._world.take_down, _nothing, when="behind an action")
        act = cut if self.name == "crashes behind actions" else partial(self._replace, core)
        self._world.later(self._rng.choice((0.0, 0.01, 1.0)), act)

    def _note_growth(self) -> None:
        """More of a reply was shown."""
        if self._spend():
            cut = partial(self._world.take_down, _nothing, when="while a reply grows")
            self._world.later(self._rng.choice((0.0, 0.01, 1.0, 5.0, 20.0)), cut)

    def _replace(self, core: Core) -> None:
        """The agent is taken away, by a reload or over a restart: another one takes its messages."""
        world = self._world
        if world.is_quiet or any(other in world.away for other in world.cores):
            return
        if self._rng.random() < 0.5:
            world.take_down(partial(self._troubles.leave_out, core), when="while an agent is taken away")
        else:
            self._troubles.take_away(core)
        world.later(self._rng.choice((20.0, 40.0)), partial(self._troubles.bring_back, core))


async def _allow_all(gateway: Gateway, scope: Scope) -> None:
    for row in await gateway.approvals.list("pending"):
        with suppress(Conflict):
            await gateway.approvals.decide(row.id, allow=True, by="operator:alice", scope=scope)


def _nothing() -> None:
    pass
