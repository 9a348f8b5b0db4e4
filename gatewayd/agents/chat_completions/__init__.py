"""Any OpenAI-compatible endpoint as an agent: a model without tools. Ollama, vLLM, llama.cpp, OpenRouter, OpenAI …

A model with tools needs a core that runs them: ``acp``, ``opencode`` or ``callable``.
"""

from gatewayd.ports.agent import AgentPlugin

PLUGIN = AgentPlugin(
    id="chat_completions",
    label="OpenAI-compatible endpoint",
    settings="gatewayd.agents.chat_completions.settings:ChatCompletionsSettings",
    open="gatewayd.agents.chat_completions.core:open_chat_completions",
)
