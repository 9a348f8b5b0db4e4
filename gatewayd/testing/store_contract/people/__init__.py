"""The contract for people: approvals, votes, questions, pairings, tokens."""
