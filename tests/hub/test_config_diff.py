"""The difference of two configurations: pure, complete, and exact about what needs a restart."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import fields, replace

from gatewayd.channels.loopback.settings import LoopbackSettings
from gatewayd.hub.config_diff import NEEDS_RESTART, difference, in_force
from gatewayd.model.config import (
    AccountFrame,
    AccountSettings,
    AgentApprovals,
    AgentFrame,
    AgentSettings,
    ApprovalRule,
    ApprovalsSection,
    ApproverGroup,
    AuthSection,
    BindingConfig,
    GatewayConfig,
    GatewaySection,
    LimitsSection,
    MatchConfig,
    OutboxSection,
    SessionsSection,
    TokenConfig,
)
from gatewayd.model.secret import Secret


class Own(Struct, frozen=True):
    """Settings of a plug-in, with a credential."""

    token: Secret = Secret("the-first-secret")
    model: str = "m1"


class Other(Struct, frozen=True):
    """Settings of another plug-in."""

    command: str = "run"


NAMES = st.sampled_from(["a", "b", "c"])
SECRETS = st.sampled_from([Secret("the-first-secret"), Secret("the-second-secret")])
FRAMES = st.builds(AccountFrame, enabled=st.booleans(), allow_from=st.sampled_from([(), ("x",)]))
OWN = st.builds(Own, token=SECRETS, model=st.sampled_from(["m1", "m2"]))
RULES = st.sampled_from([(), (ApprovalRule("deny", "shell"),)])
AGENT_FRAMES = st.builds(
    AgentFrame,
    core=st.sampled_from(["echo", "acp"]),
    default=st.booleans(),
    approvals=st.builds(AgentApprovals, rules=RULES),
)
BINDINGS = st.builds(BindingConfig, match=st.builds(MatchConfig, channel=NAMES), agent=NAMES)


@st.composite
def agents(draw: st.DrawFn) -> tuple[AgentSettings, ...]:
    names = draw(st.lists(NAMES, min_size=1, unique=True))
    return tuple(AgentSettings(name, draw(AGENT_FRAMES), draw(OWN | st.builds(Other))) for name in names)


@st.composite
def accounts(draw: st.DrawFn) -> tuple[AccountSettings, ...]:
    names = draw(st.lists(st.tuples(NAMES, NAMES), unique=True, max_size=4))
    return tuple(AccountSettings(channel, name, draw(FRAMES), draw(OWN)) for channel, name in names)


CONFIGS = st.builds(
    GatewayConfig,
    gateway=st.builds(
        GatewaySection,
        bind=st.sampled_from(["127.0.0.1:1", "127.0.0.1:2"]),
        drain_seconds=st.sampled_from([1.0, 2.0]),
        log_level=st.sampled_from(["info", "debug"]),
    ),
    sessions=st.builds(SessionsSection, identity_links=st.dictionaries(NAMES, st.just(("x:1",)))),
    limits=st.builds(LimitsSection, turns=st.integers(1, 3)),
    approvals=st.builds(
        ApprovalsSection,
        groups=st.dictionaries(NAMES, st.builds(ApproverGroup, people=st.sampled_from([("x:1",), ("x:2",)]))),
    ),
    auth=st.builds(AuthSection, tokens=st.dictionaries(NAMES, st.builds(TokenConfig, token=SECRETS))),
    agents=agents(),
    accounts=accounts(),
    bindings=st.lists(BINDINGS, max_size=2).map(tuple),
)


@given(CONFIGS)
def test_nothing_differs_from_itself(config: GatewayConfig) -> None:
    found = difference(config, config)
    assert (found.applied, found.needs_restart) == ((), ())
    assert (found.same_accounts, found.same_agents) == (len(config.accounts), len(config.agents))


@given(CONFIGS, CONFIGS)
def test_what_is_in_force_then_is_the_new_one_but_for_what_needs_a_restart(old: GatewayConfig, new: GatewayConfig) -> None:
    then = in_force(old, new)
    left = difference(then, new)
    assert left.applied == ()
    assert left.needs_restart == difference(old, new).needs_restart, "it is said again until somebody restarts"
    for section, keys in NEEDS_RESTART.items():
        for key in keys:
            assert getattr(getattr(then, section), key) == getattr(getattr(old, section), key)
    assert difference(in_force(new, new), new) == difference(new, new)


@given(CONFIGS, CONFIGS)
def test_what_is_not_named_is_the_same(old: GatewayConfig, new: GatewayConfig) -> None:
    """Undo the named changes: then only the order of the tables differs."""
    found = difference(old, new)
    named = {change.table for change in (*found.applied, *found.needs_restart)}
    for name in ("sessions", "outbox", "limits", "retention"):
        if f"[{name}]" not in named:
            assert getattr(old, name) == getattr(new, name)
    untouched = [a for a in new.accounts if f"[channels.{a.channel}.accounts.{a.account}]" not in named]
    assert all(account in old.accounts for account in untouched)
    assert len(untouched) == found.same_accounts
    assert all(agent in old.agents for agent in new.agents if f"[agents.{agent.agent_id}]" not in named)
    if "[[bindings]]" not in named:
        assert old.bindings == new.bindings
    if not any(table == "[agents]" for table in named) and {a.agent_id for a in old.agents} == {a.agent_id for a in new.agents}:
        assert old.default_agent == new.default_agent


@given(CONFIGS, CONFIGS)
def test_no_value_is_told(old: GatewayConfig, new: GatewayConfig) -> None:
    found = difference(old, new)
    text = "\n".join(str(change) for change in (*found.applied, *found.needs_restart))
    assert "secret" not in text
    assert "x:1" not in text


ONE = GatewayConfig(
    agents=(AgentSettings("coder", AgentFrame(core="acp"), Own()), AgentSettings("talker", AgentFrame(), Other())),
    accounts=(AccountSettings("telegram", "main", AccountFrame(), Own()),),
)


def said(new: GatewayConfig) -> list[str]:
    found = difference(ONE, new)
    assert found.needs_restart == ()
    return [str(change) for change in found.applied]


def test_an_account_with_another_token_is_reconnected() -> None:
    changed = AccountSettings("telegram", "main", AccountFrame(allow_from=("7",)), Own(token=Secret("the-second-secret")))
    assert said(replace(ONE, accounts=(changed,))) == [
        "[channels.telegram.accounts.main]: allow_from, token changed: reconnected; its waiting replies are kept"
    ]


def test_rules_of_an_account_and_of_an_agent_touch_no_connection() -> None:
    account = AccountSettings("telegram", "main", AccountFrame(require_mention=False), Own())
    coder = AgentSettings("coder", AgentFrame(core="acp", approvals=AgentApprovals(quorum=2)), Own())
    assert said(replace(ONE, accounts=(account,), agents=(coder, ONE.agents[1]))) == [
        "[agents.coder]: approvals changed",
        "[channels.telegram.accounts.main]: require_mention changed",
    ]


def test_another_core_is_opened_anew() -> None:
    coder = AgentSettings("coder", AgentFrame(core="echo"), Other())
    assert said(replace(ONE, agents=(coder, ONE.agents[1]))) == [
        "[agents.coder]: core changed: reopened when its turns have ended"
    ]


def test_another_order_of_agents_may_be_another_default() -> None:
    assert said(replace(ONE, agents=ONE.agents[::-1])) == ["[agents] changed: talker answers where no binding matches"]


def test_what_comes_and_what_goes() -> None:
    new = replace(ONE, agents=ONE.agents[:1], accounts=(AccountSettings("loopback", "x", AccountFrame(), LoopbackSettings()),))
    assert said(new) == [
        "[agents.talker] removed: closed when its turns have ended; its waiting messages are routed anew",
        "[channels.telegram.accounts.main] removed: stopped; its waiting replies stay in the store",
        "[channels.loopback.accounts.x] added",
    ]


def test_tables_by_name_are_told_one_by_one() -> None:
    groups = {"ops": ApproverGroup(people=("x:1",))}
    tokens = {"ci": TokenConfig(token=Secret("the-first-secret-of-ci"))}
    old = replace(ONE, approvals=ApprovalsSection(groups=groups), auth=AuthSection(tokens=tokens))
    other = {"ops": ApproverGroup(people=("x:2",)), "more": ApproverGroup(people=())}
    new = replace(old, approvals=ApprovalsSection(groups=other, max_pending=5), auth=AuthSection())
    assert [str(change) for change in difference(old, new).applied] == [
        "[approvals]: max_pending changed",
        "[approvals.groups.ops]: people changed",
        "[approvals.groups.more] added",
        "[auth.tokens.ci] removed",
    ]


def everything_that_is_ours() -> Iterator[tuple[str, str]]:
    for section in fields(GatewayConfig):
        if isinstance(section.type, type) and issubclass(section.type, Struct):
            yield from ((section.name, field.name) for field in fields(section.type))


def test_what_needs_a_restart_exists() -> None:
    known = set(everything_that_is_ours())
    assert {(section, key) for section, keys in NEEDS_RESTART.items() for key in keys} <= known


@pytest.mark.parametrize("key", sorted(NEEDS_RESTART["gateway"]))
def test_what_needs_a_restart_is_said_and_not_done(key: str) -> None:
    value = {
        "state_dir": "/x",
        "bind": "127.0.0.1:7",
        "max_body_bytes": 2048,
        "max_connections": 7,
        "max_connections_per_address": 7,
        "log_level": "error",
        "stall_seconds": 9.0,
    }[key]
    new = replace(ONE, gateway=replace(ONE.gateway, **{key: value}), outbox=OutboxSection(concurrency=2))
    found = difference(ONE, new)
    assert [(change.table, change.keys) for change in found.needs_restart] == [("[gateway]", (key,))]
    assert [(change.table, change.keys) for change in found.applied] == [("[outbox]", ("concurrency",))]
    assert in_force(ONE, new) == replace(ONE, outbox=OutboxSection(concurrency=2))
