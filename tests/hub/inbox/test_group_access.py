"""Group rules: who may talk, by which key; and who may act for others."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.hub.inbox.group_access import judge_group, who_in_group
from gatewayd.model.config import AccountFrame, GroupRules
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender, Writer
from gatewayd.model.message.roles import role_of
from tests.hub.house import message

GROUP, TOPIC, CHANNEL = Peer("group", "-100"), Peer("group", "-100", "7"), Peer("channel", "-100")


def said(sender: str = "1", peer: Peer = GROUP, **changes: Any) -> InboundEnvelope:
    return message("hello", peer=peer, sender=Sender(sender), **changes)


def rules(operators: tuple[str, ...] = (), require_mention: bool = True, **groups: GroupRules) -> AccountFrame:
    tables = {name.replace("_", "-").replace("any", "*"): found for name, found in groups.items()}
    return AccountFrame(operators=operators, require_mention=require_mention, groups=tables)


@pytest.mark.parametrize(
    ("frame", "changes", "reason", "rule"),
    [
        (AccountFrame(), {}, "group_not_on_allow_list", "groups"),
        (AccountFrame(groups=("-100",)), {}, "admitted", "groups"),
        (AccountFrame(group_policy="open"), {}, "admitted", "group_policy"),
        (AccountFrame(group_policy="disabled", groups=("-100",)), {}, "groups_disabled", "group_policy"),
        (rules(_100=GroupRules()), {}, "admitted", 'groups."-100"'),
        (rules(_100=GroupRules(allow_from=("1",))), {}, "admitted", 'groups."-100".allow_from'),
        (rules(_100=GroupRules(allow_from=("2",))), {}, "not_on_group_allow_list", 'groups."-100".allow_from'),
        (rules(_100=GroupRules(allow_from=())), {}, "not_on_group_allow_list", 'groups."-100".allow_from'),
        (rules(_100=GroupRules(allow_from=("*",))), {}, "admitted", 'groups."-100".allow_from'),
        (rules(any=GroupRules(allow_from=("2",))), {}, "not_on_group_allow_list", 'groups."*".allow_from'),
        (rules(any=GroupRules(allow_from=("2",)), _100=GroupRules()), {}, "admitted", 'groups."-100"'),
        (rules(_100=GroupRules(allow_from=(), commands=("1",))), {}, "admitted", 'groups."-100".commands'),
        (rules(_100=GroupRules(allow_from=(), commands=("*",))), {}, "not_on_group_allow_list", 'groups."-100".allow_from'),
        (rules(operators=("1",), _100=GroupRules(allow_from=())), {}, "admitted", "operators"),
        (rules(operators=("1",), _200=GroupRules()), {}, "group_not_on_allow_list", "groups"),
        (rules(operators=("1",), _100=GroupRules(allow_from=())), {"via": "b"}, "not_on_group_allow_list", None),
        (rules(_100=GroupRules(allow_from=(), commands=("1",))), {"via": "b"}, "not_on_group_allow_list", None),
        (rules(_100=GroupRules()), {"addressed": False}, "not_addressed", "require_mention"),
        (rules(_100=GroupRules(require_mention=False)), {"addressed": False}, "admitted", 'groups."-100"'),
        (
            rules(require_mention=False, _100=GroupRules(require_mention=True)),
            {"addressed": False},
            "not_addressed",
            'groups."-100".require_mention',
        ),
    ],
)
@pytest.mark.parametrize("peer", [GROUP, TOPIC, CHANNEL], ids=["group", "topic", "channel"])
def test_who_may_talk_in_a_group(frame: AccountFrame, changes: dict[str, Any], reason: str, rule: str | None, peer: Peer) -> None:
    talk = judge_group(said(peer=peer, **changes), frame)
    assert (talk.allowed, talk.reason) == (reason == "admitted", reason)
    assert rule is None or talk.rule == rule


FRAME = rules(operators=("9",), _100=GroupRules(commands=("5",)))


@pytest.mark.parametrize(
    ("envelope", "writers", "role"),
    [
        (said("1", Peer("dm", "1")), (), "own_chat"),
        (said("1"), (), "member"),
        (said("1"), [Writer("1")], "writer"),
        (said("1"), [Writer("2"), Writer("1")], "writer"),
        (said("9"), [Writer("1")], "operator"),
        (said("5"), [Writer("1")], "commander"),
        (said("5", Peer("group", "-200")), (), "member"),
        (said("9", via="bridge"), (), "member"),
        (said("5", via="bridge"), (), "member"),
        (said("1", via="bridge"), [Writer("1")], "member"),
        (said("1", via="bridge"), [Writer("1", "bridge")], "writer"),
        (said("1"), [Writer("1", "bridge")], "member"),
    ],
)
def test_what_somebody_is_in_a_chat(envelope: InboundEnvelope, writers: list[Writer], role: str) -> None:
    assert role_of(envelope, FRAME, writers) == role


def test_everybody_may_act_where_the_list_says_so() -> None:
    assert role_of(said("1"), rules(_100=GroupRules(commands=("*",)))) == "commander"
    assert role_of(said("1", via="bridge"), rules(_100=GroupRules(commands=("*",)))) == "member"


IDS = st.sampled_from(["1", "2", "3", "*"])
LISTS = st.lists(IDS, max_size=3).map(tuple)
GROUPS = st.builds(GroupRules, st.none() | LISTS, st.none() | st.booleans(), st.none(), LISTS)
FRAMES = st.builds(
    AccountFrame,
    operators=st.lists(st.sampled_from(["1", "2", "3"]), max_size=2).map(tuple),
    group_policy=st.sampled_from(["allowlist", "open"]),
    groups=LISTS | st.dictionaries(st.sampled_from(["-100", "-200", "*"]), GROUPS, max_size=3),
    require_mention=st.booleans(),
)
SAID = st.builds(said, st.sampled_from(["1", "2", "3"]), addressed=st.booleans(), via=st.none() | st.just("bridge"))


@given(FRAMES, SAID)
def test_what_a_program_brings_is_never_allowed_more_than_what_the_platform_says(
    frame: AccountFrame, envelope: InboundEnvelope
) -> None:
    brought, own = (said(envelope.sender.id, addressed=envelope.addressed, via=via) for via in ("bridge", None))
    assert judge_group(own, frame).allowed or not judge_group(brought, frame).allowed
    assert role_of(brought, frame) == "member"
    assert role_of(brought, frame, [own.writer]) == "member"


@given(FRAMES, SAID)
def test_who_is_listed_for_more_may_talk_where_the_group_is_listed(frame: AccountFrame, envelope: InboundEnvelope) -> None:
    talk = judge_group(envelope, frame)
    if role_of(envelope, frame) == "operator":
        assert talk.reason in ("admitted", "not_addressed", "group_not_on_allow_list")
    if talk.reason == "group_not_on_allow_list":
        assert who_in_group("-100", frame).startswith("nobody")
    if "*" not in frame.open_groups and "-100" not in frame.open_groups and talk.allowed:
        assert talk.rule.endswith(("allow_from", "commands", "operators"))


@pytest.mark.parametrize(
    ("frame", "groups", "who"),
    [
        (AccountFrame(), (), "nobody (the group is not in groups)"),
        (AccountFrame(group_policy="disabled", groups=("-100",)), (), "nobody (group_policy is disabled)"),
        (AccountFrame(groups=("-100",)), ("-100",), "everybody in the group (groups), when the bot is addressed"),
        (AccountFrame(group_policy="open", groups=("-100",)), ("-100", "*"), "everybody in the group (groups), when"),
        (rules(require_mention=False, any=GroupRules()), ("*",), 'everybody in the group (groups."*")'),
        (rules(_100=GroupRules(allow_from=("1",))), (), 'who is on groups."-100".allow_from, when the bot is addressed'),
        (FRAME, ("-100",), 'everybody in the group (groups."-100"), when'),
        (
            rules(operators=("9",), _100=GroupRules(allow_from=("1",), commands=("5",))),
            (),
            'who is on groups."-100".allow_from or commands or operators, when',
        ),
    ],
)
def test_it_is_said_who_may_talk(frame: AccountFrame, groups: tuple[str, ...], who: str) -> None:
    assert frame.open_groups == groups
    assert who_in_group("-100", frame).startswith(who)
