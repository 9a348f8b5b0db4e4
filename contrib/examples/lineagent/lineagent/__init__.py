"""An agent that is a program: it gets the turn as one line of JSON, and answers with lines of JSON."""

from gatewayd.ports.agent import AgentPlugin

PLUGIN = AgentPlugin(
    id="lineagent",
    label="Program with lines",
    settings="lineagent.settings:LineSettings",
    open="lineagent.core:open_lineagent",
)
