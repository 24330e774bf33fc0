-- no-transaction
-- `manifest_by_digest` answers what this one did. CONCURRENTLY, as a plain DROP waits for everybody who reads the table, and
-- everybody who comes after it waits behind it. IF EXISTS, so that it can be run again after it was cut off.
DROP INDEX CONCURRENTLY IF EXISTS manifest_digest;
