"""What goes wrong, and what operators do to accounts and to the configuration: drawn before the run."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from gatewayd.model.message.envelope import Peer
from tests.simulation.outside.cores import Core
from tests.simulation.outside.people import meddle
from tests.simulation.outside.platforms import Account
from tests.simulation.scenario import change, change_grants

if TYPE_CHECKING:
    from tests.simulation.world import World

Plan = list[tuple[float, Callable[[], object]]]
ACCOUNTS_AWAY: Final = "accounts taken away by a reload"
AGENTS_AWAY: Final = "agents taken away by a reload"


class Troubles:
    def __init__(self, world: "World") -> None:
        self._world = world
        self._rng = world.rng_of("troubles")

    def plan(self) -> Plan:
        """Illnesses of the disk, outages of accounts and agents, and what operators do: when, and what."""
        return [*self._illnesses(), *self._outages(), *self._meddling(), *self._reloads(), *self._vanishing()]

    @property
    def _touched(self) -> list[Account]:
        return [account for account in self._world.accounts.values() if not self._world.is_calm(account)]

    def _some_time(self) -> float:
        return self._rng.uniform(0, self._world.scenario.seconds)

    def _illnesses(self) -> Plan:
        found: Plan = []
        for _ in range(self._world.scenario.chances.illnesses):
            at = self._some_time()
            found += [(at, partial(self._set_illness, self._rng.choice(("full", "io"))))]
            found += [(at + self._rng.uniform(1, 60), self._heal)]
        return found

    def _outages(self) -> Plan:
        found: Plan = []
        chances = self._world.scenario.chances
        ill: list[Account | Core] = [self._rng.choice(self._touched).weather for _ in range(chances.outages)]  # type: ignore[misc]
        ill += [self._world.cores[0]] * chances.agent_outages
        for one in ill:
            at = self._some_time()
            found += [
                (at, partial(setattr, one, "down", True)),
                (at + self._rng.uniform(1, 90), partial(setattr, one, "down", False)),
            ]
        return found

    def _meddling(self) -> Plan:
        """Accounts are stopped, started and restarted."""
        found: Plan = []
        if self._rng.random() < self._world.scenario.chances.operator / 2:
            for _ in range(self._rng.randint(1, 4)):
                account, how = self._rng.choice(self._touched), self._rng.choice(("stop", "start", "restart"))
                act = partial(self._world.operate, how, partial(meddle, account=account, how=how))
                found.append((self._some_time(), act))
        return found

    def _reloads(self) -> Plan:
        """Sections change; accounts and agents are taken away, and come back, or do not."""
        found: Plan = []
        world, rng = self._world, self._rng
        if world.scenario.mood != "rough":
            return found
        if world.scenario.focus == "tools" or rng.random() < world.scenario.chances.operator / 2:
            found += [(self._some_time(), self._change_sections) for _ in range(rng.randint(1, 3))]
        if rng.random() < 0.35:
            found += self._away(rng.choice(self._touched))
        if rng.random() < 0.2:
            found += self._away(rng.choice(world.cores))
        return found

    def _vanishing(self) -> Plan:
        """An account is taken away while the daemon is down and one of its turns may go on at its agent's server, and is back
        soon: somebody writes there."""
        world, rng = self._world, self._world.rng_of("vanishing")
        if world.scenario.mood != "rough" or rng.random() >= 0.2:
            return []
        account, chat = rng.choice(self._touched), Peer("dm", "101")
        at = rng.uniform(0, world.scenario.seconds)
        gone = at + rng.uniform(1, 15)
        back = gone + rng.choice((5.0, 20.0, 40.0))
        return [
            (at, partial(world.people.write, account, chat, "slow")),
            (gone, partial(world.take_down, partial(self.leave_out, account), when="while an account is taken away")),
            (back, partial(self.bring_back, account)),
            (back + rng.choice((0.1, 2.0)), partial(world.people.write, account, chat, "say")),
        ]

    def _away(self, one: Account | Core) -> Plan:
        at, rng = self._some_time(), self._rng
        found: Plan = [(at, partial(self.take_away, one))]
        if rng.random() < 0.7:
            found.append((at + rng.choice((0.0, 0.01, 1.0, 20.0, 60.0)), partial(self.bring_back, one)))
        return found

    def take_away(self, one: Account | Core) -> None:
        """By a reload. One agent always stays."""
        if isinstance(one, Core) and any(other in self._world.away for other in self._world.cores if other is not one):
            return
        self.leave_out(one)
        self.reload()

    def leave_out(self, one: Account | Core) -> None:
        """It is not in the configuration that is read next."""
        self._world.count(ACCOUNTS_AWAY if isinstance(one, Account) else AGENTS_AWAY)
        self._world.trace.tell("operator", f"takes {one} away")
        self._world.away.add(one)
        if isinstance(one, Account):
            one.was_away = True

    def bring_back(self, one: Account | Core) -> None:
        """By a reload."""
        self._world.trace.tell("operator", f"brings {one} back")
        self._world.away.discard(one)
        self.reload()

    def _change_sections(self) -> None:
        """Somebody writes another configuration, and has it read."""
        world = self._world
        world.sections = change(world.scenario.sections, self._rng)
        world.frames = {name: change_grants(frame, self._rng) for name, frame in world.frames.items()}
        world.changes.append((world.now(), frozenset(world.sections[0].identity_links.get("boss", ()))))
        self._world.trace.tell("operator", "changes the configuration")
        self._world.count("other reloads")
        self.reload()

    def reload(self) -> None:
        """Have the configuration read anew, if there is a daemon."""
        if self._world.lives:
            self._world.lives[-1].reload()

    def _set_illness(self, illness: str) -> None:
        self._world.trace.tell("disk", f"falls ill: {illness}")
        self._world.disk.illness = illness  # type: ignore[assignment]

    def _heal(self) -> None:
        self._world.trace.tell("disk", "is well again")
        self._world.disk.illness = "none"
