-- What passes through: whole answers, whose word counts, and what was not seen.

-- left_over: a turn that was stopped, and that its agent could not be told of: before the next one begins, it is.
ALTER TABLE session ADD COLUMN left_over TEXT;

-- given_key: the key of a message as its connector gave it. Its event_key holds the connector's name, too: until now it was the
-- same for all connectors.
ALTER TABLE inbound ADD COLUMN given_key TEXT;
UPDATE inbound SET given_key = substr(event_key, 6)
WHERE substr(event_key, 1, 5) = 'chat:' AND json_extract(CAST(envelope AS TEXT), '$.via') IS NOT NULL;
UPDATE inbound SET event_key = 'via:' || (
    SELECT substr(via, instr(via, ':') + 1) FROM (SELECT json_extract(CAST(envelope AS TEXT), '$.via') AS via)
) || ':' || given_key WHERE given_key IS NOT NULL;
UPDATE inbound SET envelope = CAST(json_set(CAST(envelope AS TEXT), '$.event_key', event_key) AS BLOB)
WHERE given_key IS NOT NULL;
CREATE INDEX inbound_given ON inbound (given_key) WHERE given_key IS NOT NULL;

-- conversation: where the session's last turn answered, and with it what its agent says later.
ALTER TABLE session ADD COLUMN conversation BLOB;
CREATE INDEX session_of_agent ON session (agent_id, session_id);

-- session_grant: what "for this session" was offered for. Of requests of before nobody knows: the least that it may have been.
ALTER TABLE approval ADD COLUMN session_grant TEXT NOT NULL DEFAULT 'input' CHECK (session_grant IN ('off', 'input', 'tool'));

-- A vote keeps the identity that gave it, and no more the person it was linked with then. Which it was is in the audit log, which
-- has one entry for each vote, in their order.
UPDATE approval SET votes = (
    SELECT json_group_array(json(CASE WHEN actor IS NULL THEN value ELSE json_set(value, '$.by', actor) END)) FROM (
        SELECT vote.value AS value, (
            SELECT actor FROM audit AS entry
            WHERE subject = approval.id AND action IN ('approval.allow', 'approval.deny') AND vote.key = (
                SELECT count(*) FROM audit AS earlier
                WHERE earlier.subject = entry.subject AND earlier.action IN ('approval.allow', 'approval.deny')
                    AND earlier.seq < entry.seq
            )
        ) AS actor
        FROM json_each(approval.votes) AS vote ORDER BY vote.key
    )
) WHERE instr(votes, '"person:') > 0;

-- made_by: the /new that began the session. After a crash it begins no second one.
ALTER TABLE session ADD COLUMN made_by INTEGER;

-- stops: how many of the attempts of a message were cut by a stop of the daemon that was ordered: they are held against nobody.
ALTER TABLE inbound ADD COLUMN stops INTEGER NOT NULL DEFAULT 0;
