-- What was called a letter is called a dead letter. The entries of the audit log stay as they were written: each holds the hash of
-- the one before it.

UPDATE event SET kind = 'dead_' || kind WHERE kind IN ('letter.retried', 'letter.dropped', 'letter.expired');

DROP INDEX inbound_letter;
CREATE INDEX inbound_dead_letter ON inbound (ended_at, id, channel, account, reason) WHERE state = 'dead' AND closed_at IS NULL;
DROP INDEX outbound_letter;
CREATE INDEX outbound_dead_letter ON outbound (settled_at, id, state, channel, account, reason)
    WHERE state IN ('unknown', 'parked', 'dead') AND closed_at IS NULL;
