"""People who answer, for the tests of requests: a team with buttons, a boss, phones with little room, and who wrote."""

from gatewayd.model.config import AgentApprovals, ApprovalsSection, ApproverGroup, GatewayConfig
from gatewayd.ports.store import OutboundRow
from tests.hub.house import House, configuration

TEAM_CHAT, BOSS_CHAT, USER_CHAT = "tg:main:group:-100", "tg:main:dm:9", "chat:main:dm:7"
GROUPS = {
    "team": ApproverGroup(people=("tg:1", "tg:2", "tg:3"), chats=(TEAM_CHAT,)),
    "boss": ApproverGroup(people=("tg:9",), chats=(BOSS_CHAT,)),
    "here": ApproverGroup(people=("chat:7", "tg:1"), chats=("origin",)),
    "phones": ApproverGroup(people=("sms:5",), chats=("sms:main:dm:5",)),
}


def asking(*groups: str, seconds: float = 900, **policy: object) -> GatewayConfig:
    """The agent asks these groups, else the team."""
    section = ApprovalsSection(timeout_seconds=seconds, groups=GROUPS)
    return configuration(approvals=section, policy=AgentApprovals(ask=groups or ("team",), **policy))  # type: ignore[arg-type]


async def only_prompt(house: House, conversation: str = TEAM_CHAT) -> OutboundRow:
    """The one message of a conversation, as it reads now."""
    [prompt] = await house.screen(conversation)
    return prompt


def text(row: OutboundRow) -> str:
    return row.payload.body.text


def buttons(row: OutboundRow) -> list[str]:
    return [choice.label for line in row.payload.choices for choice in line]
