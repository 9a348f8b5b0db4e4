"""Turns: lanes, slots, sessions, the engine that runs an agent core, its outcome, and the chat commands that act on turns.

No way to decide a tool request belongs here (gatewayd/hub/approvals).
"""
