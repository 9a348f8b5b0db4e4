"""Lives of an account that reads events and looks back, against the fake Slack; what connects is left out."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from gatewayd.channels.slack.api import SlackApi
from gatewayd.channels.slack.receiving.backfill import Backfill
from gatewayd.channels.slack.receiving.earlier import Recall
from gatewayd.channels.slack.receiving.inbound import Bot, Receiver
from gatewayd.channels.slack.receiving.people import People
from gatewayd.channels.slack.receiving.threads import SlackState
from gatewayd.channels.slack.sending.places import Places
from gatewayd.channels.slack.settings import SlackSettings
from gatewayd.kit.http import create_client
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.testing.channel_contract import Journal, Services
from tests.channels.slack.rig import account_of, now
from tests.fakes.slack_platform import FakeSlack


class World:
    """A workspace, the store, and what was journaled, over all lives. Slack itself gives up every event that nobody takes."""

    def __init__(self, slack: FakeSlack) -> None:
        self.slack = slack
        self.kept: dict[str, str] = {}
        self.journaled: dict[str, InboundEnvelope] = {}
        self.taken = 0
        slack.deliveries.dropping = True

    @asynccontextmanager
    async def life(self, **settings: object) -> AsyncIterator["Life"]:
        async with create_client() as http:
            life = Life(self, Services(http, self.kept), **settings)
            await life.state.load(self.slack.team)
            await life.state.begin(life.services.now())
            yield life
            self.journaled.update({envelope.event_key: envelope for envelope in life.new})

    @property
    def texts(self) -> list[str]:
        """Of all messages, as the hub takes them: each key once."""
        return [envelope.text for envelope in self.journaled.values() if envelope.kind == "message"]

    def miss(self) -> None:
        """What was said until now is told to nobody."""
        self.taken = len(self.slack.deliveries.all)


class Life:
    """From a start to the next."""

    def __init__(self, world: World, services: Services, **settings: object) -> None:
        self.world = world
        self.services = services
        account = account_of(world.slack, **settings)  # type: ignore[arg-type]
        assert isinstance(account.settings, SlackSettings)
        slack = world.slack
        bot = Bot(slack.team, slack.bot_user, slack.bot_id, slack.app_id, "gatebot")
        self.api = SlackApi(services.http, account.settings)
        self.state = SlackState(services.state)
        self.people = People(self.api, services.now)
        self.receiver = Receiver(account, bot, account.settings, self.state, self.people, services.now)
        self.journal = Journal(services)
        self.backfill = Backfill(self.api, services, account.settings, self.receiver, self.state)
        self.recall = Recall(self.api, Places(self.api), self.receiver, self.people)

    @property
    def new(self) -> list[InboundEnvelope]:
        """What this life has delivered that was not known, in order."""
        found = dict[str, InboundEnvelope]()
        for envelope in self.journal.envelopes:
            if envelope.event_key not in self.world.journaled:
                found.setdefault(envelope.event_key, envelope)
        return list(found.values())

    @property
    def lacking(self) -> dict[str, str]:
        return {what: reason for what, reason in self.services.lacking.items() if reason is not None}

    async def hear(self) -> None:
        """Take the events that Slack has told since they were taken last, as they come over a connection."""
        world = self.world
        for delivery in world.slack.deliveries.all[world.taken :]:
            world.taken += 1
            found = self.receiver.event(json.dumps(delivery.payload).encode())
            if found.envelopes:
                await self.journal(found.envelopes, state=found.state)

    async def fetch(self) -> None:
        """Look back, as after each gap."""
        await self.backfill.run(self.journal)


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    async with FakeSlack.serve(now=now) as slack:
        yield World(slack)


async def pass_time(seconds: float) -> None:
    """On Trio's clock."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    await trio.testing.wait_all_tasks_blocked()
    clock.jump(seconds)


def on_a_clock(main: Callable[..., object], **options: object) -> object:
    """As ``trio.run``, on a clock that stands still and goes on to the next deadline when nothing happens any more."""
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.02))  # type: ignore[arg-type]
