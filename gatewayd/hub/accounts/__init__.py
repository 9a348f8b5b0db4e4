"""Accounts under supervision: the manager, the actor of one account, and its sends.

No driver of a network belongs here (gatewayd/channels), and no decision about a message.
"""
