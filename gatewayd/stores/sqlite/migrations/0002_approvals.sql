-- Approvals with votes, groups and grants; questions; cards in chats; the audit log.

ALTER TABLE approval RENAME TO approval_of_first;
DROP INDEX approval_state;

-- SQLite cannot change a CHECK: the table is made anew. code: what people write in a chat. votes and asked_groups: JSON arrays.
CREATE TABLE approval (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    agent TEXT NOT NULL,
    session_key TEXT NOT NULL,
    turn_id TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    tool TEXT NOT NULL,
    input TEXT NOT NULL,
    input_hash TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'allowed', 'denied', 'expired', 'withdrawn', 'undeliverable')),
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    origin TEXT NOT NULL,
    decided_at REAL,
    decided_by TEXT,
    note TEXT,
    consumed_at REAL,
    code TEXT NOT NULL COLLATE NOCASE,
    session_id TEXT NOT NULL,
    asked_by TEXT,
    ref TEXT,
    asked_groups TEXT NOT NULL,
    quorum INTEGER NOT NULL,
    votes TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('once', 'session')),
    UNIQUE (turn_id, ordinal)
);
INSERT INTO approval
    SELECT seq, id, agent, session_key, turn_id, ordinal, tool, input, input_hash, state, created_at, expires_at, origin,
           decided_at, decided_by, note, consumed_at, id, '', NULL, NULL, '["operators"]', 1, '[]', 'once'
    FROM approval_of_first ORDER BY seq;
DROP TABLE approval_of_first;
CREATE INDEX approval_state ON approval (state, seq);
CREATE INDEX approval_code ON approval (code);
CREATE INDEX approval_ref ON approval (ref) WHERE ref IS NOT NULL AND state = 'pending';

-- "Allow for this session": input_hash is empty when it covers the tool with any input. session_id changes with /new.
CREATE TABLE approval_grant (
    session_key TEXT NOT NULL,
    session_id TEXT NOT NULL,
    tool TEXT NOT NULL,
    input_hash TEXT NOT NULL,
    approval_id TEXT NOT NULL,
    granted_by TEXT NOT NULL,
    granted_at REAL NOT NULL,
    PRIMARY KEY (session_key, session_id, tool, input_hash)
) WITHOUT ROWID;

CREATE TABLE question (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    turn_id TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    session_key TEXT NOT NULL,
    question BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'answered', 'dismissed', 'expired', 'withdrawn')),
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    answers BLOB NOT NULL,
    answered_by TEXT,
    ended_at REAL,
    UNIQUE (turn_id, ordinal)
);
CREATE INDEX question_pending ON question (seq) WHERE state = 'pending';

-- What a message is about: the id of the approval or question whose card it is.
ALTER TABLE outbound ADD COLUMN subject TEXT;
CREATE INDEX outbound_subject ON outbound (subject, id) WHERE subject IS NOT NULL;

-- Append-only: each entry's hash covers the one before it.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL
);
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
CREATE TRIGGER audit_is_never_cut BEFORE DELETE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
