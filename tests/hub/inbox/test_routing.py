"""Routing is pure: the rule that matches, and different session keys for different peers."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gatewayd.hub.inbox.routing import escape, known_as, resolve_route, session_key
from gatewayd.model.config import (
    AccountFrame,
    AccountSettings,
    AgentFrame,
    AgentSettings,
    ApprovalsSection,
    ApproverGroup,
    BindingConfig,
    DmScope,
    GatewayConfig,
    GroupRules,
    MatchConfig,
    SessionsSection,
)
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.message.route import Rule

AGENTS = tuple(AgentSettings(name, AgentFrame(), AgentFrame()) for name in ("first", "second"))


def envelope(
    *,
    channel: str = "telegram",
    account: str = "main",
    peer: Peer | None = None,
    guild: str | None = None,
    team: str | None = None,
) -> InboundEnvelope:
    peer = peer or Peer("dm", "42")
    return InboundEnvelope(channel, account, "1", "message", peer, Sender(peer.id), guild=guild, team=team)


def config(*matches: MatchConfig, scope: DmScope = "per-account-channel-peer", **links: tuple[str, ...]) -> GatewayConfig:
    bindings = tuple(BindingConfig(match, "second") for match in matches)
    return GatewayConfig(agents=AGENTS, bindings=bindings, sessions=SessionsSection(dm_scope=scope, identity_links=dict(links)))


TOPIC = Peer("group", "-100", thread="7")
STRENGTHS: list[tuple[Rule, MatchConfig]] = [
    ("default", MatchConfig()),
    ("channel", MatchConfig(channel="telegram")),
    ("account", MatchConfig(account="main")),
    ("team", MatchConfig(team="T1")),
    ("guild", MatchConfig(guild="G1")),
    ("parent_peer", MatchConfig(parent_peer="group:-100")),
    ("peer", MatchConfig(peer="group:-100:7")),
]


@pytest.mark.parametrize("count", range(1, len(STRENGTHS) + 1))
def test_the_strongest_binding_wins_wherever_it_stands_in_the_file(count: int) -> None:
    rules = STRENGTHS[:count]
    message = envelope(peer=TOPIC, guild="G1", team="T1")
    for matches in (rules, rules[::-1]):
        route = resolve_route(message, config(*(match for _, match in matches)))
        assert route.rule == rules[-1][0]
        assert route.binding == matches.index(rules[-1])
        assert route.agent_id == "second"


@pytest.mark.parametrize("count", range(1, len(STRENGTHS) + 1))
@pytest.mark.parametrize("name", ["-100", "*"])
def test_a_groups_own_agent_is_stronger_than_wide_bindings_and_weaker_than_those_by_peer(count: int, name: str) -> None:
    frame = AccountFrame(groups={name: GroupRules(agent="first")})
    accounts = (AccountSettings("telegram", "main", frame, frame), AccountSettings("telegram", "other", AccountFrame(), frame))
    bound = replace(config(*(match for _, match in STRENGTHS[:count])), accounts=accounts)
    by_peer = STRENGTHS[count - 1][0] in ("peer", "parent_peer")
    route = resolve_route(envelope(peer=TOPIC, guild="G1", team="T1"), bound)
    assert (route.agent_id, route.rule) == (("second", STRENGTHS[count - 1][0]) if by_peer else ("first", "group"))
    assert (route.binding is None) is not by_peer
    for elsewhere in (envelope(account="other", peer=TOPIC), envelope(peer=Peer("dm", "-100"))):
        assert resolve_route(elsewhere, bound).rule != "group"


def test_of_equal_bindings_the_first_in_the_file_wins() -> None:
    bindings = (BindingConfig(MatchConfig(account="main"), "second"), BindingConfig(MatchConfig(account="main"), "first"))
    assert resolve_route(envelope(), GatewayConfig(agents=AGENTS, bindings=bindings)).agent_id == "second"


def test_without_a_match_the_default_agent_answers_and_the_route_says_so() -> None:
    route = resolve_route(envelope(), config(MatchConfig(channel="slack")))
    assert (route.agent_id, route.rule, route.binding) == ("first", "default", None)


def test_every_key_of_a_match_must_hold() -> None:
    strict = config(MatchConfig(channel="telegram", account="other", peer="dm:42"))
    assert resolve_route(envelope(), strict).rule == "default"


def test_a_parent_peer_matches_only_inside_a_thread() -> None:
    parent = config(MatchConfig(parent_peer="group:-100"))
    assert resolve_route(envelope(peer=Peer("group", "-100")), parent).rule == "default"
    assert resolve_route(envelope(peer=TOPIC), parent).rule == "parent_peer"


def test_a_binding_of_a_group_holds_in_its_topics_but_weaker_than_one_of_the_topic() -> None:
    group, topic = MatchConfig(peer="group:-100"), MatchConfig(peer="group:-100:7")
    for matches in ((group, topic), (topic, group)):
        route = resolve_route(envelope(peer=TOPIC), config(*matches))
        assert (route.rule, route.binding) == ("peer", matches.index(topic))
    elsewhere = resolve_route(envelope(peer=Peer("group", "-100", "8")), config(group, topic))
    assert (elsewhere.rule, elsewhere.binding) == ("parent_peer", 0)
    assert resolve_route(envelope(peer=Peer("group", "-100")), config(topic, group)).rule == "peer"


def test_an_agent_may_have_one_session_for_all_direct_messages() -> None:
    settings = AgentSettings("first", AgentFrame(main_session=True), AgentFrame())
    one = GatewayConfig(agents=(settings,))
    assert session_key("first", envelope(), one) == "first:main"
    assert session_key("first", envelope(peer=TOPIC), one) == "first:telegram:main:group:-100:thread:7"


def test_session_keys_have_the_documented_shape() -> None:
    assert resolve_route(envelope(), config()).session_key == "first:telegram:main:dm:42"
    assert resolve_route(envelope(peer=TOPIC), config()).session_key == "first:telegram:main:group:-100:thread:7"


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("main", "first:main"),
        ("per-peer", "first:dm:telegram:42"),
        ("per-channel-peer", "first:telegram:dm:42"),
        ("per-account-channel-peer", "first:telegram:main:dm:42"),
    ],
)
def test_the_scope_of_direct_messages(scope: DmScope, expected: str) -> None:
    assert session_key("first", envelope(), config(scope=scope)) == expected


def test_identity_links_join_one_person_over_channels() -> None:
    linked = config(scope="per-peer", alice=("telegram:42", "slack:U9"))
    on_slack = envelope(channel="slack", peer=Peer("dm", "U9"))
    assert session_key("first", envelope(), linked) == session_key("first", on_slack, linked) == "first:person:alice"


def test_the_same_number_on_two_channels_is_not_one_person() -> None:
    per_peer = config(scope="per-peer")
    assert session_key("first", envelope(), per_peer) != session_key("first", envelope(channel="slack"), per_peer)


NAMES = st.sampled_from(["telegram", "slack", "dm", "person", "group", "thread", "main"])
PEERS = st.builds(Peer, st.sampled_from(["dm", "group", "channel"]), st.text(max_size=8), st.none() | st.text(max_size=4))
MESSAGES = st.builds(lambda channel, account, peer: envelope(channel=channel, account=account, peer=peer), NAMES, NAMES, PEERS)


@given(MESSAGES, MESSAGES)
def test_two_peers_never_share_a_session_key(one: InboundEnvelope, other: InboundEnvelope) -> None:
    same = (one.channel, one.account, one.peer) == (other.channel, other.account, other.peer)
    assert (session_key("a", one, config()) == session_key("a", other, config())) is same


@given(MESSAGES, st.sampled_from(["per-peer", "per-channel-peer"]), MESSAGES)
def test_wider_scopes_share_only_what_they_say(one: InboundEnvelope, scope: DmScope, other: InboundEnvelope) -> None:
    shared = config(scope=scope)
    if session_key("a", one, shared) == session_key("a", other, shared):
        assert (one.channel, one.peer) == (other.channel, other.peer)


@given(MESSAGES)
def test_keys_are_lower_case_and_url_safe(message: InboundEnvelope) -> None:
    assert re.fullmatch(r"[a-z0-9_.:~-]+", session_key("agent", message, config()))


@given(st.text(), st.text())
def test_escaping_keeps_different_texts_different(one: str, other: str) -> None:
    assert (escape(one) == escape(other)) is (one == other)


OLD, NEW = "-4001", "-1001234004001"


@pytest.mark.parametrize(
    ("listed", "bound", "chats", "known"),
    [
        ((), None, (), OLD),
        (("*",), None, (), OLD),
        ((OLD,), None, (), OLD),
        ((NEW,), None, (), NEW),
        ((OLD, NEW), None, (), OLD),
        ((OLD,), f"group:{NEW}", (), OLD),
        ((NEW,), f"group:{OLD}", (), NEW),
        (("*",), f"group:{OLD}", (), OLD),
        (("*",), f"group:{NEW}:7", (), NEW),
        (("*",), None, (f"telegram:main:group:{NEW}",), NEW),
        (("*",), f"group:{NEW}", ("origin", f"telegram:main:group:{OLD}"), OLD),
    ],
)
def test_a_group_with_another_id_goes_by_the_one_that_the_configuration_has(
    listed: tuple[str, ...], bound: str | None, chats: tuple[str, ...], known: str
) -> None:
    frame = AccountFrame(groups=listed)
    approvals = ApprovalsSection(groups={"owners": ApproverGroup(("telegram:1",), chats)})
    settings = replace(
        config(*([] if bound is None else [MatchConfig(peer=bound)])),
        accounts=(AccountSettings("telegram", "main", frame, frame),),
        approvals=approvals,
    )
    unmoved = envelope(peer=Peer("group", NEW, "7"))
    assert known_as(replace(unmoved, formerly=OLD), settings) == replace(unmoved, peer=Peer("group", known, "7"))
    assert known_as(unmoved, settings) == unmoved
