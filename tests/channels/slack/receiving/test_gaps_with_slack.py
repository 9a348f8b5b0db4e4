"""The whole driver in Socket Mode through gaps in which Slack itself loses every event: what was said is there, once."""

import trio
from trio.testing import MockClock

from gatewayd.model.message.envelope import InboundEnvelope
from tests.channels.slack.receiving.socket_rig import PATIENCE_SECONDS
from tests.channels.slack.rig import Rig, now, rig_for
from tests.fakes.slack_platform import FakeSlack

MENTION = "<@U0GATEBOT0>"


class Talk:
    """What people say in a channel, in a thread of it, and in a direct message. ``lost``: Slack tells nobody."""

    def __init__(self, slack: FakeSlack) -> None:
        self.slack = slack
        self.ann = slack.add_user("ann")
        self.general = slack.add_channel("general", [self.ann])
        self.root = ""
        self.said: list[str] = []

    def begin(self) -> None:
        self.root = self.slack.say(self.ann, self.general, f"{MENTION} begin")
        self.said.append("begin")

    async def go_on(self, when: str, *, seconds: float, lost: bool) -> None:
        self.slack.deliveries.dropping = lost
        for words, place, thread in (
            (f"{MENTION} {when} in public", self.general, None),
            (f"{when} in a thread", self.general, self.root),
            (f"{when} to us", self.slack.dm(self.ann), None),
        ):
            await trio.sleep(seconds / 3)
            self.slack.say(self.ann, place, words, thread=thread)
            self.said.append(words.removeprefix(f"{MENTION} "))
        self.slack.deliveries.dropping = False


async def all_of(rig: Rig, talk: Talk, known: dict[str, InboundEnvelope]) -> None:
    """Wait for all that was said. ``known`` is what the hub has by then, which drops what comes twice by its key."""

    def have() -> dict[str, InboundEnvelope]:
        return {envelope.event_key: envelope for envelope in (*rig.journal.envelopes, *known.values())}

    await rig.journal.wait_event("all that was said", lambda _: len(have()) >= len(talk.said))
    await trio.sleep(90)
    known.update(have())
    assert sorted(envelope.text for envelope in known.values()) == sorted(talk.said)
    assert all(envelope.addressed for envelope in known.values())
    assert {what: reason for what, reason in rig.services.lacking.items() if reason is not None} == {}


async def test_five_minutes_down_and_three_minutes_cut(autojump_clock: MockClock) -> None:
    with trio.fail_after(10 * PATIENCE_SECONDS):
        async with FakeSlack.serve(now=now) as slack:
            talk, known = Talk(slack), dict[str, InboundEnvelope]()
            async with rig_for(slack) as rig, rig.listening():
                await slack.wait_connections(2)
                talk.begin()
                await all_of(rig, talk, known)
            await talk.go_on("while it was down", seconds=300, lost=True)
            async with rig_for(slack, kept=rig.services.kept) as rig, rig.listening():
                await all_of(rig, talk, known)
                assert [envelope.missed for envelope in known.values()].count(True) == 3
                slack.fault("drop_before", "apps.connections.open", times=None)
                await slack.wait_connections(2)
                await slack.cut()
                await slack.wait_until(lambda: len(slack.connections) == 1)
                await slack.cut()
                await slack.wait_until(lambda: not slack.connections)
                await talk.go_on("during the cut", seconds=180, lost=True)
                slack.clear_faults()
                await all_of(rig, talk, known)
                await talk.go_on("afterwards", seconds=30, lost=False)
                await all_of(rig, talk, known)
                assert rig.services.interruptions
