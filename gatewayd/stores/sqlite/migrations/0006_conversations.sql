-- A conversation has one spelling, in which a colon in an id is escaped (model/ids.py): ("x", thread "y") and ("x:y") were one
-- before. The column peer has always had that spelling, and names of channels and accounts have nothing to escape.

UPDATE outbound SET conversation = channel || ':' || account || ':' || peer
WHERE conversation <> channel || ':' || account || ':' || peer;

UPDATE approval SET origin = fresh.origin FROM (
    SELECT DISTINCT turn_id, channel || ':' || account || ':' || peer AS origin FROM inbound
    WHERE turn_id IN (SELECT turn_id FROM approval) AND instr(peer, '%') > 0
) AS fresh
WHERE approval.turn_id = fresh.turn_id AND approval.origin = replace(replace(fresh.origin, '%3A', ':'), '%25', '%');
