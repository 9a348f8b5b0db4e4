"""What operators look at and repair: dead letters, traces, health checks, transcripts, and retention.

Nothing on the way of a message belongs here.
"""
