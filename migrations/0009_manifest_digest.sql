-- `manifest_by_digest` answers what this one did.
DROP INDEX manifest_digest;
