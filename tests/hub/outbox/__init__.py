"""Tests of the outbox and its queues: order, pauses, settling, and replies of unknown outcome.

Tests of the sends of an account do not belong here (tests/hub/accounts).
"""
