-- When the provider said what last changed somebody's teams, or made or unmade a superuser of him: an ID token from before
-- that is still good for who he is, and not for that.
ALTER TABLE external_identity ADD COLUMN told_at timestamptz;

-- As before, but for the one lock that it takes of a table: readers wait for it too.
CREATE OR REPLACE FUNCTION audit_partition_make(month date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET lock_timeout = '100ms' SET TimeZone = 'UTC' SET DateStyle = 'ISO' AS $$
DECLARE
    begins date := date_trunc('month', month)::date;
    ends date := (date_trunc('month', month) + interval '1 month')::date;
    part text;
    parent text;
    key text;
    rows bigint;
    made boolean := false;
BEGIN
    -- What is temporary is looked at last: nobody slips in a table of his own, whose checks would run as the owner.
    PERFORM set_config('search_path', current_setting('search_path') || ', pg_temp', true);
    FOR parent, key IN VALUES ('audit_log', 'at'), ('pull_count', 'hour') LOOP
        part := format('%s_%s', parent, to_char(begins, 'YYYY_MM'));
        CONTINUE WHEN to_regclass(format('%I', part)) IS NOT NULL;
        -- All wait at the table itself, the first that this locks, and look for its partitions after that: a writer who has
        -- found his way to the default one and waits there is refused when the month has another (23514), and a reader who
        -- waits there finds nothing of what has been moved meanwhile.
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent);
        -- Another was first, and waited for.
        CONTINUE WHEN to_regclass(format('%I', part)) IS NOT NULL;
        -- So many take some tenths of a second.
        EXECUTE format(
            'SELECT count(*) FROM (SELECT FROM %I WHERE %I >= %L AND %I < %L LIMIT 50001) AS moved',
            parent || '_default', key, begins, key, ends) INTO rows;
        CONTINUE WHEN rows > 50000;
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part, parent);
        EXECUTE format(
            'WITH moved AS (DELETE FROM %I WHERE %I >= %L AND %I < %L RETURNING *)
             INSERT INTO %I SELECT * FROM moved',
            parent || '_default', key, begins, key, ends, part);
        EXECUTE format(
            'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, part, begins, ends);
        made := true;
    END LOOP;
    RETURN made;
END
$$;
