"""The chat_completions core: its wire, its memory, its settings, and the whole of it against the scripted model."""
