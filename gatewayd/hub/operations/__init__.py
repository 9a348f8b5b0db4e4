"""Tools for operators: dead letters, traces, health checks, transcripts, and retention.

Code on the way of a message does not belong here.
"""
