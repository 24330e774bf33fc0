-- Who did what to what. Changes are a row each, written in the transaction that makes them; pulls are counts by the hour.
--
-- Both are partitioned by month, so that retention drops tables and deletes no rows. What has no partition yet goes into
-- the default one: nothing is ever refused for the want of a partition. No foreign keys: what happened stays when what it
-- happened to is gone, and names are kept as they were.

CREATE SEQUENCE audit_log_id;
CREATE TABLE audit_log (
    id            bigint NOT NULL DEFAULT nextval('audit_log_id'),
    at            timestamptz NOT NULL DEFAULT now(),
    actor_id      bigint,
    credential_id bigint,
    namespace_id  bigint,
    repository_id bigint,
    -- Of the request, after trusted proxies; NULL on the command line and for jobs.
    address       inet,
    -- What was shown: `password`, `token`, `application`, `robot`, `oidc`, `keyless`, `session`, `command line`, `system`.
    credential    text COLLATE "C" NOT NULL,
    -- As `tag.move`: the entity and the verb.
    action        text COLLATE "C" NOT NULL CHECK (action ~ '^[a-z_]+\.[a-z_]+$'),
    actor         text COLLATE "C" NOT NULL,
    -- The name of what was changed.
    target        text COLLATE "C" NOT NULL,
    -- The request's id, as its log lines have it.
    request_id    text COLLATE "C",
    detail        jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (at, id)
)
PARTITION BY RANGE (at);
ALTER SEQUENCE audit_log_id OWNED BY audit_log.id;
CREATE INDEX audit_log_repository ON audit_log (repository_id, at) WHERE repository_id IS NOT NULL;
CREATE INDEX audit_log_namespace ON audit_log (namespace_id, at) WHERE namespace_id IS NOT NULL;
-- By name: whoever has the command line, and jobs, have no id, and those of the deleted are known to nobody.
CREATE INDEX audit_log_actor ON audit_log (actor, at);
CREATE INDEX audit_log_action ON audit_log (action, at);
CREATE TABLE audit_log_default PARTITION OF audit_log DEFAULT;

CREATE TABLE pull_count (
    hour          timestamptz NOT NULL,
    repository_id bigint NOT NULL,
    -- 0: nobody in particular.
    account_id    bigint NOT NULL,
    -- 0: none of the table `credential`.
    credential_id bigint NOT NULL,
    pulls         bigint NOT NULL CHECK (pulls > 0),
    digest        bytea NOT NULL,
    PRIMARY KEY (hour, repository_id, digest, account_id, credential_id)
)
PARTITION BY RANGE (hour);
CREATE INDEX pull_count_repository ON pull_count (repository_id, hour);
CREATE INDEX pull_count_account ON pull_count (account_id, hour);
CREATE TABLE pull_count_default PARTITION OF pull_count DEFAULT;

-- The role that serves may be one that owns nothing and makes no tables, so this is done as who made this schema.
--
-- Writers never wait for long: who does not get a lock within a tenth of a second gives up, and is called again. They hold
-- theirs for a round trip, at the end of their transactions. Months are those of UTC.
--
-- Makes the partitions of a month where they are missing; true: it made one. What went into the default partition
-- meanwhile is moved, unless that would take long: then the month stays there, and is deleted row by row in its time.
CREATE FUNCTION audit_partition_make(month date) RETURNS boolean
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
        -- Writers wait at the table itself: one that has found its way to the default partition, and waits there, is refused
        -- when the month has another (23514). Readers wait for the second lock only, which ATTACH takes later anyway.
        EXECUTE format('LOCK TABLE %I IN SHARE ROW EXCLUSIVE MODE', parent);
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent || '_default');
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

-- Drops the partitions of a month; true: there was one.
CREATE FUNCTION audit_partition_drop(month date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '100ms' AS $$
DECLARE
    part text;
    parent text;
    dropped boolean := false;
BEGIN
    -- What is temporary is looked at last: nobody slips in a table of his own, whose checks would run as the owner.
    PERFORM set_config('search_path', current_setting('search_path') || ', pg_temp', true);
    FOREACH parent IN ARRAY ARRAY['audit_log', 'pull_count'] LOOP
        part := format('%s_%s', parent, to_char(month, 'YYYY_MM'));
        CONTINUE WHEN to_regclass(format('%I', part)) IS NULL;
        EXECUTE format('DROP TABLE %I', part);
        dropped := true;
    END LOOP;
    RETURN dropped;
END
$$;
REVOKE ALL ON FUNCTION audit_partition_make(date), audit_partition_drop(date) FROM PUBLIC;
