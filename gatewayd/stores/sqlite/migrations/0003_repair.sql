-- What a person needs to find a message and to repair what cannot be automatic; what bounds the tables.

-- message_id: the platform's own. started_at: the newest start of a turn. retries: how often a person had a dead letter run again.
-- closed_at: a person has dropped a dead letter.
ALTER TABLE inbound ADD COLUMN message_id TEXT;
ALTER TABLE inbound ADD COLUMN started_at REAL;
ALTER TABLE inbound ADD COLUMN retries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE inbound ADD COLUMN closed_at REAL;
-- What went wrong, in words for the operator.
ALTER TABLE inbound ADD COLUMN detail TEXT;
UPDATE inbound SET message_id = json_extract(CAST(envelope AS TEXT), '$.message_id');
CREATE INDEX inbound_message ON inbound (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX inbound_turn ON inbound (turn_id) WHERE turn_id IS NOT NULL;
CREATE INDEX inbound_session ON inbound (session_key, id) WHERE session_key IS NOT NULL;

-- queued_at: when it was put in the queue, first or again by a person: from then on it becomes stale. sending_at: the newest call.
ALTER TABLE outbound ADD COLUMN message_id TEXT;
ALTER TABLE outbound ADD COLUMN queued_at REAL;
ALTER TABLE outbound ADD COLUMN sending_at REAL;
ALTER TABLE outbound ADD COLUMN closed_at REAL;
UPDATE outbound SET queued_at = created_at, message_id = json_extract(CAST(receipt AS TEXT), '$.message_id');
CREATE INDEX outbound_message ON outbound (message_id) WHERE message_id IS NOT NULL;

-- edits: the row whose message this one edits.
ALTER TABLE outbound ADD COLUMN edits INTEGER;
UPDATE outbound SET edits = json_extract(CAST(payload AS TEXT), '$.of') WHERE instr(payload, CAST('{"type":"edit_text"' AS BLOB)) = 1;
CREATE INDEX outbound_edits ON outbound (edits, id) WHERE edits IS NOT NULL;

-- The order of letters is that of their ends.
UPDATE inbound SET ended_at = received_at WHERE ended_at IS NULL AND state IN ('done', 'dropped', 'dead');
UPDATE outbound SET settled_at = created_at WHERE settled_at IS NULL AND state IN ('sent', 'unknown', 'parked', 'dead');

-- Letters (what waits for a person), in the order of the list, with all that they are looked for by.
CREATE INDEX inbound_letter ON inbound (ended_at, id, channel, account, reason) WHERE state = 'dead' AND closed_at IS NULL;
CREATE INDEX outbound_letter ON outbound (settled_at, id, state, channel, account, reason)
    WHERE state IN ('unknown', 'parked', 'dead') AND closed_at IS NULL;

-- What is over and can be deleted, the oldest first.
CREATE INDEX inbound_over ON inbound (ended_at, id) WHERE state IN ('done', 'dropped') OR closed_at IS NOT NULL;
CREATE INDEX outbound_over ON outbound (settled_at, id) WHERE state = 'sent' OR closed_at IS NOT NULL;
CREATE INDEX approval_over ON approval (decided_at, seq) WHERE state <> 'pending';
CREATE INDEX question_over ON question (ended_at, seq) WHERE state <> 'pending';

-- What operators did to a message.
CREATE INDEX audit_subject ON audit (subject, seq);

-- core: the kind of agent core whose session it is. Another kind would not know it.
ALTER TABLE session ADD COLUMN core TEXT;
