-- Blobs on their way in. The row is written before the bytes are: whatever a process leaves behind when
-- it dies is a key that a row names.

CREATE TABLE upload (
    id              uuid PRIMARY KEY,
    account_id      bigint NOT NULL REFERENCES account ON DELETE RESTRICT,
    store_id        bigint NOT NULL,
    store_ownership text COLLATE "C" NOT NULL DEFAULT 'owned' CHECK (store_ownership = 'owned'),
    -- Raised by every claim. Whoever shows an older one has lost the upload.
    version         bigint NOT NULL DEFAULT 1 CHECK (version > 0),
    lock_until      timestamptz,
    expires_at      timestamptz NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    received        bigint NOT NULL DEFAULT 0 CHECK (received >= 0),
    tail_len        bigint NOT NULL DEFAULT 0 CHECK (tail_len BETWEEN 0 AND received),
    algorithm       text COLLATE "C" NOT NULL CHECK (algorithm IN ('sha256', 'sha512')),
    -- A path and not a repository: the first commit makes the repository, not the start of an upload.
    repository_path text COLLATE "C" NOT NULL,
    hash_state      bytea,
    multipart_key   text COLLATE "C",
    multipart_id    text COLLATE "C",
    tail_key        text COLLATE "C",
    -- What the present claim writes to, noted before it does.
    pending_key     text COLLATE "C",

    FOREIGN KEY (store_id, store_ownership) REFERENCES store (id, ownership) ON DELETE RESTRICT,
    CONSTRAINT upload_multipart_has_key CHECK (multipart_id IS NULL OR multipart_key IS NOT NULL),
    CONSTRAINT upload_tail_has_key CHECK ((tail_len > 0) = (tail_key IS NOT NULL))
)
-- A row is updated for every chunk: room on its page keeps those updates off the indexes.
WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX upload_account ON upload (account_id);
CREATE INDEX upload_store ON upload (store_id);
CREATE INDEX upload_expiry ON upload (expires_at);

CREATE TABLE upload_part (
    upload_id uuid NOT NULL REFERENCES upload ON DELETE CASCADE,
    size      bigint NOT NULL CHECK (size > 0),
    -- S3 allows 1 to 10,000 (Amazon S3 user guide, "Multipart upload limits").
    number    integer NOT NULL CHECK (number BETWEEN 1 AND 10000),
    etag      text COLLATE "C" NOT NULL,

    PRIMARY KEY (upload_id, number)
);
