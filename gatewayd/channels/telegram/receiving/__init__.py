"""From Telegram: updates come by poll or webhook, and become envelopes.

What sends does not belong here.
"""
