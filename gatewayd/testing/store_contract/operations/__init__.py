"""The contract for operators: dead letters, repair, retention, traces, audit log, events."""
