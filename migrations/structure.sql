-- The schema after the last migration, for reviewers. Made by a test: see migrations/README.md.

CREATE SCHEMA portolan_pg;

CREATE FUNCTION public.audit_partition_drop(month date) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO '$user', 'public'
    SET lock_timeout TO '100ms'
    AS $$
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

CREATE FUNCTION public.audit_partition_make(month date) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO '$user', 'public'
    SET lock_timeout TO '100ms'
    SET "TimeZone" TO 'UTC'
    SET "DateStyle" TO 'ISO'
    AS $$
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

CREATE FUNCTION public.enqueue_new_blobs() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    -- Ids that nobody else knows yet: taking the queue's locks this early keeps nobody waiting.
    INSERT INTO gc_queue (kind, id, review_after)
    SELECT 'blob', added.id, now() + interval '24 hours' FROM added ORDER BY added.id
    ON CONFLICT (kind, id) DO UPDATE
        SET review_after = greatest(gc_queue.review_after, excluded.review_after);
    RETURN NULL;
END
$$;

CREATE FUNCTION public.enqueue_unlinked_blobs() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    -- A manifest and a blob it misses may come at the same time, and neither see the other. A link ends a
    -- day after it was made, when both have long committed: what waited for the blob gets it now.
    -- Except a manifest that is being removed at this moment: waiting for it here, with the link locked,
    -- would be against the order of locks.
    WITH waiting AS (
        SELECT manifest.id, blob.id AS blob_id, blob.digest
        FROM removed
        JOIN repository ON repository.id = removed.repository_id AND repository.state = 'active'
        JOIN blob ON blob.id = removed.blob_id
        JOIN manifest_missing_blob AS missing
            ON missing.repository_id = removed.repository_id AND missing.digest = blob.digest
        JOIN manifest ON manifest.id = missing.manifest_id
        ORDER BY manifest.digest
        FOR KEY SHARE OF manifest SKIP LOCKED
    ), waited AS (
        DELETE FROM manifest_missing_blob AS missing
        USING waiting
        WHERE missing.manifest_id = waiting.id AND missing.digest = waiting.digest
        RETURNING missing.repository_id, waiting.blob_id, missing.manifest_id
    )
    INSERT INTO manifest_blob (repository_id, blob_id, manifest_id)
    SELECT waited.repository_id, waited.blob_id, waited.manifest_id FROM waited
    ORDER BY waited.repository_id, waited.blob_id, waited.manifest_id
    ON CONFLICT DO NOTHING;
    -- Due at once: what a link promised has ended with it, and the object's quarantine is still ahead.
    INSERT INTO gc_queue (kind, id, review_after)
    SELECT DISTINCT 'blob', removed.blob_id, now() FROM removed ORDER BY removed.blob_id
    ON CONFLICT (kind, id) DO UPDATE
        SET review_after = greatest(gc_queue.review_after, excluded.review_after);
    RETURN NULL;
END
$$;

CREATE FUNCTION public.keep_unreferenced_blobs() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    -- What was answered present in the repository stays pushable for a day; not where the repository goes.
    INSERT INTO repository_blob (repository_id, blob_id, expires_at)
    SELECT DISTINCT removed.repository_id, removed.blob_id, now() + interval '24 hours'
    FROM removed
    JOIN repository ON repository.id = removed.repository_id AND repository.state = 'active'
    ORDER BY removed.repository_id, removed.blob_id
    ON CONFLICT (repository_id, blob_id) DO UPDATE
        SET expires_at = greatest(repository_blob.expires_at, excluded.expires_at);
    INSERT INTO gc_queue (kind, id, review_after)
    SELECT DISTINCT 'blob', removed.blob_id, now() + interval '24 hours' FROM removed
    ORDER BY removed.blob_id
    ON CONFLICT (kind, id) DO UPDATE
        SET review_after = greatest(gc_queue.review_after, excluded.review_after);
    RETURN NULL;
END
$$;

CREATE TABLE portolan_pg.beacon (
    n bigint DEFAULT 0 NOT NULL,
    slot uuid NOT NULL
)
WITH (fillfactor='50');

CREATE TABLE portolan_pg.cluster_epoch (
    epoch uuid DEFAULT gen_random_uuid() NOT NULL,
    one boolean DEFAULT true NOT NULL,
    s_ms integer DEFAULT 500 NOT NULL,
    s_r_ms integer DEFAULT 400 NOT NULL,
    timeline text NOT NULL COLLATE pg_catalog."C",
    acknowledge text DEFAULT 'observe'::text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT cluster_epoch_acknowledge_check CHECK ((acknowledge = ANY (ARRAY['observe'::text, 'timer'::text]))),
    CONSTRAINT cluster_epoch_one_check CHECK (one),
    CONSTRAINT cluster_epoch_readers_give_up_first CHECK (((0 < s_r_ms) AND (s_r_ms < s_ms) AND (s_ms <= 60000))),
    CONSTRAINT cluster_epoch_timeline_check CHECK ((timeline ~ '^([0-9A-F]{8})?$'::text))
);

CREATE TABLE portolan_pg.process_replica (
    process uuid NOT NULL,
    seen_at timestamp with time zone DEFAULT now() NOT NULL,
    server_id text NOT NULL COLLATE pg_catalog."C",
    standing text NOT NULL COLLATE pg_catalog."C",
    standing_since timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT process_replica_standing_check CHECK ((standing = ANY (ARRAY['fit'::text, 'behind'::text, 'not_in_recovery'::text, 'other_epoch'::text, 'unreachable'::text])))
)
WITH (fillfactor='70');

CREATE TABLE portolan_pg.read_replica (
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    token uuid,
    left_at timestamp with time zone[] DEFAULT '{}'::timestamp with time zone[] NOT NULL,
    server_id text NOT NULL COLLATE pg_catalog."C",
    state text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT read_replica_draining_has_token CHECK (((state = 'draining'::text) = (token IS NOT NULL))),
    CONSTRAINT read_replica_server_id_check CHECK ((server_id <> ''::text)),
    CONSTRAINT read_replica_state_check CHECK ((state = ANY (ARRAY['serving'::text, 'draining'::text, 'out'::text])))
);

CREATE VIEW portolan_pg.standing AS
 SELECT pg_is_in_recovery() AS in_recovery,
        CASE
            WHEN (pg_is_in_recovery() OR (c.timeline = ''::text)) THEN true
            ELSE ("left"(pg_walfile_name(pg_current_wal_insert_lsn()), 8) = c.timeline)
        END AS same_history,
    c.epoch
   FROM portolan_pg.cluster_epoch c
  WHERE c.one;
CREATE TABLE public.account (
    id bigint NOT NULL,
    generation bigint DEFAULT 1 NOT NULL,
    owner_id bigint,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    superuser boolean DEFAULT false NOT NULL,
    kind text NOT NULL COLLATE pg_catalog."C",
    state text DEFAULT 'active'::text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    password_hash text,
    email text COLLATE pg_catalog."C",
    email_verified boolean DEFAULT false NOT NULL,
    description text DEFAULT ''::text NOT NULL,
    expires_at timestamp with time zone,
    read_only_superuser boolean DEFAULT false NOT NULL,
    CONSTRAINT account_description_check CHECK ((octet_length(description) <= 4096)),
    CONSTRAINT account_email_check CHECK ((octet_length(email) <= 320)),
    CONSTRAINT account_generation_check CHECK ((generation > 0)),
    CONSTRAINT account_kind_check CHECK ((kind = ANY (ARRAY['user'::text, 'organization'::text, 'robot'::text]))),
    CONSTRAINT account_name_check CHECK ((octet_length(name) <= 255)),
    CONSTRAINT account_name_grammar CHECK (
CASE
    WHEN (state = 'removing'::text) THEN (name = ('~'::text || id))
    WHEN (kind = 'robot'::text) THEN (name ~ '^[a-z0-9]+([._-]+[a-z0-9]+)*\+[a-z0-9][a-z0-9_.-]*$'::text)
    ELSE (name ~ '^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$'::text)
END),
    CONSTRAINT account_only_robots_expire CHECK (((kind = 'robot'::text) OR (expires_at IS NULL))),
    CONSTRAINT account_only_users_log_in CHECK (((kind = 'user'::text) OR ((password_hash IS NULL) AND (NOT superuser)))),
    CONSTRAINT account_only_users_see_all CHECK (((kind = 'user'::text) OR (NOT read_only_superuser))),
    CONSTRAINT account_robot_has_owner CHECK (((kind = 'robot'::text) = (owner_id IS NOT NULL))),
    CONSTRAINT account_state_check CHECK ((state = ANY (ARRAY['active'::text, 'disabled'::text, 'removing'::text])))
);

ALTER TABLE public.account ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.account_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.audit_log (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    actor_id bigint,
    credential_id bigint,
    namespace_id bigint,
    repository_id bigint,
    address inet,
    credential text NOT NULL COLLATE pg_catalog."C",
    action text NOT NULL COLLATE pg_catalog."C",
    actor text NOT NULL COLLATE pg_catalog."C",
    target text NOT NULL COLLATE pg_catalog."C",
    request_id text COLLATE pg_catalog."C",
    detail jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT audit_log_action_check CHECK ((action ~ '^[a-z_]+\.[a-z_]+$'::text))
)
PARTITION BY RANGE (at);

CREATE SEQUENCE public.audit_log_id
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.audit_log_id OWNED BY public.audit_log.id;

CREATE TABLE public.audit_log_default (
    id bigint DEFAULT nextval('public.audit_log_id'::regclass) NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    actor_id bigint,
    credential_id bigint,
    namespace_id bigint,
    repository_id bigint,
    address inet,
    credential text NOT NULL COLLATE pg_catalog."C",
    action text NOT NULL COLLATE pg_catalog."C",
    actor text NOT NULL COLLATE pg_catalog."C",
    target text NOT NULL COLLATE pg_catalog."C",
    request_id text COLLATE pg_catalog."C",
    detail jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT audit_log_action_check CHECK ((action ~ '^[a-z_]+\.[a-z_]+$'::text))
);

CREATE TABLE public.blob (
    id bigint NOT NULL,
    store_id bigint NOT NULL,
    size bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    digest bytea NOT NULL,
    storage_key text NOT NULL COLLATE pg_catalog."C",
    content bytea,
    CONSTRAINT blob_content_is_the_blob CHECK (((content IS NULL) OR (((octet_length(content) <= 2048) AND (octet_length(content) = size) AND (digest =
CASE octet_length(digest)
    WHEN 32 THEN sha256(content)
    WHEN 64 THEN sha512(content)
    ELSE NULL::bytea
END)) IS TRUE))),
    CONSTRAINT blob_digest_check CHECK ((octet_length(digest) = ANY (ARRAY[32, 64]))),
    CONSTRAINT blob_size_check CHECK ((size >= 0)),
    CONSTRAINT blob_storage_key_check CHECK (((octet_length(storage_key) >= 1) AND (octet_length(storage_key) <= 1024)))
);

ALTER TABLE ONLY public.blob ALTER COLUMN content SET STORAGE EXTERNAL;

ALTER TABLE public.blob ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.blob_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.credential (
    id bigint NOT NULL,
    account_id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone,
    last_used_at timestamp with time zone,
    max_role smallint,
    kind text NOT NULL COLLATE pg_catalog."C",
    title text DEFAULT ''::text NOT NULL,
    secret_hash bytea NOT NULL,
    CONSTRAINT credential_kind_check CHECK ((kind = ANY (ARRAY['robot'::text, 'application'::text]))),
    CONSTRAINT credential_max_role_check CHECK (((max_role >= 1) AND (max_role <= 3))),
    CONSTRAINT credential_secret_hash_check CHECK ((octet_length(secret_hash) = 32)),
    CONSTRAINT credential_title_check CHECK ((octet_length(title) <= 255))
);

ALTER TABLE public.credential ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.credential_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.default_permission (
    id bigint NOT NULL,
    namespace_id bigint NOT NULL,
    creator_id bigint,
    account_id bigint,
    team_id bigint,
    role smallint NOT NULL,
    CONSTRAINT default_permission_is_for_one CHECK ((num_nonnulls(account_id, team_id) = 1)),
    CONSTRAINT default_permission_role_check CHECK (((role >= 1) AND (role <= 3)))
);

ALTER TABLE public.default_permission ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.default_permission_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.deleted_manifest (
    id bigint NOT NULL,
    repository_id bigint NOT NULL,
    actor_account_id bigint,
    deleted_at timestamp with time zone DEFAULT now() NOT NULL,
    digest bytea NOT NULL,
    media_type text NOT NULL COLLATE pg_catalog."C",
    reason text NOT NULL COLLATE pg_catalog."C",
    tags text[] DEFAULT '{}'::text[] NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT deleted_manifest_digest_check CHECK ((octet_length(digest) = ANY (ARRAY[32, 64]))),
    CONSTRAINT deleted_manifest_reason_check CHECK ((reason = ANY (ARRAY['user'::text, 'collection'::text, 'retention'::text])))
);

ALTER TABLE public.deleted_manifest ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.deleted_manifest_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.external_identity (
    account_id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    provider text NOT NULL COLLATE pg_catalog."C",
    subject text NOT NULL COLLATE pg_catalog."C",
    told_at timestamp with time zone,
    CONSTRAINT external_identity_provider_check CHECK ((provider <> ''::text)),
    CONSTRAINT external_identity_subject_check CHECK (((subject <> ''::text) AND (octet_length(subject) <= 1024)))
);

CREATE TABLE public.federation_rule (
    id bigint NOT NULL,
    account_id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    issuer text NOT NULL COLLATE pg_catalog."C",
    audience text NOT NULL COLLATE pg_catalog."C",
    subject text NOT NULL COLLATE pg_catalog."C",
    claims jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT federation_rule_audience_check CHECK ((audience <> ''::text)),
    CONSTRAINT federation_rule_claims_check CHECK ((jsonb_typeof(claims) = 'object'::text)),
    CONSTRAINT federation_rule_issuer_check CHECK ((issuer <> ''::text)),
    CONSTRAINT federation_rule_subject_check CHECK ((subject <> ''::text))
);

ALTER TABLE public.federation_rule ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.federation_rule_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.gc_queue (
    id bigint NOT NULL,
    review_after timestamp with time zone NOT NULL,
    kind text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT gc_queue_kind_check CHECK ((kind = ANY (ARRAY['blob'::text, 'manifest'::text])))
)
WITH (autovacuum_vacuum_scale_factor='0.02');

CREATE TABLE public.job (
    id bigint NOT NULL,
    lease bigint DEFAULT 0 NOT NULL,
    due_at timestamp with time zone NOT NULL,
    claimed_at timestamp with time zone,
    again_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    paused boolean DEFAULT false NOT NULL,
    kind text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    payload json NOT NULL,
    last_error text,
    CONSTRAINT job_again_only_while_claimed CHECK (((again_at IS NULL) OR (claimed_at IS NOT NULL))),
    CONSTRAINT job_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT job_kind_check CHECK ((kind <> ''::text))
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.02');

ALTER TABLE public.job ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.job_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.lockout (
    account_id bigint NOT NULL,
    failed_at timestamp with time zone DEFAULT now() NOT NULL,
    locked_until timestamp with time zone,
    failures integer DEFAULT 1 NOT NULL,
    address inet NOT NULL,
    last_attempt bytea NOT NULL,
    CONSTRAINT lockout_failures_check CHECK ((failures > 0))
)
WITH (fillfactor='70');

CREATE TABLE public.manifest (
    id bigint NOT NULL,
    repository_id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    size_total bigint NOT NULL,
    payload_size integer NOT NULL,
    layer_count integer NOT NULL,
    media_type_id smallint NOT NULL,
    digest bytea NOT NULL,
    subject_digest bytea,
    config_digest bytea,
    artifact_type text COLLATE pg_catalog."C",
    config_media_type text COLLATE pg_catalog."C",
    os text,
    architecture text,
    variant text,
    annotations json,
    CONSTRAINT manifest_config_digest_check CHECK ((octet_length(config_digest) = ANY (ARRAY[32, 64]))),
    CONSTRAINT manifest_layer_count_check CHECK ((layer_count >= 0)),
    CONSTRAINT manifest_payload_size_check CHECK ((payload_size > 0)),
    CONSTRAINT manifest_size_total_check CHECK ((size_total >= 0)),
    CONSTRAINT manifest_subject_digest_check CHECK ((octet_length(subject_digest) = ANY (ARRAY[32, 64])))
);

CREATE TABLE public.manifest_blob (
    repository_id bigint NOT NULL,
    blob_id bigint NOT NULL,
    manifest_id bigint NOT NULL
);

CREATE TABLE public.manifest_child (
    repository_id bigint NOT NULL,
    parent_id bigint NOT NULL,
    child_id bigint,
    child_digest bytea NOT NULL,
    os text,
    architecture text,
    variant text,
    CONSTRAINT manifest_child_child_digest_check CHECK ((octet_length(child_digest) = ANY (ARRAY[32, 64])))
);

CREATE TABLE public.manifest_content (
    digest bytea NOT NULL,
    payload bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT manifest_content_is_what_it_hashes_to CHECK (((digest =
CASE octet_length(digest)
    WHEN 32 THEN sha256(payload)
    WHEN 64 THEN sha512(payload)
    ELSE NULL::bytea
END) IS TRUE))
)
WITH (toast_tuple_target='8160');

ALTER TABLE ONLY public.manifest_content ALTER COLUMN payload SET STORAGE EXTERNAL;

ALTER TABLE public.manifest ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.manifest_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.manifest_missing_blob (
    repository_id bigint NOT NULL,
    manifest_id bigint NOT NULL,
    digest bytea NOT NULL,
    CONSTRAINT manifest_missing_blob_digest_check CHECK ((octet_length(digest) = ANY (ARRAY[32, 64])))
);

CREATE TABLE public.media_type (
    id smallint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT media_type_name_check CHECK ((name <> ''::text))
);

CREATE TABLE public.membership (
    account_id bigint NOT NULL,
    team_id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    provider text COLLATE pg_catalog."C",
    CONSTRAINT membership_provider_check CHECK ((provider <> ''::text))
);

CREATE TABLE public.namespace (
    id bigint NOT NULL,
    owner_account_id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    mode text DEFAULT 'normal'::text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT namespace_mode_check CHECK ((mode = ANY (ARRAY['normal'::text, 'read_only'::text]))),
    CONSTRAINT namespace_name_check CHECK (((name = ('~'::text || id)) OR ((octet_length(name) <= 255) AND (name ~ '^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$'::text))))
);

ALTER TABLE public.namespace ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.namespace_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.object_delete (
    store_id bigint NOT NULL,
    store_ownership text DEFAULT 'owned'::text NOT NULL COLLATE pg_catalog."C",
    size bigint,
    deleted_at timestamp with time zone DEFAULT now() NOT NULL,
    not_before timestamp with time zone NOT NULL,
    claimed_at timestamp with time zone,
    multipart boolean DEFAULT false NOT NULL,
    digest bytea,
    storage_key text NOT NULL COLLATE pg_catalog."C",
    multipart_id text COLLATE pg_catalog."C",
    reason text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT object_delete_collected_is_restorable CHECK (((reason <> 'collected'::text) OR ((digest IS NOT NULL) AND (size IS NOT NULL) AND (NOT multipart)))),
    CONSTRAINT object_delete_digest_check CHECK ((octet_length(digest) = ANY (ARRAY[32, 64]))),
    CONSTRAINT object_delete_multipart_id CHECK ((multipart OR (multipart_id IS NULL))),
    CONSTRAINT object_delete_reason_check CHECK ((reason = ANY (ARRAY['collected'::text, 'upload'::text, 'duplicate'::text]))),
    CONSTRAINT object_delete_size_check CHECK ((size >= 0)),
    CONSTRAINT object_delete_store_ownership_check CHECK ((store_ownership = 'owned'::text))
)
WITH (autovacuum_vacuum_scale_factor='0.02');

CREATE TABLE public.permission (
    repository_id bigint NOT NULL,
    account_id bigint,
    team_id bigint,
    role smallint NOT NULL,
    CONSTRAINT permission_is_of_one CHECK ((num_nonnulls(account_id, team_id) = 1)),
    CONSTRAINT permission_role_check CHECK (((role >= 1) AND (role <= 3)))
);

CREATE TABLE public.pull_count (
    hour timestamp with time zone NOT NULL,
    repository_id bigint NOT NULL,
    account_id bigint NOT NULL,
    credential_id bigint NOT NULL,
    pulls bigint NOT NULL,
    digest bytea NOT NULL,
    CONSTRAINT pull_count_pulls_check CHECK ((pulls > 0))
)
PARTITION BY RANGE (hour);

CREATE TABLE public.pull_count_default (
    hour timestamp with time zone NOT NULL,
    repository_id bigint NOT NULL,
    account_id bigint NOT NULL,
    credential_id bigint NOT NULL,
    pulls bigint NOT NULL,
    digest bytea NOT NULL,
    CONSTRAINT pull_count_pulls_check CHECK ((pulls > 0))
);

CREATE TABLE public.recovery (
    account_id bigint NOT NULL,
    generation bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    secret_hash bytea NOT NULL,
    CONSTRAINT recovery_secret_hash_check CHECK ((octet_length(secret_hash) = 32))
);

CREATE TABLE public.repository (
    id bigint NOT NULL,
    namespace_id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    removed_at timestamp with time zone,
    created_by bigint,
    collect_untagged boolean DEFAULT false NOT NULL,
    visibility text DEFAULT 'private'::text NOT NULL COLLATE pg_catalog."C",
    state text DEFAULT 'active'::text NOT NULL COLLATE pg_catalog."C",
    path text NOT NULL COLLATE pg_catalog."C",
    removed_path text COLLATE pg_catalog."C",
    description text DEFAULT ''::text NOT NULL,
    mode text DEFAULT 'normal'::text NOT NULL COLLATE pg_catalog."C",
    mirror_account_id bigint,
    CONSTRAINT repository_mirror_is_one CHECK (((mirror_account_id IS NULL) OR (mode = 'mirror'::text))),
    CONSTRAINT repository_mode_check CHECK ((mode = ANY (ARRAY['normal'::text, 'read_only'::text, 'mirror'::text]))),
    CONSTRAINT repository_path_check CHECK ((octet_length(path) <= 255)),
    CONSTRAINT repository_path_grammar CHECK (
CASE state
    WHEN 'active'::text THEN (path ~ '^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)+$'::text)
    ELSE (path = ('~'::text || id))
END),
    CONSTRAINT repository_removal_is_whole CHECK ((((state = 'removing'::text) = (removed_path IS NOT NULL)) AND ((state = 'removing'::text) = (removed_at IS NOT NULL)))),
    CONSTRAINT repository_state_check CHECK ((state = ANY (ARRAY['active'::text, 'removing'::text]))),
    CONSTRAINT repository_visibility_check CHECK ((visibility = ANY (ARRAY['private'::text, 'public'::text])))
);

CREATE TABLE public.repository_blob (
    repository_id bigint NOT NULL,
    blob_id bigint NOT NULL,
    expires_at timestamp with time zone NOT NULL
);

ALTER TABLE public.repository ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.repository_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.session (
    account_id bigint NOT NULL,
    generation bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    confirmed_at timestamp with time zone DEFAULT now() NOT NULL,
    secret_hash bytea NOT NULL,
    CONSTRAINT session_secret_hash_check CHECK ((octet_length(secret_hash) = 32))
);

CREATE TABLE public.setting (
    name text NOT NULL COLLATE pg_catalog."C",
    value jsonb NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.signing_key (
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    verifies_until timestamp with time zone,
    state text NOT NULL COLLATE pg_catalog."C",
    algorithm text NOT NULL COLLATE pg_catalog."C",
    kid text NOT NULL COLLATE pg_catalog."C",
    sealed bytea NOT NULL,
    CONSTRAINT signing_key_algorithm_check CHECK ((algorithm = 'ES256'::text)),
    CONSTRAINT signing_key_retired_ends CHECK (((state = 'retired'::text) = (verifies_until IS NOT NULL))),
    CONSTRAINT signing_key_state_check CHECK ((state = ANY (ARRAY['next'::text, 'signing'::text, 'retired'::text])))
);

CREATE TABLE public.store (
    id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    ownership text NOT NULL COLLATE pg_catalog."C",
    bucket text DEFAULT ''::text NOT NULL,
    prefix text DEFAULT ''::text NOT NULL,
    endpoint text DEFAULT ''::text NOT NULL,
    CONSTRAINT store_kind_check CHECK ((kind = ANY (ARRAY['s3'::text, 'directory'::text]))),
    CONSTRAINT store_ownership_check CHECK ((ownership = ANY (ARRAY['owned'::text, 'adopted'::text]))),
    CONSTRAINT store_s3_has_bucket CHECK (((kind = 's3'::text) = (bucket <> ''::text)))
);

ALTER TABLE public.store ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.store_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.tag (
    repository_id bigint NOT NULL,
    manifest_id bigint NOT NULL,
    version bigint NOT NULL,
    moved_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone,
    immutable boolean DEFAULT false NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT tag_name_check CHECK ((name ~ '^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$'::text))
);

CREATE TABLE public.tag_history (
    id bigint NOT NULL,
    repository_id bigint NOT NULL,
    version bigint NOT NULL,
    actor_account_id bigint,
    moved_at timestamp with time zone DEFAULT now() NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    digest bytea,
    previous_digest bytea,
    CONSTRAINT tag_history_digest_check CHECK ((octet_length(digest) = ANY (ARRAY[32, 64]))),
    CONSTRAINT tag_history_is_a_move CHECK ((digest IS DISTINCT FROM previous_digest)),
    CONSTRAINT tag_history_previous_digest_check CHECK ((octet_length(previous_digest) = ANY (ARRAY[32, 64])))
);

ALTER TABLE public.tag_history ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.tag_history_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE SEQUENCE public.tag_version
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.tag_version OWNED BY public.tag.version;

CREATE TABLE public.team (
    id bigint NOT NULL,
    organization_id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    role text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    description text DEFAULT ''::text NOT NULL,
    CONSTRAINT team_description_check CHECK ((octet_length(description) <= 4096)),
    CONSTRAINT team_name_check CHECK (((octet_length(name) <= 255) AND (name ~ '^[a-z0-9]+([._-]+[a-z0-9]+)*$'::text))),
    CONSTRAINT team_role_check CHECK ((role = ANY (ARRAY['member'::text, 'creator'::text, 'admin'::text])))
);

CREATE TABLE public.team_group (
    team_id bigint NOT NULL,
    provider text NOT NULL COLLATE pg_catalog."C",
    group_name text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT team_group_group_name_check CHECK (((group_name <> ''::text) AND (octet_length(group_name) <= 1024))),
    CONSTRAINT team_group_provider_check CHECK ((provider <> ''::text))
);

ALTER TABLE public.team ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.team_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.upload (
    id uuid NOT NULL,
    account_id bigint NOT NULL,
    store_id bigint NOT NULL,
    store_ownership text DEFAULT 'owned'::text NOT NULL COLLATE pg_catalog."C",
    version bigint DEFAULT 1 NOT NULL,
    lock_until timestamp with time zone,
    expires_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    received bigint DEFAULT 0 NOT NULL,
    tail_len bigint DEFAULT 0 NOT NULL,
    algorithm text NOT NULL COLLATE pg_catalog."C",
    repository_path text NOT NULL COLLATE pg_catalog."C",
    hash_state bytea,
    multipart_key text COLLATE pg_catalog."C",
    multipart_id text COLLATE pg_catalog."C",
    tail_key text COLLATE pg_catalog."C",
    pending_key text COLLATE pg_catalog."C",
    CONSTRAINT upload_algorithm_check CHECK ((algorithm = ANY (ARRAY['sha256'::text, 'sha512'::text]))),
    CONSTRAINT upload_check CHECK (((tail_len >= 0) AND (tail_len <= received))),
    CONSTRAINT upload_multipart_has_key CHECK (((multipart_id IS NULL) OR (multipart_key IS NOT NULL))),
    CONSTRAINT upload_received_check CHECK ((received >= 0)),
    CONSTRAINT upload_store_ownership_check CHECK ((store_ownership = 'owned'::text)),
    CONSTRAINT upload_tail_has_key CHECK (((tail_len > 0) = (tail_key IS NOT NULL))),
    CONSTRAINT upload_version_check CHECK ((version > 0))
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.02');

CREATE TABLE public.upload_part (
    upload_id uuid NOT NULL,
    size bigint NOT NULL,
    number integer NOT NULL,
    etag text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT upload_part_number_check CHECK (((number >= 1) AND (number <= 10000))),
    CONSTRAINT upload_part_size_check CHECK ((size > 0))
);

ALTER TABLE ONLY public.audit_log ATTACH PARTITION public.audit_log_default DEFAULT;

ALTER TABLE ONLY public.pull_count ATTACH PARTITION public.pull_count_default DEFAULT;

ALTER TABLE ONLY public.audit_log ALTER COLUMN id SET DEFAULT nextval('public.audit_log_id'::regclass);

ALTER TABLE ONLY public.tag ALTER COLUMN version SET DEFAULT nextval('public.tag_version'::regclass);

ALTER TABLE ONLY portolan_pg.beacon
    ADD CONSTRAINT beacon_pkey PRIMARY KEY (slot);
ALTER TABLE ONLY portolan_pg.cluster_epoch
    ADD CONSTRAINT cluster_epoch_pkey PRIMARY KEY (one);
ALTER TABLE ONLY portolan_pg.process_replica
    ADD CONSTRAINT process_replica_pkey PRIMARY KEY (server_id, process);
ALTER TABLE ONLY portolan_pg.read_replica
    ADD CONSTRAINT read_replica_pkey PRIMARY KEY (server_id);
ALTER TABLE ONLY public.account
    ADD CONSTRAINT account_name_key UNIQUE (name);
ALTER TABLE ONLY public.account
    ADD CONSTRAINT account_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.audit_log
    ADD CONSTRAINT audit_log_pkey PRIMARY KEY (at, id);
ALTER TABLE ONLY public.audit_log_default
    ADD CONSTRAINT audit_log_default_pkey PRIMARY KEY (at, id);
ALTER TABLE ONLY public.blob
    ADD CONSTRAINT blob_digest_key UNIQUE (digest);
ALTER TABLE ONLY public.blob
    ADD CONSTRAINT blob_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.blob
    ADD CONSTRAINT blob_storage_key_key UNIQUE (store_id, storage_key);
ALTER TABLE ONLY public.credential
    ADD CONSTRAINT credential_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.credential
    ADD CONSTRAINT credential_secret_hash_key UNIQUE (secret_hash);
ALTER TABLE ONLY public.default_permission
    ADD CONSTRAINT default_permission_namespace_id_creator_id_account_id_team__key UNIQUE NULLS NOT DISTINCT (namespace_id, creator_id, account_id, team_id);
ALTER TABLE ONLY public.default_permission
    ADD CONSTRAINT default_permission_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.deleted_manifest
    ADD CONSTRAINT deleted_manifest_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.external_identity
    ADD CONSTRAINT external_identity_pkey PRIMARY KEY (provider, subject);
ALTER TABLE ONLY public.federation_rule
    ADD CONSTRAINT federation_rule_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.gc_queue
    ADD CONSTRAINT gc_queue_pkey PRIMARY KEY (kind, id);
ALTER TABLE ONLY public.job
    ADD CONSTRAINT job_kind_key_key UNIQUE (kind, key);
ALTER TABLE ONLY public.job
    ADD CONSTRAINT job_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.lockout
    ADD CONSTRAINT lockout_pkey PRIMARY KEY (account_id, address);
ALTER TABLE ONLY public.manifest_blob
    ADD CONSTRAINT manifest_blob_pkey PRIMARY KEY (repository_id, blob_id, manifest_id);
ALTER TABLE ONLY public.manifest_child
    ADD CONSTRAINT manifest_child_pkey PRIMARY KEY (parent_id, child_digest);
ALTER TABLE ONLY public.manifest_content
    ADD CONSTRAINT manifest_content_pkey PRIMARY KEY (digest);
ALTER TABLE ONLY public.manifest_missing_blob
    ADD CONSTRAINT manifest_missing_blob_pkey PRIMARY KEY (manifest_id, digest);
ALTER TABLE ONLY public.manifest
    ADD CONSTRAINT manifest_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.manifest
    ADD CONSTRAINT manifest_repository_digest_key UNIQUE (repository_id, digest);
ALTER TABLE ONLY public.manifest
    ADD CONSTRAINT manifest_repository_id_key UNIQUE (repository_id, id);
ALTER TABLE ONLY public.media_type
    ADD CONSTRAINT media_type_name_key UNIQUE (name);
ALTER TABLE ONLY public.media_type
    ADD CONSTRAINT media_type_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.membership
    ADD CONSTRAINT membership_pkey PRIMARY KEY (account_id, team_id);
ALTER TABLE ONLY public.namespace
    ADD CONSTRAINT namespace_name_key UNIQUE (name);
ALTER TABLE ONLY public.namespace
    ADD CONSTRAINT namespace_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.object_delete
    ADD CONSTRAINT object_delete_pkey PRIMARY KEY (store_id, storage_key);
ALTER TABLE ONLY public.pull_count
    ADD CONSTRAINT pull_count_pkey PRIMARY KEY (hour, repository_id, digest, account_id, credential_id);
ALTER TABLE ONLY public.pull_count_default
    ADD CONSTRAINT pull_count_default_pkey PRIMARY KEY (hour, repository_id, digest, account_id, credential_id);
ALTER TABLE ONLY public.recovery
    ADD CONSTRAINT recovery_pkey PRIMARY KEY (secret_hash);
ALTER TABLE ONLY public.repository_blob
    ADD CONSTRAINT repository_blob_pkey PRIMARY KEY (repository_id, blob_id);
ALTER TABLE ONLY public.repository
    ADD CONSTRAINT repository_path_key UNIQUE (path);
ALTER TABLE ONLY public.repository
    ADD CONSTRAINT repository_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.session
    ADD CONSTRAINT session_pkey PRIMARY KEY (secret_hash);
ALTER TABLE ONLY public.setting
    ADD CONSTRAINT setting_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.signing_key
    ADD CONSTRAINT signing_key_pkey PRIMARY KEY (kid);
ALTER TABLE ONLY public.store
    ADD CONSTRAINT store_name_key UNIQUE (name);
ALTER TABLE ONLY public.store
    ADD CONSTRAINT store_ownership_key UNIQUE (id, ownership);
ALTER TABLE ONLY public.store
    ADD CONSTRAINT store_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.tag_history
    ADD CONSTRAINT tag_history_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.tag
    ADD CONSTRAINT tag_pkey PRIMARY KEY (repository_id, name);
ALTER TABLE ONLY public.team_group
    ADD CONSTRAINT team_group_pkey PRIMARY KEY (provider, group_name, team_id);
ALTER TABLE ONLY public.team
    ADD CONSTRAINT team_organization_id_name_key UNIQUE (organization_id, name);
ALTER TABLE ONLY public.team
    ADD CONSTRAINT team_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.upload_part
    ADD CONSTRAINT upload_part_pkey PRIMARY KEY (upload_id, number);
ALTER TABLE ONLY public.upload
    ADD CONSTRAINT upload_pkey PRIMARY KEY (id);
CREATE INDEX process_replica_seen ON portolan_pg.process_replica USING btree (seen_at);

CREATE UNIQUE INDEX account_email ON public.account USING btree (lower(email)) WHERE (email IS NOT NULL);

CREATE INDEX account_owner ON public.account USING btree (owner_id) WHERE (owner_id IS NOT NULL);

CREATE INDEX account_superuser ON public.account USING btree (id) WHERE superuser;

CREATE INDEX audit_log_action ON ONLY public.audit_log USING btree (action, at);

CREATE INDEX audit_log_actor ON ONLY public.audit_log USING btree (actor, at);

CREATE INDEX audit_log_default_action_at_idx ON public.audit_log_default USING btree (action, at);

CREATE INDEX audit_log_default_actor_at_idx ON public.audit_log_default USING btree (actor, at);

CREATE INDEX audit_log_namespace ON ONLY public.audit_log USING btree (namespace_id, at) WHERE (namespace_id IS NOT NULL);

CREATE INDEX audit_log_default_namespace_id_at_idx ON public.audit_log_default USING btree (namespace_id, at) WHERE (namespace_id IS NOT NULL);

CREATE INDEX audit_log_repository ON ONLY public.audit_log USING btree (repository_id, at) WHERE (repository_id IS NOT NULL);

CREATE INDEX audit_log_default_repository_id_at_idx ON public.audit_log_default USING btree (repository_id, at) WHERE (repository_id IS NOT NULL);

CREATE INDEX credential_account ON public.credential USING btree (account_id);

CREATE UNIQUE INDEX credential_robot ON public.credential USING btree (account_id) WHERE (kind = 'robot'::text);

CREATE INDEX default_permission_account ON public.default_permission USING btree (account_id) WHERE (account_id IS NOT NULL);

CREATE INDEX default_permission_creator ON public.default_permission USING btree (creator_id) WHERE (creator_id IS NOT NULL);

CREATE INDEX default_permission_team ON public.default_permission USING btree (team_id) WHERE (team_id IS NOT NULL);

CREATE INDEX deleted_manifest_digest ON public.deleted_manifest USING btree (repository_id, digest, id);

CREATE INDEX external_identity_account ON public.external_identity USING btree (account_id);

CREATE INDEX federation_rule_account ON public.federation_rule USING btree (account_id);

CREATE INDEX gc_queue_due ON public.gc_queue USING btree (kind, review_after);

CREATE INDEX job_due ON public.job USING btree (due_at) WHERE (NOT paused);

CREATE INDEX lockout_failed ON public.lockout USING btree (failed_at);

CREATE INDEX manifest_blob_blob ON public.manifest_blob USING btree (blob_id, repository_id);

CREATE INDEX manifest_blob_manifest ON public.manifest_blob USING btree (manifest_id);

CREATE INDEX manifest_by_digest ON public.manifest USING btree (digest, repository_id);

CREATE INDEX manifest_child_child ON public.manifest_child USING btree (child_id) WHERE (child_id IS NOT NULL);

CREATE INDEX manifest_child_digest ON public.manifest_child USING btree (repository_id, child_digest);

CREATE INDEX manifest_media_type ON public.manifest USING btree (media_type_id);

CREATE INDEX manifest_missing_blob_digest ON public.manifest_missing_blob USING btree (repository_id, digest);

CREATE INDEX manifest_subject ON public.manifest USING btree (repository_id, subject_digest, digest) WHERE (subject_digest IS NOT NULL);

CREATE INDEX membership_team ON public.membership USING btree (team_id, account_id);

CREATE INDEX namespace_owner ON public.namespace USING btree (owner_account_id);

CREATE INDEX object_delete_due ON public.object_delete USING btree (not_before);

CREATE INDEX object_delete_restorable ON public.object_delete USING btree (digest) WHERE (reason = 'collected'::text);

CREATE UNIQUE INDEX permission_account ON public.permission USING btree (account_id, repository_id) WHERE (account_id IS NOT NULL);

CREATE INDEX permission_repository ON public.permission USING btree (repository_id);

CREATE UNIQUE INDEX permission_team ON public.permission USING btree (team_id, repository_id) WHERE (team_id IS NOT NULL);

CREATE INDEX pull_count_account ON ONLY public.pull_count USING btree (account_id, hour);

CREATE INDEX pull_count_default_account_id_hour_idx ON public.pull_count_default USING btree (account_id, hour);

CREATE INDEX pull_count_repository ON ONLY public.pull_count USING btree (repository_id, hour);

CREATE INDEX pull_count_default_repository_id_hour_idx ON public.pull_count_default USING btree (repository_id, hour);

CREATE INDEX recovery_account ON public.recovery USING btree (account_id);

CREATE INDEX recovery_end ON public.recovery USING btree (expires_at);

CREATE INDEX repository_blob_blob ON public.repository_blob USING btree (blob_id, repository_id);

CREATE INDEX repository_blob_expiry ON public.repository_blob USING btree (expires_at);

CREATE INDEX repository_mirror_account ON public.repository USING btree (mirror_account_id) WHERE (mirror_account_id IS NOT NULL);

CREATE INDEX repository_namespace ON public.repository USING btree (namespace_id, path);

CREATE INDEX repository_public ON public.repository USING btree (path) WHERE ((visibility = 'public'::text) AND (state = 'active'::text));

CREATE INDEX session_account ON public.session USING btree (account_id);

CREATE INDEX session_end ON public.session USING btree (expires_at);

CREATE UNIQUE INDEX signing_key_one_each ON public.signing_key USING btree (state) WHERE (state <> 'retired'::text);

CREATE INDEX tag_history_tag ON public.tag_history USING btree (repository_id, name, version);

CREATE INDEX tag_manifest ON public.tag USING btree (manifest_id);

CREATE INDEX team_group_team ON public.team_group USING btree (team_id);

CREATE INDEX upload_account ON public.upload USING btree (account_id);

CREATE INDEX upload_expiry ON public.upload USING btree (expires_at);

CREATE INDEX upload_store ON public.upload USING btree (store_id);

ALTER INDEX public.audit_log_action ATTACH PARTITION public.audit_log_default_action_at_idx;

ALTER INDEX public.audit_log_actor ATTACH PARTITION public.audit_log_default_actor_at_idx;

ALTER INDEX public.audit_log_namespace ATTACH PARTITION public.audit_log_default_namespace_id_at_idx;

ALTER INDEX public.audit_log_pkey ATTACH PARTITION public.audit_log_default_pkey;

ALTER INDEX public.audit_log_repository ATTACH PARTITION public.audit_log_default_repository_id_at_idx;

ALTER INDEX public.pull_count_account ATTACH PARTITION public.pull_count_default_account_id_hour_idx;

ALTER INDEX public.pull_count_pkey ATTACH PARTITION public.pull_count_default_pkey;

ALTER INDEX public.pull_count_repository ATTACH PARTITION public.pull_count_default_repository_id_hour_idx;

CREATE TRIGGER blob_added AFTER INSERT ON public.blob REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION public.enqueue_new_blobs();

CREATE TRIGGER manifest_blob_removed AFTER DELETE ON public.manifest_blob REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION public.keep_unreferenced_blobs();

CREATE TRIGGER repository_blob_removed AFTER DELETE ON public.repository_blob REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION public.enqueue_unlinked_blobs();

ALTER TABLE ONLY public.account
    ADD CONSTRAINT account_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES public.account(id) ON DELETE RESTRICT;
ALTER TABLE ONLY public.blob
    ADD CONSTRAINT blob_store_id_fkey FOREIGN KEY (store_id) REFERENCES public.store(id) ON DELETE RESTRICT;
ALTER TABLE ONLY public.credential
    ADD CONSTRAINT credential_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.account(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.default_permission
    ADD CONSTRAINT default_permission_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.account(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.default_permission
    ADD CONSTRAINT default_permission_creator_id_fkey FOREIGN KEY (creator_id) REFERENCES public.account(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.default_permission
    ADD CONSTRAINT default_permission_namespace_id_fkey FOREIGN KEY (namespace_id) REFERENCES public.namespace(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.default_permission
    ADD CONSTRAINT default_permission_team_id_fkey FOREIGN KEY (team_id) REFERENCES public.team(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.external_identity
    ADD CONSTRAINT external_identity_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.account(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.federation_rule
    ADD CONSTRAINT federation_rule_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.account(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.lockout
    ADD CONSTRAINT lockout_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.account(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.manifest_blob
    ADD CONSTRAINT manifest_blob_blob_id_fkey FOREIGN KEY (blob_id) REFERENCES public.blob(id) ON DELETE RESTRICT;
ALTER TABLE ONLY public.manifest_blob
    ADD CONSTRAINT manifest_blob_repository_id_manifest_id_fkey FOREIGN KEY (repository_id, manifest_id) REFERENCES public.manifest(repository_id, id) ON DELETE RESTRICT;
ALTER TABLE ONLY public.manifest_child
    ADD CONSTRAINT manifest_child_repository_id_child_id_fkey FOREIGN KEY (repository_id, child_id) REFERENCES public.manifest(repository_id, id) ON DELETE RESTRICT;
ALTER TABLE ONLY public.manifest_child
    ADD CONSTRAINT manifest_child_repository_id_parent_id_fkey FOREIGN KEY (repository_id, parent_id) REFERENCES public.manifest(repository_id, id) ON DELETE RESTRICT;
ALTER TABLE ONLY public.manifest
    ADD CONSTRAINT manifest_digest_fkey FOREIGN KEY (digest) REFERENCES public.manifest_content(digest) ON DELETE RESTRICT;
ALTER TABLE ONLY public.manifest
    ADD CONSTRAINT manifest_media_type_id_fkey FOREIGN KEY (media_type_id) REFERENCES public.media_type(id) ON DELETE RESTRICT;
ALTER TABLE ONLY public.manifest_missing_blob
    ADD CONSTRAINT manifest_missing_blob_repository_id_manifest_id_fkey FOREIGN KEY (repository_id, manifest_id) REFERENCES public.manifest(repository_id, id) ON DELETE RESTRICT;
ALTER TABLE ONLY public.manifest
    ADD CONSTRAINT manifest_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES public.repository(id) ON DELETE RESTRICT;
ALTER TABLE ONLY public.membership
    ADD CONSTRAINT membership_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.account(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.membership
    ADD CONSTRAINT membership_team_id_fkey FOREIGN KEY (team_id) REFERENCES public.team(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.namespace
    ADD CONSTRAINT namespace_owner_account_id_fkey FOREIGN KEY (owner_account_id) REFERENCES public.account(id) ON DELETE RESTRICT;
ALTER TABLE ONLY public.object_delete
    ADD CONSTRAINT object_delete_store_id_store_ownership_fkey FOREIGN KEY (store_id, store_ownership) REFERENCES public.store(id, ownership) ON DELETE RESTRICT;
ALTER TABLE ONLY public.permission
    ADD CONSTRAINT permission_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.account(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.permission
    ADD CONSTRAINT permission_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES public.repository(id) ON DELETE RESTRICT;
ALTER TABLE ONLY public.permission
    ADD CONSTRAINT permission_team_id_fkey FOREIGN KEY (team_id) REFERENCES public.team(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.recovery
    ADD CONSTRAINT recovery_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.account(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.repository_blob
    ADD CONSTRAINT repository_blob_blob_id_fkey FOREIGN KEY (blob_id) REFERENCES public.blob(id) ON DELETE RESTRICT;
ALTER TABLE ONLY public.repository_blob
    ADD CONSTRAINT repository_blob_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES public.repository(id) ON DELETE RESTRICT;
ALTER TABLE ONLY public.repository
    ADD CONSTRAINT repository_mirror_account_id_fkey FOREIGN KEY (mirror_account_id) REFERENCES public.account(id) ON DELETE RESTRICT;
ALTER TABLE ONLY public.repository
    ADD CONSTRAINT repository_namespace_id_fkey FOREIGN KEY (namespace_id) REFERENCES public.namespace(id) ON DELETE RESTRICT;
ALTER TABLE ONLY public.session
    ADD CONSTRAINT session_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.account(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.tag
    ADD CONSTRAINT tag_repository_id_manifest_id_fkey FOREIGN KEY (repository_id, manifest_id) REFERENCES public.manifest(repository_id, id) ON DELETE RESTRICT;
ALTER TABLE ONLY public.team_group
    ADD CONSTRAINT team_group_team_id_fkey FOREIGN KEY (team_id) REFERENCES public.team(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.team
    ADD CONSTRAINT team_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES public.account(id) ON DELETE RESTRICT;
ALTER TABLE ONLY public.upload
    ADD CONSTRAINT upload_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.account(id) ON DELETE RESTRICT;
ALTER TABLE ONLY public.upload_part
    ADD CONSTRAINT upload_part_upload_id_fkey FOREIGN KEY (upload_id) REFERENCES public.upload(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.upload
    ADD CONSTRAINT upload_store_id_store_ownership_fkey FOREIGN KEY (store_id, store_ownership) REFERENCES public.store(id, ownership) ON DELETE RESTRICT;
