"""Who may talk in a group. Who may act for others there: gatewayd/model/message/roles.py. Pure."""

from typing import Literal

from msgspec import Struct

from gatewayd.model.config import AccountFrame, may_all_talk
from gatewayd.model.lifecycle import DroppedReason
from gatewayd.model.message.envelope import InboundEnvelope


class GroupDecision(Struct, frozen=True):
    """Whether a sender may talk in a group. ``reason`` is machine-readable; ``rule`` is the account's key that decides."""

    allowed: bool
    reason: DroppedReason | Literal["admitted"]
    rule: str


def judge_group(envelope: InboundEnvelope, frame: AccountFrame) -> GroupDecision:
    """Whether a message from a group or channel is for the agent."""
    name, rules = frame.group_name(envelope.peer.id), frame.group_rules(envelope.peer.id)
    if frame.group_policy == "disabled":
        return GroupDecision(False, "groups_disabled", "group_policy")
    if frame.group_policy == "allowlist" and name is None:
        return GroupDecision(False, "group_not_on_allow_list", "groups")
    decision = _judge_sender(envelope, frame)
    if decision.allowed and not envelope.addressed and must_mention(frame, envelope.peer.id):
        own = isinstance(frame.groups, dict) and rules.require_mention is not None
        return GroupDecision(False, "not_addressed", f"{_table_of(name, frame)}.require_mention" if own else "require_mention")
    return decision


def must_mention(frame: AccountFrame, group_id: str) -> bool:
    """Whether the agent gets only messages that address the bot in this group."""
    own = frame.group_rules(group_id).require_mention
    return frame.require_mention if own is None else own


def who_in_group(group_id: str, frame: AccountFrame) -> str:
    """Who may talk in a group or channel, in words."""
    name, rules = frame.group_name(group_id), frame.group_rules(group_id)
    table = _table_of(name, frame)
    if frame.group_policy == "disabled":
        return "nobody (group_policy is disabled)"
    if frame.group_policy == "allowlist" and name is None:
        return "nobody (the group is not in groups)"
    more = [word for word, ids in (("commands", rules.commands), ("operators", frame.operators)) if ids]
    listed = " or ".join([f"{table}.allow_from", *more])
    who = f"everybody in the group ({table})" if may_all_talk(rules) else f"who is on {listed}"
    return f"{who}, when the bot is addressed" if must_mention(frame, group_id) else who


def _judge_sender(envelope: InboundEnvelope, frame: AccountFrame) -> GroupDecision:
    """The first rule that admits the sender. Rules that admit everybody come last, so that the answer is as specific as
    possible."""
    name, rules = frame.group_name(envelope.peer.id), frame.group_rules(envelope.peer.id)
    table, sender = _table_of(name, frame), envelope.sender.id
    if envelope.via is None and sender in frame.operators:
        return GroupDecision(True, "admitted", "operators")
    if envelope.via is None and sender in rules.commands:
        return GroupDecision(True, "admitted", f"{table}.commands")
    if rules.allow_from is None:
        return GroupDecision(True, "admitted", table)
    allowed = sender in rules.allow_from or may_all_talk(rules)
    return GroupDecision(allowed, "admitted" if allowed else "not_on_group_allow_list", f"{table}.allow_from")


def _table_of(name: str | None, frame: AccountFrame) -> str:
    """Where the rules of a group are configured."""
    if name is None:
        return "group_policy"
    return f'groups."{name}"' if isinstance(frame.groups, dict) else "groups"
