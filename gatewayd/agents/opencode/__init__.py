"""Agents behind an HTTP server: OpenCode's (opencode.ai, ``opencode serve``) and the OpenAgentic SDK's (``oa serve``), which
has the same paths. They are told apart by /global/health."""

from gatewayd.ports.agent import AgentPlugin

PLUGIN = AgentPlugin(
    id="opencode",
    label="OpenCode and OpenAgentic",
    settings="gatewayd.agents.opencode.settings:OpencodeSettings",
    open="gatewayd.agents.opencode.opener:open_opencode",
    proxy="gatewayd.agents.opencode.proxy.routes:PROXY",
)
