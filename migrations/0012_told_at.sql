-- When the provider said what last changed somebody's teams, or made or unmade a superuser of him: an ID token from before
-- that is still good for who he is, and not for that.
ALTER TABLE external_identity ADD COLUMN told_at timestamptz;
