-- doubt_since: when the first send of a reply began whose outcome is unknown. A reply that may have been seen does not end as one
-- that was never seen. retries: how often a person has retried it. The CHECKs are for an SQLite without STRICT tables, where
-- __init__.py gives some to the columns of a new table only.

ALTER TABLE outbound ADD COLUMN doubt_since REAL CHECK (typeof(doubt_since) IN ('real', 'null'));
UPDATE outbound SET doubt_since = coalesce(sending_at, created_at) WHERE state IN ('sending', 'unknown');
ALTER TABLE outbound ADD COLUMN retries INTEGER NOT NULL DEFAULT 0 CHECK (typeof(retries) = 'integer');
UPDATE outbound SET retries = 1 WHERE queued_at <> created_at;
