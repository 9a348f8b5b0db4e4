"""The real Telegram driver in the simulation: HTTP on byte streams in memory, and a Bot API server at the other end."""
