-- What accounts and agents keep between starts is called their state everywhere, in the file too.
ALTER TABLE memo RENAME TO state;
