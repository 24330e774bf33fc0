-- What the `pg` crate needs to know which replica shows what: see "Floor leases" in ARCHITECTURE.md.
-- The schema is that crate's own; no statement of `metadata` reads or writes it.

CREATE SCHEMA portolan_pg;

-- One row: which history of the database this is, and the times that every process goes by.
CREATE TABLE portolan_pg.cluster_epoch (
    -- Drawn anew by the first connection to a server of another timeline: positions of the log can be
    -- compared only within one epoch.
    epoch       uuid NOT NULL DEFAULT gen_random_uuid(),
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    -- Writers wait `s_ms` milliseconds, readers trust a floor for `s_r_ms`. Raise both in one transaction; lower
    -- `s_r_ms` first, and `s_ms` only after waiting the old one. The difference covers the rates of clocks.
    s_ms        integer NOT NULL DEFAULT 500,
    s_r_ms      integer NOT NULL DEFAULT 400,
    -- The first 8 hexadecimal digits of a log file's name; empty where the server cannot say (Aurora).
    timeline    text COLLATE "C" NOT NULL CHECK (timeline ~ '^([0-9A-F]{8})?$'),
    -- `timer` where readers reach the primary's data through a pooler or shared storage: one process that
    -- acknowledges by observation would break every reader of the others, so it is one setting of the cluster.
    acknowledge text COLLATE "C" NOT NULL DEFAULT 'observe' CHECK (acknowledge IN ('observe', 'timer')),

    CONSTRAINT cluster_epoch_readers_give_up_first CHECK (0 < s_r_ms AND s_r_ms < s_ms AND s_ms <= 60000)
);

DO $$
BEGIN
    INSERT INTO portolan_pg.cluster_epoch (timeline)
    VALUES (left(pg_walfile_name(pg_current_wal_insert_lsn()), 8));
EXCEPTION WHEN feature_not_supported OR object_not_in_prerequisite_state OR undefined_function THEN
    INSERT INTO portolan_pg.cluster_epoch (timeline, acknowledge) VALUES ('', 'timer');
END
$$;

-- Servers that may answer reads. A name is what the server reports of itself, never an endpoint's.
CREATE TABLE portolan_pg.read_replica (
    changed_at timestamptz NOT NULL DEFAULT now(),
    -- Whose drain it is: only the holder's may end in `out`.
    token      uuid,
    -- When it left service lately; many of these keep it out for longer.
    left_at    timestamptz[] NOT NULL DEFAULT '{}',
    server_id  text COLLATE "C" PRIMARY KEY CHECK (server_id <> ''),
    state      text COLLATE "C" NOT NULL CHECK (state IN ('serving', 'draining', 'out')),

    CONSTRAINT read_replica_draining_has_token CHECK ((state = 'draining') = (token IS NOT NULL))
);

-- What each process that reads last found of each replica.
CREATE TABLE portolan_pg.process_replica (
    process        uuid NOT NULL,
    seen_at        timestamptz NOT NULL DEFAULT now(),
    server_id      text COLLATE "C" NOT NULL,
    -- `fit`, or what is wrong with it.
    standing       text COLLATE "C" NOT NULL
        CHECK (standing IN ('fit', 'behind', 'not_in_recovery', 'other_epoch', 'unreachable')),
    -- Since when the standing has been this one.
    standing_since timestamptz NOT NULL DEFAULT now(),

    PRIMARY KEY (server_id, process)
)
WITH (fillfactor = 70);
CREATE INDEX process_replica_seen ON portolan_pg.process_replica (seen_at);

-- Counters for clusters whose positions cannot be compared: a slot for each process, never reset.
CREATE TABLE portolan_pg.beacon (
    n    bigint NOT NULL DEFAULT 0,
    slot uuid PRIMARY KEY
)
WITH (fillfactor = 50);

-- What a server is, as a statement that runs on it sees it: a standby or not, of the history that the epoch
-- belongs to or not, and the epoch in the statement's own snapshot. Always one row.
--
-- The CASE keeps the functions that fail on a standby from being called there.
CREATE VIEW portolan_pg.standing AS
SELECT
    pg_is_in_recovery() AS in_recovery,
    CASE
        WHEN pg_is_in_recovery() OR c.timeline = '' THEN true
        ELSE left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) = c.timeline
    END AS same_history,
    c.epoch
FROM portolan_pg.cluster_epoch AS c
WHERE c.one;
