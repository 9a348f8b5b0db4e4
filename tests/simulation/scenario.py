"""What one seed is: which accounts, agents and rules there are, how much goes wrong, and for how long."""

from random import Random
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from gatewayd.model.config import (
    AccountFrame,
    AgentApprovals,
    AgentFrame,
    ApprovalRule,
    ApprovalsSection,
    ApproverGroup,
    BindingConfig,
    GatewaySection,
    LimitsSection,
    MatchConfig,
    OutboxSection,
    SessionsSection,
)
from tests.simulation.outside.cores import Memory

Sections = tuple[SessionsSection, OutboxSection, LimitsSection, ApprovalsSection]
Mood = Literal["rough", "isolated"]
Focus = Literal["everything", "questions", "tools"]
CHANNELS = ("polled", "pushed", "telegram", "slack")
APPROVERS = ("201", "202")
OPERATORS = ("201",)
ONE_PERSON = (*(f"{channel}:201" for channel in CHANNELS), "operator:alice")
"""Identities that some configurations link."""
TEAM_CHAT = "-1009"


class Chances(Struct, frozen=True):
    """How often which part goes wrong, and how many of what happen. ``network`` is by account."""

    network: tuple[float, ...]
    agent: float
    slow_disk: float
    illnesses: int
    outages: int
    agent_outages: int
    lives: int
    operator: float


class Scenario(Struct, frozen=True):
    """``focus``: what people write most of; ``seconds``: how long things go wrong; ``messages`` are written in them. In the mood
    ``isolated`` nothing crashes, and nothing happens to the first account and its agent: they must answer in time."""

    mood: Mood
    focus: Focus
    seconds: float
    messages: int
    chances: Chances
    accounts: tuple[tuple[str, str], ...]
    frame: AccountFrame
    agents: tuple[tuple[str, Memory, AgentFrame], ...]
    bindings: tuple[BindingConfig, ...]
    sections: "Sections"
    gateway: GatewaySection


def draw_scenario(rng: Random) -> Scenario:
    mood: Mood = "isolated" if rng.random() < 0.12 else "rough"
    accounts = (("polled", "main"), ("pushed", "hook"), ("polled", "second"), ("pushed", "spare"))[: rng.randint(2, 4)]
    if rng.random() < 0.4:
        accounts = (*accounts, ("telegram", "bot"))
    agents = tuple((name, _memory(rng), _agent(rng)) for name in ("alpha", "beta"))
    binding = BindingConfig(MatchConfig(channel="pushed") if rng.random() < 0.7 else MatchConfig(peer="group:-1001"), "beta")
    if mood == "isolated":
        binding = BindingConfig(MatchConfig(channel="polled", account="main"), "beta")
    sections = draw_sections(rng)
    if mood == "isolated":
        # What all accounts share is large enough for all of them, as it is unless somebody makes it small.
        sections = sections[0], sections[1], LimitsSection(), sections[3]
    seconds = rng.choice((10.0, 30.0, 60.0, 200.0))
    scenario = Scenario(
        mood=mood,
        focus=rng.choices(("everything", "questions", "tools"), (5, 2, 2))[0],
        seconds=seconds,
        messages=rng.randint(4, 14),
        chances=_chances(rng, mood, len(accounts)),
        accounts=accounts,
        frame=AccountFrame(
            dm_policy=rng.choices(("open", "pairing"), (9, 1))[0],
            group_policy="open",
            require_mention=False,
            operators=OPERATORS,
        ),
        agents=agents,
        bindings=(binding,),
        sections=sections,
        gateway=GatewaySection(drain_seconds=rng.choice((2.0, 20.0)), public_url="https://gateway.example"),
    )
    return replace(scenario, frame=replace(scenario.frame, growing=rng.random() < 0.5))


def add_slack(scenario: Scenario, rng: Random) -> Scenario:
    """In one of six runs there is a Slack account, too: its connections cost time. The other runs are the same without it."""
    if rng.random() >= 1 / 6:
        return scenario
    chance = rng.choice((0.03, 0.1, 0.3)) if scenario.mood == "rough" else 0.3
    chances = replace(scenario.chances, network=(*scenario.chances.network, chance))
    return replace(scenario, chances=chances, accounts=(*scenario.accounts, ("slack", "team")))


def change(sections: Sections, rng: Random) -> Sections:
    """What an operator may write into the file meanwhile. Who shares a session stays as it is: the oracle knows one answer."""
    sessions, outbox, limits, approvals = draw_sections(rng)
    linked = rng.random() < 0.5
    # Where links decide who shares a session, a reload of them gives somebody another session, as it should.
    by_account = sections[0].dm_scope in ("main", "per-account-channel-peer")
    links = {"boss": ONE_PERSON} if linked and by_account else {}
    return replace(sessions, dm_scope=sections[0].dm_scope, identity_links=links), outbox, limits, approvals


def change_grants(frame: AgentFrame, rng: Random) -> AgentFrame:
    """What "for this session" is to mean from now on."""
    return replace(frame, approvals=replace(frame.approvals, session_grant=_grant(rng)))


def _grant(rng: Random) -> Literal["off", "input", "tool"]:
    return rng.choice(("off", "input", "tool"))


def _memory(rng: Random) -> Memory:
    return rng.choices(("server", "journal", "none"), (4, 4, 2))[0]


def _chances(rng: Random, mood: Mood, accounts: int) -> Chances:
    network = tuple(rng.choice((0.0, 0.03, 0.1, 0.3)) for _ in range(accounts))
    if mood == "isolated":
        return Chances((0.0, *(0.4 for _ in network[1:])), 0.2, 0.0, 0, 4, 2, 1, 1.0)
    return Chances(
        network=network,
        agent=rng.choice((0.0, 0.0, 0.05, 0.2)),
        slow_disk=rng.choice((0.0, 0.02, 0.1)),
        illnesses=rng.choice((0, 0, 0, 1, 2)),
        outages=rng.choice((0, 0, 1, 3)),
        agent_outages=rng.choice((0, 0, 1)),
        lives=rng.choice((1, 2, 3, 4, 6)),
        operator=rng.choice((0.0, 0.5, 1.0)),
    )


def _agent(rng: Random) -> AgentFrame:
    rules = ApprovalRule(action=rng.choice(("allow", "deny")), tool="dd")
    return AgentFrame(
        core="simulated",
        on_lost_turn=rng.choice(("rerun", "rerun", "report")),
        approvals=AgentApprovals(
            rules=(rules,) if rng.random() < 0.2 else (),
            ask=rng.choice((("operators",), ("team",), ("team", "operators"), ("there", "team"))),
            escalate_after_seconds=rng.choice((5.0, 60.0)),
            quorum=rng.choice((1, 1, 2)),
            session_grant=_grant(rng),
        ),
    )


def draw_sections(rng: Random) -> Sections:
    people = tuple(f"{channel}:{name}" for channel in CHANNELS for name in APPROVERS)
    return (
        SessionsSection(
            dm_scope=rng.choices(("per-account-channel-peer", "per-channel-peer", "main"), (8, 1, 1))[0],
            queue_mode=rng.choice(("queue", "queue", "collect", "interrupt")),
            turn_timeout_seconds=rng.choice((60.0, 300.0)),
            max_turn_attempts=rng.choice((3, 10)),
        ),
        OutboxSection(
            stale_after_seconds=rng.choice((300.0, 86_400.0, 86_400.0)),
            max_attempts=rng.choice((3, 1000)),
            send_timeout_seconds=rng.choice((10.0, 60.0)),
            concurrency=rng.choice((1, 3, 16)),
        ),
        LimitsSection(
            inbox_backlog=rng.choice((4, 10_000)),
            turns=rng.choice((2, 256)),
            mailbox=rng.choice((2, 8, 256)),
        ),
        ApprovalsSection(
            timeout_seconds=rng.choice((30.0, 300.0)),
            question_timeout_seconds=rng.choice((30.0, 300.0)),
            groups={
                "team": ApproverGroup(people=people),
                "there": ApproverGroup(people=people, chats=(f"polled:main:group:{TEAM_CHAT}",)),
            },
        ),
    )
