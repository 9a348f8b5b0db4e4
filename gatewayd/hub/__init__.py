"""The hub: one of each. Accounts under supervision, inbox, access, routing, lanes of turns, approvals, outbox, events."""
