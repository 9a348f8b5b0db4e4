-- What passes through: whole answers, whose word counts, and what was not seen.

-- left_over: a turn that was stopped, and that its agent could not be told of: before the next one begins, it is.
ALTER TABLE session ADD COLUMN left_over TEXT;
