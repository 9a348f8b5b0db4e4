"""Edits that were cut, through the real sender: what Telegram may have shown is never said to be unseen."""

import pytest
from trio.testing import MockClock

from gatewayd.channels.telegram import PLUGIN
from gatewayd.model.config import OutboxSection
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import RichText, SendText
from tests.channels.telegram.rig import rig_for
from tests.fakes.bot_api import FakeBotApi
from tests.hub.accounts.lone import LoneSender

ALICE = 4711


@pytest.mark.parametrize(
    ("faults", "state", "reason"),
    [
        (["cut"] * 2, "sent", None),
        (["cut"] * 3, "unknown", "given up after 3 attempts: Telegram editMessageText"),
        (["cut", "gone"], "unknown", "message gone"),
        (["gone"], "dead", "message gone"),
    ],
)
async def test_an_edit_that_was_cut_after_its_effect(
    faults: list[str], state: str, reason: str | None, autojump_clock: MockClock
) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.add_chat(ALICE)
        lone = LoneSender(PLUGIN, OutboxSection(max_attempts=3))
        await lone.start()
        [row] = await lone.write(SendText(Peer("dm", str(ALICE)), RichText("Allow?")))
        await lone.run(rig.channel)
        for fault in faults:
            if fault == "cut":
                api.drop_next("editMessageText", processed=True)
            else:
                api.fail_next("editMessageText", 400, "Bad Request: message to edit not found")
        edit = await lone.edit(row, "Allowed.")
        await lone.run(rig.channel)
        edit = await lone.now_of(edit)
        assert edit.state == state
        assert (edit.reason or "").startswith(reason or "")
        assert (edit.doubt_since is not None) == (state == "unknown")
        assert api.texts(ALICE) == (["Allow?"] if faults == ["gone"] else ["Allowed."])
