-- What platforms report of messages that they took, and the reports whose message is not known yet.
ALTER TABLE outbound ADD COLUMN delivered_at REAL CHECK (typeof(delivered_at) IN ('real', 'null'));
ALTER TABLE outbound ADD COLUMN read_at REAL CHECK (typeof(read_at) IN ('real', 'null'));

CREATE TABLE report (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    channel TEXT NOT NULL,
    account TEXT NOT NULL,
    message_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('delivered', 'read', 'failed')),
    at REAL NOT NULL,
    reason TEXT,
    received_at REAL NOT NULL,
    UNIQUE (channel, account, message_id, kind)
) STRICT;
CREATE INDEX report_account ON report (channel, account, seq);
CREATE INDEX report_received ON report (received_at);
