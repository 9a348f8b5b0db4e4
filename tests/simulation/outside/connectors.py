"""Programs that bring messages over HTTP, each under keys of its own: the same keys as the others', and again after no answer."""

from random import Random
from typing import TYPE_CHECKING, Final

import trio

from gatewayd.model.errors import Conflict
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender, connector_key
from gatewayd.ports.store import InboundRow
from tests.simulation.outside.platforms import Account, place_of
from tests.simulation.trace import Violation

if TYPE_CHECKING:
    from tests.simulation.outside.troubles import Plan
    from tests.simulation.world import World

_WORDS: Final = ("say", "say", "long", "slow", "tool", "ask")
_USERS: Final = ("101", "102")


class Connector:
    """``taken`` are the rows that it was told of, by account and key."""

    def __init__(self, world: "World", name: str, rng: Random) -> None:
        self.name = name
        self.taken: dict[tuple[str, str], int] = {}
        self.brought: dict[tuple[str, str], InboundEnvelope] = {}
        self._world = world
        self._rng = rng

    def plan(self) -> "Plan":
        """What it brings, and when."""
        found: Plan = []
        accounts = [account for account in self._world.accounts.values() if not self._world.is_calm(account)]
        for _ in range(self._rng.choice((0, 0, 1, 3))):
            account, key = self._rng.choice(accounts), f"k{self._rng.randrange(2)}"
            at = self._rng.uniform(0, self._world.scenario.seconds)
            found.append((at, lambda account=account, key=key: self._world.start(self._bring, account, key)))  # type: ignore[misc]
        return found

    async def _bring(self, account: Account, key: str) -> None:
        """Until it is taken, or its account is gone; then perhaps once more, and perhaps another message under the same key."""
        known = str(account), key
        again = known in self.brought
        envelope = self.brought.setdefault(known, self._message(account, key))
        self._world.trace.tell(self.name, f"brings {key} for {account}: {envelope.text!r}")
        self._world.count("connectors: messages, again" if again else "connectors: messages")
        for _ in range(self._rng.choice((1, 1, 2, 3))):
            while (answer := await self._ask_or_complain(envelope)) is None:
                if account in self._world.away:
                    return
                await trio.sleep(self._rng.uniform(0.1, 20.0))
            self._look_at(known, *answer)
        if self._rng.random() < 0.4:
            await self._ask_for_another(account, key)

    async def _ask_for_another(self, account: Account, key: str) -> None:
        self._world.count("connectors: another text under a known key")
        try:
            answer = await self._ask(self._message(account, key, "another"))
        except Conflict:
            return
        if answer is not None:
            self._violated(f"another text under {key} of {account} was taken as in-{answer[0].id}")

    async def _ask_or_complain(self, envelope: InboundEnvelope) -> tuple[InboundRow, bool] | None:
        try:
            return await self._ask(envelope)
        except Conflict as refused:
            self._violated(f"{envelope.given_key} was refused, and is the key of nothing else: {refused.reason}")
            return None

    async def _ask(self, envelope: InboundEnvelope) -> tuple[InboundRow, bool] | None:
        return await self._world.lives[-1].bring(envelope) if self._world.lives else None

    def _look_at(self, known: tuple[str, str], row: InboundRow, duplicate: bool) -> None:
        first = self.taken.setdefault(known, row.id)
        if first != row.id or row.envelope.text != self.brought[known].text:
            self._violated(f"{known} is in-{first}, and was told to be in-{row.id} ({row.envelope.text!r})")
        if duplicate:
            self._world.count("connectors: repeats that were known")

    def _message(self, account: Account, key: str, word: str | None = None) -> InboundEnvelope:
        user = self._rng.choice(_USERS)
        peer = account.placed(Peer("dm", user) if self._rng.random() < 0.6 else Peer("group", "-1001"))
        text = f"<{place_of(account.channel, account.name, peer)}> {self.name}.{key} {word or self._rng.choice(_WORDS)}"
        return InboundEnvelope(
            channel=account.channel,
            account=account.name,
            event_key=connector_key(self.name, key),
            kind="message",
            peer=peer,
            sender=Sender(user),
            text=text,
            addressed=True,
            via=f"connector:{self.name}",
        )

    def _violated(self, what: str) -> None:
        violation = Violation("taken once", f"{self.name}: {what}")
        self._world.fail(violation)
        raise violation
