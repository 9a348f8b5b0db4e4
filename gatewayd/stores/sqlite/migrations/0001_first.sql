-- Everything of the first release. Times are Unix seconds; BLOB columns hold JSON of the structs in gatewayd.model.
-- What is looked up has a column of its own, beside the JSON.

PRAGMA application_id = 0x67747764;  -- "gtwd"

CREATE TABLE inbound (
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
    UNIQUE (channel, account, event_key)
);
CREATE INDEX inbound_pending ON inbound (id) WHERE state IN ('received', 'running');
CREATE INDEX inbound_peer ON inbound (channel, account, peer, id);

CREATE TABLE outbound (
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
    receipt BLOB
);
CREATE INDEX outbound_ready ON outbound (channel, account, id) WHERE state = 'ready';
CREATE INDEX outbound_state ON outbound (state, id);
CREATE INDEX outbound_turn ON outbound (turn_id) WHERE turn_id IS NOT NULL;
CREATE INDEX outbound_peer ON outbound (channel, account, peer, id);

CREATE TABLE session (
    session_key TEXT PRIMARY KEY,
    agent_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    created_at REAL NOT NULL,
    last_used_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX session_used ON session (last_used_at);

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
    state TEXT NOT NULL CHECK (state IN ('pending', 'allowed', 'denied', 'expired', 'withdrawn')),
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    origin TEXT NOT NULL,
    decided_at REAL,
    decided_by TEXT,
    note TEXT,
    consumed_at REAL,
    UNIQUE (turn_id, ordinal)
);
CREATE INDEX approval_state ON approval (state, seq);

CREATE TABLE event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    data BLOB NOT NULL
);

CREATE TABLE memo (
    channel TEXT NOT NULL,
    account TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (channel, account, key)
) WITHOUT ROWID;

CREATE TABLE pairing (
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
);
CREATE UNIQUE INDEX pairing_code ON pairing (code) WHERE state = 'pending';
CREATE INDEX pairing_sender ON pairing (channel, account, sender_id, state);
CREATE INDEX pairing_state ON pairing (state, id);

CREATE TABLE token (
    digest TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('token', 'login_code', 'web_session')),
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL
) WITHOUT ROWID;
CREATE INDEX token_kind ON token (kind, created_at);
CREATE INDEX token_expiry ON token (expires_at) WHERE expires_at IS NOT NULL;
