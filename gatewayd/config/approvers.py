"""What must hold between approvals, agents and accounts: the names exist, and the people and chats are possible ones."""

from collections.abc import Iterable, Mapping
from typing import Final, get_args

from gatewayd.config.problems import Problems, listed, nearest, show
from gatewayd.config.source import KeyPath
from gatewayd.model.config import OPERATORS, AgentSettings, ApprovalsSection, ApproverGroup
from gatewayd.model.message.envelope import PeerKind
from gatewayd.ports.channel import ChannelPlugin

_ORIGIN: Final = "origin"


class ApproverChecks:
    """Notes problems of groups of approvers, and of the agents that ask them.

    ``accounts`` are (channel, account). ``manifests`` are those of the channels in use, ``installed`` the names of all channels.
    """

    def __init__(
        self,
        problems: Problems,
        accounts: Iterable[tuple[str, str]],
        manifests: Mapping[str, ChannelPlugin],
        installed: tuple[str, ...],
    ) -> None:
        self._problems = problems
        self._accounts = tuple(accounts)
        self._manifests = manifests
        self._installed = installed

    def check(self, approvals: ApprovalsSection, agents: Iterable[AgentSettings]) -> None:
        for name, group in approvals.groups.items():
            self._check_group(name, group)
        for agent in agents:
            self._check_agent(agent, approvals)

    def _check_group(self, name: str, group: ApproverGroup) -> None:
        key = ("approvals", "groups", name)
        if name == OPERATORS:
            self._problems.add(key, f'"{OPERATORS}" is the group of those with a token, and is always there: choose another name')
        if not group.people:
            self._problems.add((*key, "people"), "is empty: nobody could answer")
        if not group.chats:
            self._problems.add((*key, "chats"), "is empty: nobody could see a request")
        for index, person in enumerate(group.people):
            channel, colon, identity = person.partition(":")
            self._check_id((*key, "people", index), person, channel if colon else "", identity, self._installed)
        for index, chat in enumerate(group.chats):
            if chat != _ORIGIN:
                self._check_chat((*key, "chats", index), chat)

    def _check_chat(self, key: KeyPath, chat: str) -> None:
        kinds = get_args(PeerKind)
        parts = chat.split(":", 3)
        if len(parts) < 4 or parts[2] not in kinds:
            allowed = f'"{_ORIGIN}" or CHANNEL:ACCOUNT:KIND:ID, where KIND is {listed(kinds)}'
            self._problems.add(key, "is not a chat", found=show(chat), allowed=allowed)
            return
        channel, account, kind, identity = parts
        names = [f"{kind}:{name}" for kind, name in self._accounts]
        if (channel, account) not in self._accounts:
            close = nearest(f"{channel}:{account}", names)
            self._problems.add(key, "no such account", found=show(chat), allowed=listed(names), nearest=close)
            return
        self._check_id(key, chat, channel, identity, tuple(self._manifests), place=kind != "dm")

    def _check_id(
        self, key: KeyPath, found: str, channel: str, identity: str, channels: tuple[str, ...], *, place: bool = False
    ) -> None:
        if not channel or not identity or identity != identity.strip():
            self._problems.add(key, "is not CHANNEL:ID", found=show(found), allowed='e.g. "telegram:1234"')
            return
        plugin = self._manifests.get(channel)
        if plugin is None and channel in channels:
            what = f'no account of the channel "{channel}" is configured: {show(found)} cannot write from there'
            self._problems.warn(key, what)
        elif plugin is None:
            close = nearest(channel, channels)
            self._problems.add(key, "no such channel", found=show(found), allowed=listed(channels), nearest=close)
        elif not plugin.is_id(identity, place=place):
            self._problems.add(key, f"is not an id of {plugin.label}", found=show(found), allowed=plugin.form_of(place=place))

    def _check_agent(self, agent: AgentSettings, approvals: ApprovalsSection) -> None:
        key = ("agents", agent.agent_id, "approvals")
        policy = agent.frame.approvals
        names = (OPERATORS, *approvals.groups)
        if not policy.ask:
            self._problems.add((*key, "ask"), "is empty: every request would fail at once", allowed=listed(names))
        for index, name in enumerate(policy.ask):
            if name not in names:
                close = nearest(name, names)
                found, allowed = show(name), listed(names)
                self._problems.add((*key, "ask", index), "no such group", found=found, allowed=allowed, nearest=close)
        people = {person for name in policy.ask if name in approvals.groups for person in approvals.groups[name].people}
        if OPERATORS not in policy.ask and policy.quorum > len(people) and all(name in names for name in policy.ask):
            what = f"is more than the {len(people)} people of the groups that are asked: no request could be allowed by them"
            self._problems.warn((*key, "quorum"), what)
        for index, rule in enumerate(policy.rules[:-1]):
            if rule.tool == "*" and not rule.input:
                self._problems.warn((*key, "rules", index), "fits every request: the rules after it are never used")
