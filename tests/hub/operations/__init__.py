"""Tests of the tools for operators: dead letters, traces, health checks, transcripts, retention.

Tests of their HTTP routes do not belong here (tests/web/api), nor do those of gatewayctl (tests/cli).
"""
