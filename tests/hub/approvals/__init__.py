"""Tests of the decisions of people: requests, prompts, responses, votes, escalation and questions.

Tests of whole turns without a decision do not belong here (tests/hub/turns).
"""
