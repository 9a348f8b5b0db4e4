-- The types of values are checked from here on: every table is made anew as a STRICT one, or with CHECKs where SQLite has none of
-- those (__init__.py). What an older release has written with another type is cast, which never fails; a row that would be the
-- double of another one then stays out, and is in the copy that was made before.

CREATE TABLE strict_inbound (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    channel TEXT NOT NULL,
    account TEXT NOT NULL,
    event_key TEXT NOT NULL,
    peer TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('received', 'running', 'done', 'dropped', 'dead')),
    attempts INTEGER NOT NULL DEFAULT 0,
    received_at REAL NOT NULL,
    ended_at REAL,
    reason TEXT,
    turn_id TEXT,
    session_key TEXT,
    envelope BLOB NOT NULL,
    message_id TEXT,
    started_at REAL,
    retries INTEGER NOT NULL DEFAULT 0,
    closed_at REAL,
    detail TEXT,
    given_key TEXT,
    stops INTEGER NOT NULL DEFAULT 0,
    UNIQUE (channel, account, event_key)
) STRICT;
INSERT OR IGNORE INTO strict_inbound SELECT
    id, CAST(channel AS TEXT), CAST(account AS TEXT), CAST(event_key AS TEXT), CAST(peer AS TEXT), CAST(state AS TEXT),
    CAST(attempts AS INTEGER), CAST(received_at AS REAL), CAST(ended_at AS REAL), CAST(reason AS TEXT), CAST(turn_id AS TEXT),
    CAST(session_key AS TEXT), CAST(envelope AS BLOB), CAST(message_id AS TEXT), CAST(started_at AS REAL),
    CAST(retries AS INTEGER), CAST(closed_at AS REAL), CAST(detail AS TEXT), CAST(given_key AS TEXT), CAST(stops AS INTEGER)
FROM inbound;
DELETE FROM sqlite_sequence WHERE name = 'strict_inbound';
INSERT INTO sqlite_sequence SELECT 'strict_inbound', seq FROM sqlite_sequence WHERE name = 'inbound';
DROP TABLE inbound;
ALTER TABLE strict_inbound RENAME TO inbound;
CREATE INDEX inbound_pending ON inbound (id) WHERE state IN ('received', 'running');
CREATE INDEX inbound_peer ON inbound (channel, account, peer, id);
CREATE INDEX inbound_message ON inbound (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX inbound_turn ON inbound (turn_id) WHERE turn_id IS NOT NULL;
CREATE INDEX inbound_session ON inbound (session_key, id) WHERE session_key IS NOT NULL;
CREATE INDEX inbound_letter ON inbound (ended_at, id, channel, account, reason) WHERE state = 'dead' AND closed_at IS NULL;
CREATE INDEX inbound_over ON inbound (ended_at, id) WHERE state IN ('done', 'dropped') OR closed_at IS NOT NULL;
CREATE INDEX inbound_given ON inbound (given_key) WHERE given_key IS NOT NULL;

CREATE TABLE strict_outbound (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    channel TEXT NOT NULL,
    account TEXT NOT NULL,
    conversation TEXT NOT NULL,
    peer TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('ready', 'sending', 'sent', 'unknown', 'parked', 'dead')),
    attempts INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    next_attempt_at REAL,
    settled_at REAL,
    turn_id TEXT,
    reason TEXT,
    payload BLOB NOT NULL,
    receipt BLOB,
    subject TEXT,
    message_id TEXT,
    queued_at REAL,
    sending_at REAL,
    closed_at REAL,
    edits INTEGER
) STRICT;
INSERT OR IGNORE INTO strict_outbound SELECT
    id, CAST(channel AS TEXT), CAST(account AS TEXT), CAST(conversation AS TEXT), CAST(peer AS TEXT), CAST(state AS TEXT),
    CAST(attempts AS INTEGER), CAST(created_at AS REAL), CAST(next_attempt_at AS REAL), CAST(settled_at AS REAL),
    CAST(turn_id AS TEXT), CAST(reason AS TEXT), CAST(payload AS BLOB), CAST(receipt AS BLOB), CAST(subject AS TEXT),
    CAST(message_id AS TEXT), CAST(queued_at AS REAL), CAST(sending_at AS REAL), CAST(closed_at AS REAL),
    CAST(edits AS INTEGER)
FROM outbound;
DELETE FROM sqlite_sequence WHERE name = 'strict_outbound';
INSERT INTO sqlite_sequence SELECT 'strict_outbound', seq FROM sqlite_sequence WHERE name = 'outbound';
DROP TABLE outbound;
ALTER TABLE strict_outbound RENAME TO outbound;
CREATE INDEX outbound_ready ON outbound (channel, account, id) WHERE state = 'ready';
CREATE INDEX outbound_state ON outbound (state, id);
CREATE INDEX outbound_turn ON outbound (turn_id) WHERE turn_id IS NOT NULL;
CREATE INDEX outbound_peer ON outbound (channel, account, peer, id);
CREATE INDEX outbound_subject ON outbound (subject, id) WHERE subject IS NOT NULL;
CREATE INDEX outbound_message ON outbound (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX outbound_edits ON outbound (edits, id) WHERE edits IS NOT NULL;
CREATE INDEX outbound_letter ON outbound (settled_at, id, state, channel, account, reason)
    WHERE state IN ('unknown', 'parked', 'dead') AND closed_at IS NULL;
CREATE INDEX outbound_over ON outbound (settled_at, id) WHERE state = 'sent' OR closed_at IS NOT NULL;

CREATE TABLE strict_session (
    session_key TEXT PRIMARY KEY,
    agent_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    created_at REAL NOT NULL,
    last_used_at REAL NOT NULL,
    core TEXT,
    left_over TEXT,
    conversation BLOB,
    made_by INTEGER
) WITHOUT ROWID, STRICT;
INSERT OR IGNORE INTO strict_session SELECT
    CAST(session_key AS TEXT), CAST(agent_id AS TEXT), CAST(session_id AS TEXT), CAST(generation AS INTEGER),
    CAST(created_at AS REAL), CAST(last_used_at AS REAL), CAST(core AS TEXT), CAST(left_over AS TEXT),
    CAST(conversation AS BLOB), CAST(made_by AS INTEGER)
FROM session;
DROP TABLE session;
ALTER TABLE strict_session RENAME TO session;
CREATE INDEX session_used ON session (last_used_at);
CREATE INDEX session_of_agent ON session (agent_id, session_id);

CREATE TABLE strict_approval (
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
    session_grant TEXT NOT NULL DEFAULT 'input' CHECK (session_grant IN ('off', 'input', 'tool')),
    UNIQUE (turn_id, ordinal)
) STRICT;
INSERT OR IGNORE INTO strict_approval SELECT
    seq, CAST(id AS TEXT), CAST(agent AS TEXT), CAST(session_key AS TEXT), CAST(turn_id AS TEXT), CAST(ordinal AS INTEGER),
    CAST(tool AS TEXT), CAST(input AS TEXT), CAST(input_hash AS TEXT), CAST(state AS TEXT), CAST(created_at AS REAL),
    CAST(expires_at AS REAL), CAST(origin AS TEXT), CAST(decided_at AS REAL), CAST(decided_by AS TEXT), CAST(note AS TEXT),
    CAST(consumed_at AS REAL), CAST(code AS TEXT), CAST(session_id AS TEXT), CAST(asked_by AS TEXT), CAST(ref AS TEXT),
    CAST(asked_groups AS TEXT), CAST(quorum AS INTEGER), CAST(votes AS TEXT), CAST(scope AS TEXT), CAST(session_grant AS TEXT)
FROM approval;
DELETE FROM sqlite_sequence WHERE name = 'strict_approval';
INSERT INTO sqlite_sequence SELECT 'strict_approval', seq FROM sqlite_sequence WHERE name = 'approval';
DROP TABLE approval;
ALTER TABLE strict_approval RENAME TO approval;
CREATE INDEX approval_state ON approval (state, seq);
CREATE INDEX approval_code ON approval (code);
CREATE INDEX approval_ref ON approval (ref) WHERE ref IS NOT NULL AND state = 'pending';
CREATE INDEX approval_over ON approval (decided_at, seq) WHERE state <> 'pending';

CREATE TABLE strict_approval_grant (
    session_key TEXT NOT NULL,
    session_id TEXT NOT NULL,
    tool TEXT NOT NULL,
    input_hash TEXT NOT NULL,
    approval_id TEXT NOT NULL,
    granted_by TEXT NOT NULL,
    granted_at REAL NOT NULL,
    PRIMARY KEY (session_key, session_id, tool, input_hash)
) WITHOUT ROWID, STRICT;
INSERT OR IGNORE INTO strict_approval_grant SELECT
    CAST(session_key AS TEXT), CAST(session_id AS TEXT), CAST(tool AS TEXT), CAST(input_hash AS TEXT),
    CAST(approval_id AS TEXT), CAST(granted_by AS TEXT), CAST(granted_at AS REAL)
FROM approval_grant;
DROP TABLE approval_grant;
ALTER TABLE strict_approval_grant RENAME TO approval_grant;

CREATE TABLE strict_question (
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
) STRICT;
INSERT OR IGNORE INTO strict_question SELECT
    seq, CAST(id AS TEXT), CAST(turn_id AS TEXT), CAST(ordinal AS INTEGER), CAST(session_key AS TEXT), CAST(question AS BLOB),
    CAST(state AS TEXT), CAST(created_at AS REAL), CAST(expires_at AS REAL), CAST(answers AS BLOB), CAST(answered_by AS TEXT),
    CAST(ended_at AS REAL)
FROM question;
DELETE FROM sqlite_sequence WHERE name = 'strict_question';
INSERT INTO sqlite_sequence SELECT 'strict_question', seq FROM sqlite_sequence WHERE name = 'question';
DROP TABLE question;
ALTER TABLE strict_question RENAME TO question;
CREATE INDEX question_pending ON question (seq) WHERE state = 'pending';
CREATE INDEX question_over ON question (ended_at, seq) WHERE state <> 'pending';

CREATE TABLE strict_event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    data BLOB NOT NULL
) STRICT;
INSERT OR IGNORE INTO strict_event SELECT
    seq, CAST(at AS REAL), CAST(kind AS TEXT), CAST(data AS BLOB)
FROM event;
DELETE FROM sqlite_sequence WHERE name = 'strict_event';
INSERT INTO sqlite_sequence SELECT 'strict_event', seq FROM sqlite_sequence WHERE name = 'event';
DROP TABLE event;
ALTER TABLE strict_event RENAME TO event;

CREATE TABLE strict_memo (
    channel TEXT NOT NULL,
    account TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (channel, account, key)
) WITHOUT ROWID, STRICT;
INSERT OR IGNORE INTO strict_memo SELECT
    CAST(channel AS TEXT), CAST(account AS TEXT), CAST(key AS TEXT), CAST(value AS TEXT)
FROM memo;
DROP TABLE memo;
ALTER TABLE strict_memo RENAME TO memo;

CREATE TABLE strict_pairing (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    code TEXT NOT NULL COLLATE NOCASE,
    channel TEXT NOT NULL,
    account TEXT NOT NULL,
    sender_id TEXT NOT NULL,
    sender_name TEXT,
    peer BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'approved', 'denied')),
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    decided_at REAL,
    decided_by TEXT
) STRICT;
INSERT OR IGNORE INTO strict_pairing SELECT
    id, CAST(code AS TEXT), CAST(channel AS TEXT), CAST(account AS TEXT), CAST(sender_id AS TEXT), CAST(sender_name AS TEXT),
    CAST(peer AS BLOB), CAST(state AS TEXT), CAST(created_at AS REAL), CAST(expires_at AS REAL), CAST(decided_at AS REAL),
    CAST(decided_by AS TEXT)
FROM pairing;
DELETE FROM sqlite_sequence WHERE name = 'strict_pairing';
INSERT INTO sqlite_sequence SELECT 'strict_pairing', seq FROM sqlite_sequence WHERE name = 'pairing';
DROP TABLE pairing;
ALTER TABLE strict_pairing RENAME TO pairing;
CREATE UNIQUE INDEX pairing_code ON pairing (code) WHERE state = 'pending';
CREATE INDEX pairing_sender ON pairing (channel, account, sender_id, state);
CREATE INDEX pairing_state ON pairing (state, id);

CREATE TABLE strict_token (
    digest TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('token', 'login_code', 'web_session')),
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL
) WITHOUT ROWID, STRICT;
INSERT OR IGNORE INTO strict_token SELECT
    CAST(digest AS TEXT), CAST(kind AS TEXT), CAST(name AS TEXT), CAST(role AS TEXT), CAST(scopes AS TEXT),
    CAST(created_at AS REAL), CAST(expires_at AS REAL)
FROM token;
DROP TABLE token;
ALTER TABLE strict_token RENAME TO token;
CREATE INDEX token_kind ON token (kind, created_at);
CREATE INDEX token_expiry ON token (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE strict_audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;
INSERT OR IGNORE INTO strict_audit SELECT
    seq, CAST(at AS REAL), CAST(actor AS TEXT), CAST(action AS TEXT), CAST(subject AS TEXT), CAST(detail AS TEXT),
    CAST(previous AS TEXT), CAST(hash AS TEXT)
FROM audit;
DELETE FROM sqlite_sequence WHERE name = 'strict_audit';
INSERT INTO sqlite_sequence SELECT 'strict_audit', seq FROM sqlite_sequence WHERE name = 'audit';
DROP TABLE audit;
ALTER TABLE strict_audit RENAME TO audit;
CREATE INDEX audit_subject ON audit (subject, seq);
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
CREATE TRIGGER audit_is_never_cut BEFORE DELETE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

-- Which gateway has an account: what others have is none of its business. Until now each store had one gateway.
CREATE TABLE account (
    channel TEXT NOT NULL,
    account TEXT NOT NULL,
    gateway TEXT NOT NULL,
    PRIMARY KEY (channel, account)
) WITHOUT ROWID, STRICT;
INSERT INTO account SELECT channel, account, 'main' FROM (
    SELECT channel, account FROM inbound WHERE state IN ('received', 'running')
    UNION SELECT channel, account FROM outbound WHERE state IN ('ready', 'sending')
);
