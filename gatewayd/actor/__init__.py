"""Supervised actors: supervisor, pool, life, back-off, and the border around third-party code.

Nothing here knows of chats, agents or the store.
"""
