"""Access control: who may talk, and the reason with which every other row ends."""

from pathlib import Path

import anyio
import msgspec
import pytest
from trio.testing import MockClock

from gatewayd.hub.inbox.access import CODE_SECONDS, AccessControl
from gatewayd.model.config import AccountFrame
from gatewayd.model.errors import Conflict, NotFound
from gatewayd.model.message.envelope import Peer, Sender
from gatewayd.model.records.pairing import PairingRow
from gatewayd.ports.store import Pairings
from tests.hub.house import EPOCH, configuration, message, now, open_house

GROUP = Peer("group", "-100")


@pytest.mark.parametrize(
    ("frame", "peer", "changes", "reason"),
    [
        (AccountFrame(), Peer("dm", "7"), {}, "pairing_required"),
        (AccountFrame(allow_from=("7",)), Peer("dm", "7"), {}, "answered"),
        (AccountFrame(dm_policy="allowlist"), Peer("dm", "7"), {}, "not_on_allow_list"),
        (AccountFrame(dm_policy="allowlist", allow_from=("8",)), Peer("dm", "7"), {}, "not_on_allow_list"),
        (AccountFrame(dm_policy="allowlist", allow_from=("*",)), Peer("dm", "7"), {}, "answered"),
        (AccountFrame(dm_policy="disabled", allow_from=("7",)), Peer("dm", "7"), {}, "dm_disabled"),
        (AccountFrame(dm_policy="open"), Peer("dm", "7"), {}, "answered"),
        (AccountFrame(dm_policy="open"), Peer("dm", "7"), {"kind": "membership"}, "membership"),
        (AccountFrame(dm_policy="open"), Peer("dm", "7"), {"kind": "service"}, "service_message"),
        (AccountFrame(dm_policy="open"), Peer("dm", "7"), {"sender": Sender("7", is_bot=True)}, "from_bot"),
        (AccountFrame(), GROUP, {}, "group_not_on_allow_list"),
        (AccountFrame(groups=("-100",)), GROUP, {}, "answered"),
        (AccountFrame(groups=("*",)), GROUP, {}, "answered"),
        (AccountFrame(groups=("-100",)), GROUP, {"addressed": False}, "not_addressed"),
        (AccountFrame(groups=("-100",), require_mention=False), GROUP, {"addressed": False}, "answered"),
        (AccountFrame(group_policy="open"), GROUP, {}, "answered"),
        (AccountFrame(group_policy="disabled", groups=("-100",)), GROUP, {}, "groups_disabled"),
    ],
)
async def test_policies(
    tmp_path: Path, autojump_clock: MockClock, frame: AccountFrame, peer: Peer, changes: dict[str, object], reason: str
) -> None:
    async with open_house(tmp_path, config=configuration(frame=frame)) as house:
        [row] = await house.inbox.deliver([msgspec.structs.replace(message("hello", peer=peer), **changes)])
        row = await house.ended(row)
        assert row.reason == reason
        assert row.state == ("done" if reason == "answered" else "dropped")
        assert bool(house.agents.turns) is (reason == "answered")


async def test_a_stranger_gets_a_code_once_and_is_let_in_by_it(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, config=configuration(frame=AccountFrame())) as house:
        for _ in range(3):
            await house.ended(await house.say("let me in"))
        [waiting] = await house.access.pending()
        assert len(house.texts) == 1
        assert waiting.code in house.texts[0]
        assert house.access.pending_count() == 1
        approved = await house.access.approve(waiting.code.lower(), by="operator:me")
        assert approved.sender_id == "7"
        assert (await house.ended(await house.say("hello"))).reason == "answered"
    async with open_house(tmp_path, config=configuration(frame=AccountFrame())) as house:
        assert (await house.ended(await house.say("still in"))).reason == "answered"
        await house.access.revoke("chat", "main", "7", by="operator:me")
        assert (await house.ended(await house.say("and now?"))).reason == "pairing_required"


async def test_pairing_is_per_account_and_per_sender(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, config=configuration(frame=AccountFrame())) as house:
        await house.ended(await house.say("me", sender=Sender("7")))
        [waiting] = await house.access.pending()
        await house.access.approve(waiting.code, by="operator:me")
        # The chat is the same, but the person is another one: a pairing is for a sender.
        assert (await house.ended(await house.say("not me", sender=Sender("8")))).reason == "pairing_required"


async def test_a_code_expires_and_wrong_codes_are_refused(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, config=configuration(frame=AccountFrame())) as house:
        await house.ended(await house.say("hello"))
        [waiting] = await house.access.pending()
        with pytest.raises(NotFound):
            await house.access.approve("WRONG", by="operator:me")
        await anyio.sleep(CODE_SECONDS + 1)
        assert await house.access.pending() == []
        with pytest.raises(NotFound):
            await house.access.approve(waiting.code, by="operator:me")
        await house.ended(await house.say("again"))
        [renewed] = await house.access.pending()
        assert renewed.code != waiting.code


async def test_strangers_cannot_fill_the_list(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, config=configuration(frame=AccountFrame())) as house:
        for number in range(105):
            await house.ended(await house.say("hi", peer=Peer("dm", str(number))))
        assert house.access.pending_count() == 100
        assert len(house.texts) == 100


async def test_a_denied_stranger_may_ask_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, config=configuration(frame=AccountFrame())) as house:
        await house.ended(await house.say("hello"))
        [waiting] = await house.access.pending()
        await house.access.deny(waiting.code, by="operator:me")
        assert house.access.pending_count() == 0
        assert (await house.ended(await house.say("please"))).reason == "pairing_required"
        assert house.access.pending_count() == 1


async def test_a_code_that_somebody_holds_is_drawn_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    class Taken:
        def __init__(self, store: Pairings) -> None:
            self.codes: list[str] = []
            self.store = store

        async def add_pairing(self, row: PairingRow) -> PairingRow:
            self.codes.append(row.code)
            if len(self.codes) < 3:
                raise Conflict("another sender holds this pairing code")
            return await self.store.add_pairing(row)

    async with open_house(tmp_path, config=configuration(frame=AccountFrame())) as house:
        taken = Taken(house.store)
        access = AccessControl(taken, house.events, now=now)  # type: ignore[arg-type]
        text = await access.request_pairing(message("hello"))
        assert text is not None
        assert taken.codes[-1] in text
        assert len(set(taken.codes)) == 3


async def test_a_clock_that_is_set_back_silences_nobody(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, config=configuration(frame=AccountFrame())) as house:
        times = [EPOCH, EPOCH - 86_400, EPOCH - 86_400]
        access = AccessControl(house.store, house.events, now=lambda: times.pop(0))
        assert await access.request_pairing(message("hello")) is not None
        assert await access.request_pairing(message("hello")) is not None
        assert await access.request_pairing(message("hello")) is None
