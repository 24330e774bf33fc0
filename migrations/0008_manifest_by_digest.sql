-- no-transaction
-- With the repository: the planner cannot know that one digest lies in 100,000 of them, and takes the index on the
-- digest alone for a pull, which then throws away a row for each. This one still answers who has a digest at all.
CREATE INDEX CONCURRENTLY manifest_by_digest ON manifest (digest, repository_id);
