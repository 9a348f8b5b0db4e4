-- A conversation has one spelling, in which a colon in an id is escaped (model/ids.py): ("x", thread "y") and ("x:y") were one
-- before. The column peer has always had that spelling, and names of channels and accounts have nothing to escape.

UPDATE outbound SET conversation = channel || ':' || account || ':' || peer
WHERE conversation <> channel || ':' || account || ':' || peer;

CREATE TEMP TABLE fresh AS
    SELECT DISTINCT turn_id, channel || ':' || account || ':' || peer AS origin FROM inbound
    WHERE turn_id IN (SELECT turn_id FROM approval) AND instr(peer, '%') > 0;
-- Without UPDATE ... FROM: SQLite has that since 3.33 only.
UPDATE approval SET origin = coalesce((
    SELECT origin FROM fresh
    WHERE fresh.turn_id = approval.turn_id AND approval.origin = replace(replace(fresh.origin, '%3A', ':'), '%25', '%')
), origin) WHERE turn_id IN (SELECT turn_id FROM fresh);
DROP TABLE fresh;
