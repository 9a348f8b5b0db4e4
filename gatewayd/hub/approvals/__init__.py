"""Decisions of people: tool requests, their prompts and responses in chats, policy, escalation, and the questions of agents.

Code that runs a tool or a turn does not belong here. A decision is a row, and the waiting turn reads it.
"""
