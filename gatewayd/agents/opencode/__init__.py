"""The opencode core: agents behind the HTTP server of OpenCode (``opencode serve``) or of the OpenAgentic SDK (``oa serve``).

Both have the same paths; /global/health tells them apart. Here are the core and the runs of its turns, the server and its two
dialects are in folders, and so is the proxy for operators' clients.
"""

from gatewayd.ports.agent import AgentPlugin

PLUGIN = AgentPlugin(
    id="opencode",
    label="OpenCode and OpenAgentic",
    settings="gatewayd.agents.opencode.settings:OpencodeSettings",
    open="gatewayd.agents.opencode.opener:open_opencode",
    proxy="gatewayd.agents.opencode.proxy.routes:PROXY",
)
