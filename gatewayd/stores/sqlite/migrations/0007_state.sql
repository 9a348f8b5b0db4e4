-- What accounts and agents keep between starts is called their state everywhere, in the file too.
ALTER TABLE memo RENAME TO state;
-- Nothing lists sessions by their last use.
DROP INDEX session_used;
