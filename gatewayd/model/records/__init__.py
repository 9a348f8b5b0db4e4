"""The kinds of rows that a store keeps beside messages and replies, and the check of what can be stored.

The states of rows do not belong here (gatewayd/model/lifecycle.py), nor do the operations on them (gatewayd/ports/store).
"""
