"""Discord's gateway v10: connections, sessions, intents."""
