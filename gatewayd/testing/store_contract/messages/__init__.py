"""The contract for messages: inbox, outbox, recovery, races, transcripts."""
