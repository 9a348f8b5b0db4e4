"""What must hold between approvals, agents and accounts: names that are there, people and chats that can be. Notes problems."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import get_args

from gatewayd.config.problems import Problems, listed, nearest, show
from gatewayd.config.source import KeyPath
from gatewayd.model.config import OPERATORS, AgentSettings, ApprovalsSection, ApproverGroup
from gatewayd.model.message.envelope import PeerKind
from gatewayd.ports.channel import ChannelPlugin

Manifest = Callable[[str], ChannelPlugin]
_ORIGIN = "origin"


def check_approvals(
    problems: Problems,
    approvals: ApprovalsSection,
    agents: Iterable[AgentSettings],
    accounts: Iterable[tuple[str, str]],
    manifests: Mapping[str, ChannelPlugin],
    installed: tuple[str, ...],
) -> None:
    """``manifests``: those of the channels that are configured; ``installed``: the names of all."""
    known = tuple(accounts)
    for name, group in approvals.groups.items():
        _check_group(problems, name, group, known, manifests, installed)
    for agent in agents:
        _check_agent(problems, agent, approvals)


def _check_group(
    problems: Problems,
    name: str,
    group: ApproverGroup,
    accounts: tuple[tuple[str, str], ...],
    manifests: Mapping[str, ChannelPlugin],
    installed: tuple[str, ...],
) -> None:
    key = ("approvals", "groups", name)
    if name == OPERATORS:
        problems.add(key, f'"{OPERATORS}" is the group of those with a token, and is always there: choose another name')
    if not group.people:
        problems.add((*key, "people"), "is empty: nobody could answer")
    if not group.chats:
        problems.add((*key, "chats"), "is empty: nobody could see a request")
    for index, person in enumerate(group.people):
        channel, colon, identity = person.partition(":")
        _check_id(problems, (*key, "people", index), person, channel if colon else "", identity, manifests, installed)
    for index, chat in enumerate(group.chats):
        if chat != _ORIGIN:
            _check_chat(problems, (*key, "chats", index), chat, accounts, manifests)


def _check_chat(
    problems: Problems,
    key: KeyPath,
    chat: str,
    accounts: tuple[tuple[str, str], ...],
    manifests: Mapping[str, ChannelPlugin],
) -> None:
    kinds = get_args(PeerKind)
    parts = chat.split(":", 3)
    if len(parts) < 4 or parts[2] not in kinds:
        allowed = f'"{_ORIGIN}" or CHANNEL:ACCOUNT:KIND:ID, where KIND is {listed(kinds)}'
        problems.add(key, "is not a chat", found=show(chat), allowed=allowed)
        return
    channel, account, _, identity = parts
    names = [f"{kind}:{name}" for kind, name in accounts]
    if (channel, account) not in accounts:
        close = nearest(f"{channel}:{account}", names)
        problems.add(key, "no such account", found=show(chat), allowed=listed(names), nearest=close)
        return
    _check_id(problems, key, chat, channel, identity, manifests, tuple(manifests))


def _check_id(
    problems: Problems,
    key: KeyPath,
    found: str,
    channel: str,
    identity: str,
    manifests: Mapping[str, ChannelPlugin],
    installed: tuple[str, ...],
) -> None:
    if not channel or not identity or identity != identity.strip():
        problems.add(key, "is not CHANNEL:ID", found=show(found), allowed='e.g. "telegram:1234"')
        return
    plugin = manifests.get(channel)
    if plugin is None and channel in installed:
        problems.warn(key, f'no account of the channel "{channel}" is configured: {show(found)} cannot write from there')
    elif plugin is None:
        problems.add(key, "no such channel", found=show(found), allowed=listed(installed), nearest=nearest(channel, installed))
    elif plugin.id_pattern is not None and re.fullmatch(plugin.id_pattern, identity) is None:
        problems.add(key, f"is not an id of {plugin.label}", found=show(found), allowed=plugin.id_form)


def _check_agent(problems: Problems, agent: AgentSettings, approvals: ApprovalsSection) -> None:
    key = ("agents", agent.agent_id, "approvals")
    policy = agent.frame.approvals
    names = (OPERATORS, *approvals.groups)
    if not policy.ask:
        problems.add((*key, "ask"), "is empty: every request would fail at once", allowed=listed(names))
    for index, name in enumerate(policy.ask):
        if name not in names:
            close = nearest(name, names)
            problems.add((*key, "ask", index), "no such group", found=show(name), allowed=listed(names), nearest=close)
    people = {person for name in policy.ask if name in approvals.groups for person in approvals.groups[name].people}
    if OPERATORS not in policy.ask and policy.quorum > len(people) and all(name in names for name in policy.ask):
        what = f"is more than the {len(people)} people of the groups that are asked: no request could be allowed by them"
        problems.warn((*key, "quorum"), what)
    for index, rule in enumerate(policy.rules[:-1]):
        if rule.tool == "*" and not rule.input:
            problems.warn((*key, "rules", index), "fits every request: the rules after it are never looked at")
