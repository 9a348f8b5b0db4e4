"""Supervised actors: supervisor, mailbox, back-off. Knows nothing of chat."""
