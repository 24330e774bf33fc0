-- What is to be looked at again, what is to be deleted, and what was.
--
-- The queue rows are not work orders: a review reads the truth anew. What matters is that nothing that
-- may have become unreachable is without one, so the statements that can make it so enqueue by trigger,
-- whoever runs them. All of them DO UPDATE: that waits for a collector that holds the row, where
-- DO NOTHING would pass it by while it is about to go.

CREATE TABLE gc_queue (
    id           bigint NOT NULL,
    -- For a manifest this is also its age: pushes and the loss of a tag, parent or subject set it ahead.
    review_after timestamptz NOT NULL,
    kind         text COLLATE "C" NOT NULL CHECK (kind IN ('blob', 'manifest')),

    PRIMARY KEY (kind, id)
)
WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX gc_queue_due ON gc_queue (kind, review_after);

-- Objects to be deleted from their stores once their quarantine is over. Only owned stores can stand here.
CREATE TABLE object_delete (
    store_id        bigint NOT NULL,
    store_ownership text COLLATE "C" NOT NULL DEFAULT 'owned' CHECK (store_ownership = 'owned'),
    size            bigint CHECK (size >= 0),
    deleted_at      timestamptz NOT NULL DEFAULT now(),
    not_before      timestamptz NOT NULL,
    -- Set in a committed transaction before the store is asked to delete; never unset.
    claimed_at      timestamptz,
    -- Whether a multipart upload was begun under the key. Without its id, every one of the key is aborted.
    multipart       boolean NOT NULL DEFAULT false,
    digest          bytea CHECK (octet_length(digest) IN (32, 64)),
    storage_key     text COLLATE "C" NOT NULL,
    multipart_id    text COLLATE "C",
    -- collected: was a blob, can be restored until its quarantine ends. upload: left by one that was
    -- swept, cancelled or superseded. duplicate: its digest was there already.
    reason          text COLLATE "C" NOT NULL CHECK (reason IN ('collected', 'upload', 'duplicate')),

    PRIMARY KEY (store_id, storage_key),
    FOREIGN KEY (store_id, store_ownership) REFERENCES store (id, ownership) ON DELETE RESTRICT,
    CONSTRAINT object_delete_collected_is_restorable CHECK (
        reason <> 'collected' OR (digest IS NOT NULL AND size IS NOT NULL AND NOT multipart)
    ),
    CONSTRAINT object_delete_multipart_id CHECK (multipart OR multipart_id IS NULL)
)
WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX object_delete_due ON object_delete (not_before);
CREATE INDEX object_delete_restorable ON object_delete (digest) WHERE reason = 'collected';

-- What was a manifest of a repository. No foreign keys: it outlives what it tells of.
CREATE TABLE deleted_manifest (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    repository_id    bigint NOT NULL,
    actor_account_id bigint,
    deleted_at       timestamptz NOT NULL DEFAULT now(),
    digest           bytea NOT NULL CHECK (octet_length(digest) IN (32, 64)),
    media_type       text COLLATE "C" NOT NULL,
    reason           text COLLATE "C" NOT NULL CHECK (reason IN ('user', 'collection', 'retention')),
    tags             text[] COLLATE "C" NOT NULL DEFAULT '{}'
);
CREATE INDEX deleted_manifest_digest ON deleted_manifest (repository_id, digest, id);

CREATE FUNCTION enqueue_new_blobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Ids that nobody else knows yet: taking the queue's locks this early keeps nobody waiting.
    INSERT INTO gc_queue (kind, id, review_after)
    SELECT 'blob', added.id, now() + interval '24 hours' FROM added ORDER BY added.id
    ON CONFLICT (kind, id) DO UPDATE
        SET review_after = greatest(gc_queue.review_after, excluded.review_after);
    RETURN NULL;
END
$$;
CREATE TRIGGER blob_added AFTER INSERT ON blob
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION enqueue_new_blobs();

CREATE FUNCTION keep_unreferenced_blobs() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE TRIGGER manifest_blob_removed AFTER DELETE ON manifest_blob
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION keep_unreferenced_blobs();

CREATE FUNCTION enqueue_unlinked_blobs() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE TRIGGER repository_blob_removed AFTER DELETE ON repository_blob
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION enqueue_unlinked_blobs();
