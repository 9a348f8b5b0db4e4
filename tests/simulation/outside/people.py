"""Who writes, presses, approves and operates: drawn before the run, and reactions to what becomes visible."""

import re
from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

from gatewayd.hub.gateway import Gateway
from gatewayd.model.message.envelope import Origin, Peer, Sender
from gatewayd.model.records.dead_letter import DeadLetterFilter
from tests.simulation.outside.platforms import Account, Mark, Shown, Update, place_of
from tests.simulation.scenario import APPROVERS, Scenario

if TYPE_CHECKING:
    from tests.simulation.world import World

_WORDS: Final = {
    "say": 30,
    "long": 4,
    "nothing": 2,
    "slow": 5,
    "notice": 2,
    "fail": 2,
    "bug": 1,
    "garbage": 1,
    "wreck": 1,
    "hang": 1,
    "again": 2,
    "tool": 16,
    "tools": 6,
    "ask": 10,
}
_FOCUSED: Final[dict[str, dict[str, int]]] = {
    "everything": _WORDS,
    "questions": _WORDS | {"ask": 80},
    "tools": _WORDS | {"tool": 80, "tools": 20},
}
_QUIET_WORDS: Final = {"say": 8, "long": 1, "nothing": 1}
_COMMANDS: Final = ("/stop", "/new", "/status")
_CODE = re.compile(r"/approve ([A-Z0-9]+)")
_AGAIN = re.compile(r"may not have arrived.*/show (R[A-Z0-9]{7})")
_PAIRING = re.compile(r"pairing approve ([A-Z0-9]+)")
_USERS: Final = ("101", "102")
_STRANGER: Final = "109"
_BYSTANDER: Final = "108"
"""In every group; writes no turn on purpose."""
_MARKS: Final = (Mark(forwarded=Origin(name="Somebody")), Mark(via_bot="gif"), Mark(caption=True))


class People:
    """``written`` are the messages that want an answer, with the words in them."""

    def __init__(self, world: "World", rng: Random, scenario: Scenario) -> None:
        self._world = world
        self._rng = rng
        self._scenario = scenario
        self._impatience = world.rng_of("impatience")
        self._gaps = world.rng_of("gaps")
        self.presses: dict[tuple[str, int], str] = {}
        """Of every press: who may have pressed it (the account and the update's number)."""

    def plan(self) -> list[tuple[float, Callable[[], None]]]:
        """What they do of themselves: when, and what."""
        rng, seconds = self._rng, self._scenario.seconds
        acts: list[tuple[float, Callable[[], None]]] = []
        for _ in range(self._scenario.messages):
            account = rng.choice(list(self._world.accounts.values()))
            at = rng.uniform(0, seconds)
            for _ in range(rng.choice((1, 1, 1, 2, 5))):
                acts.append((at, partial(self.write, account, self._chat(rng), self._word(account))))
                at += rng.choice((0.0, 0.01, 0.5))
            if rng.random() < 0.15:
                acts.append((at + rng.uniform(0, 5), partial(self.write, account, self._chat(rng), rng.choice(_COMMANDS))))
            if rng.random() < 0.15:
                acts.append((at + rng.choice((0.0, 0.1, 3.0)), partial(self._edit, account)))
            if rng.random() < 0.15 and not self._world.is_calm(account):
                acts.append((at + rng.uniform(0, 5), partial(self._pass_on, account, self._chat(rng))))
            if rng.random() < 0.15 and not self._world.is_calm(account):
                acts.append(
                    (at + rng.uniform(0, 5), partial(self._stand_by, account, rng.choice(("/stop", "/stop", "/new", "say"))))
                )
        return acts

    def see(self, account: Account, shown: Shown) -> None:
        """A message has become visible, or has changed: people react, or do not."""
        rng = self._rng
        self._world.later(rng.uniform(0.1, 8.0), partial(self._react, account, shown, len(shown.texts)))

    def lose_patience(self, account: Account, peer: Peer, seconds: float) -> None:
        """Where a chat has to wait, an operator sends once more what did not arrive there before."""
        if self._impatience.random() < 0.7:
            act = partial(self._world.operate, "sends again", partial(send_again, account=account, peer=peer))
            self._world.later(self._impatience.uniform(0, seconds), act)

    def _react(self, account: Account, shown: Shown, version: int) -> None:
        rng = self._rng
        if len(shown.texts) != version:
            return
        text = shown.texts[-1]
        datas = [choice.data for row in shown.choices for choice in row]
        if datas and account.forgets_presses and self._gaps.random() < 0.4:
            self._world.take_down(partial(self._press, account, shown, datas[0]), when="before a press")
        elif datas:
            for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
                self._press(account, shown, rng.choice(datas))
        if code := _CODE.search(text):
            for who in rng.sample(APPROVERS, k=rng.choice((0, 1, 2))):
                self._write_text(account, shown.peer, Sender(who), f"{rng.choice(('/approve', '/approve', '/deny'))} {code[1]}")
            if rng.random() < 0.3:
                self._hear_say(account, shown.peer, Sender(rng.choice(APPROVERS)), f"/approve {code[1]}")
        if " asks which" in text and "**Answer**" not in text:
            if self._world.corner.corrects():
                self._correct(account, shown.peer)
            elif rng.random() < (0.5 if datas else 0.7):
                self._answer(account, shown.peer)
        if (code := _AGAIN.search(text)) and rng.random() < 0.5:
            self._world.count("replies of unknown outcome shown again")
            self._write_text(account, shown.peer, Sender(self._somebody(shown.peer)), f"/show {code[1]}")
        if code := _PAIRING.search(text):
            self._world.operate("pairing", lambda gateway: gateway.let_in(code[1], by="alice"))

    def _answer(self, account: Account, peer: Peer) -> None:
        """Somebody answers in words, and perhaps changes them: while the daemon is away, too."""
        rng = self._rng
        if peer.kind != "dm" and rng.random() < 0.4:
            self._world.count("bystanders: answers")
            self._write_text(account, peer, Sender(_BYSTANDER), rng.choice(("1", "/skip", "neither")))
        sender, said = Sender(self._somebody(peer)), rng.choice(("1", "that", "/skip", "neither"))
        changed = rng.choice(("2", "this", "otherwise")) if rng.random() < 0.5 and said != "/skip" else None
        if rng.random() >= 0.5:
            self._say_and_change(account, peer, sender, said, changed, rng.choice((0.0, 0.01, 1.0)))
        elif self._world.take_down(lambda: self._say_and_change(account, peer, sender, said, changed, 0.0)) and changed:
            self._world.count("edits of answers while the daemon was down")

    def _correct(self, account: Account, peer: Peer) -> None:
        """Somebody answers and changes the answer at once, and the process dies when both are stored."""
        sender = Sender(self._somebody(peer))
        written = self._write_text(account, peer, sender, "1")
        edit = account.happen("edit", peer, sender, "2", message_id=written.message_id)
        self._world.count("edits of answers")
        self._world.corner.cut_at(account, edit)

    def _say_and_change(self, account: Account, peer: Peer, sender: Sender, said: str, changed: str | None, after: float) -> None:
        written = self._write_text(account, peer, sender, said)
        if changed is None:
            return
        self._world.count("edits of answers")
        edit: Callable[[], object] = partial(account.happen, "edit", peer, sender, changed, message_id=written.message_id)
        if after:
            self._world.later(after, edit)
        else:
            edit()

    def _pass_on(self, account: Account, peer: Peer) -> None:
        """Somebody forwards a text, takes one from a bot, or writes it under a picture: perhaps one that would be a command."""
        peer = account.placed(peer)
        place = place_of(account.channel, account.name, peer)
        text = self._rng.choice(("/stop", "/new", "/status", f"<{place}> {len(account.updates) + 1} say"))
        self._hear_say(account, peer, Sender(self._somebody(peer)), text)

    def _hear_say(self, account: Account, peer: Peer, sender: Sender, text: str) -> None:
        mark = self._rng.choice(_MARKS)
        kind = "forwarded" if mark.forwarded else "by a bot" if mark.via_bot else "captions"
        self._world.count(f"no own words: {kind}" + (", with a command" if text.startswith("/") else ""))
        account.happen("message", peer, sender, text, mark=mark)

    def _stand_by(self, account: Account, word: str) -> None:
        peer = account.placed(Peer("group", self._rng.choice(("-1001", "-1002"))))
        text = (
            word if word in _COMMANDS else f"<{place_of(account.channel, account.name, peer)}> {len(account.updates) + 1} {word}"
        )
        self._world.count("bystanders: commands" if word in _COMMANDS else "bystanders: messages")
        self._write_text(account, peer, Sender(_BYSTANDER), text)

    def _press(self, account: Account, shown: Shown, data: str) -> None:
        rng = self._rng
        whose = rng.choices((*APPROVERS, self._somebody(shown.peer), _STRANGER), (4, 3, 2, 1))[0]
        for _ in range(rng.choice((1, 1, 2))):
            update = account.press(shown, Sender(whose), data)
            if update is not None:
                self.presses[str(account), update.number] = whose

    def write(self, account: Account, peer: Peer, word: str) -> None:
        peer = account.placed(peer)
        sender = Sender(self._somebody(peer))
        if word in _COMMANDS:
            self._write_text(account, peer, sender, word)
        else:
            number = len(account.updates) + 1
            self._write_text(account, peer, sender, f"<{place_of(account.channel, account.name, peer)}> {number} {word}")

    def _write_text(self, account: Account, peer: Peer, sender: Sender, text: str) -> Update:
        return account.happen("message", peer, sender, text)

    def _edit(self, account: Account) -> None:
        """Somebody changes what they have just written, or deletes it."""
        written = [u for u in account.updates[-6:] if u.kind == "message" and u.text.startswith("<")]
        if written:
            old = self._rng.choice(written)
            if account.tells_all and self._rng.random() < 0.3:
                self._world.count("messages deleted")
                account.happen("deleted", old.peer, old.sender, "", message_id=old.message_id)
                return
            place, number, _ = old.text.split()
            word = self._word(account)
            account.happen("edit", old.peer, old.sender, f"{place} {number}.changed {word}", message_id=old.message_id)

    def _word(self, account: Account) -> str:
        words = _QUIET_WORDS if self._world.is_calm(account) else _FOCUSED[self._scenario.focus]
        return self._rng.choices(list(words), list(words.values()))[0]

    def _chat(self, rng: Random) -> Peer:
        if rng.random() < 0.65:
            # Few sessions are used again and again where it is about what holds for a session.
            return Peer("dm", _USERS[0] if self._scenario.focus == "tools" else rng.choice(_USERS))
        return Peer("group", rng.choice(("-1001", "-1002")), "7" if rng.random() < 0.2 else None)

    def _somebody(self, peer: Peer) -> str:
        return peer.id if peer.kind == "dm" else self._rng.choice(_USERS)


async def decide_requests(gateway: Gateway, rng: Random) -> None:
    """An operator goes through what is pending."""
    for row in await gateway.approvals.list("pending"):
        if rng.random() < 0.8:
            scope = "session" if rng.random() < 0.2 else "once"
            await gateway.approvals.decide(row.id, allow=rng.random() < 0.75, by="operator:alice", scope=scope)  # type: ignore[arg-type]


async def revive(gateway: Gateway) -> None:
    """An operator starts what is parked or stopped."""
    for account in gateway.manager.snapshot():
        if account.state in ("parked", "stopped"):
            await gateway.manager.restart(account.channel, account.account)
    for agent in gateway.agents.snapshot():
        if agent.state == "parked":
            await gateway.agents.restart(agent.agent)


async def repair(gateway: Gateway, rng: Random) -> None:
    """An operator goes through the dead letters: some are run or sent again, once, and some are dropped."""
    page = await gateway.dead_letters.list(DeadLetterFilter(), before=None, limit=10)
    for dead_letter in page.dead_letters:
        how = rng.choice(("retry", "drop", "leave"))
        if how == "drop" or (how == "retry" and not dead_letter.retries):
            await gateway.dead_letters.act(dead_letter.ref, "drop" if how == "drop" else "retry", by="operator:alice")


async def send_again(gateway: Gateway, account: Account, peer: Peer) -> None:
    """An operator sends the replies of one chat again that did not arrive, each once."""
    wanted = DeadLetterFilter(direction="out", channel=account.channel, account=account.name)
    page = await gateway.dead_letters.list(wanted, before=None, limit=10)
    for dead_letter in page.dead_letters:
        if dead_letter.peer == str(peer) and not dead_letter.retries:
            account.count("replies sent again in a chat that has to wait")
            await gateway.dead_letters.act(dead_letter.ref, "retry", by="operator:alice")


async def meddle(gateway: Gateway, account: Account, how: str) -> None:
    """An operator stops, starts or restarts one account."""
    act = {"stop": gateway.manager.stop, "start": gateway.manager.start, "restart": gateway.manager.restart}[how]
    await act(account.channel, account.name)
