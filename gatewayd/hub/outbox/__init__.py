"""From the turn to the account: replies as rows, the queue of each account, outcomes and delivery reports, and replies of unknown
outcome.

No call of a platform belongs here (gatewayd/hub/accounts/sender.py).
"""
