"""The acp core: any agent that speaks the Agent Client Protocol (https://agentclientprotocol.com), version 1, over stdio.

Here are the process, its connection and its sessions; what belongs to one prompt is in ``turn``.
"""

from gatewayd.ports.agent import AgentPlugin

PLUGIN = AgentPlugin(
    id="acp",
    label="ACP agent",
    settings="gatewayd.agents.acp.settings:AcpSettings",
    open="gatewayd.agents.acp.opener:open_acp",
)
