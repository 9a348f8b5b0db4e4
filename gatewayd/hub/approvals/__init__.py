"""What people decide: tool requests, their prompts and responses in chats, policy, escalation, and the questions of agents.

Nothing here runs a tool or a turn: a decision is a row, and the turn that waits for it reads it.
"""
