"""Tests of the fake Discord: its own rules, and what real client libraries make of its bytes."""
