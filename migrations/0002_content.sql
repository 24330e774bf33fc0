-- Blobs, manifests and what refers to what.

CREATE TABLE store (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    name       text COLLATE "C" NOT NULL UNIQUE,
    kind       text COLLATE "C" NOT NULL CHECK (kind IN ('s3', 'directory')),
    -- owned: every key is ours, random and never used twice. adopted: another registry's bucket, never
    -- written to or deleted from; the tables that lead to either take owned stores only.
    ownership  text COLLATE "C" NOT NULL CHECK (ownership IN ('owned', 'adopted')),
    bucket     text NOT NULL DEFAULT '',
    prefix     text NOT NULL DEFAULT '',
    endpoint   text NOT NULL DEFAULT '',

    CONSTRAINT store_ownership_key UNIQUE (id, ownership),
    CONSTRAINT store_s3_has_bucket CHECK ((kind = 's3') = (bucket <> ''))
);

CREATE TABLE blob (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    store_id    bigint NOT NULL REFERENCES store ON DELETE RESTRICT,
    size        bigint NOT NULL CHECK (size >= 0),
    created_at  timestamptz NOT NULL DEFAULT now(),
    -- 32 bytes are sha256, 64 are sha512.
    digest      bytea NOT NULL CHECK (octet_length(digest) IN (32, 64)),
    -- Relative to the store's prefix.
    storage_key text COLLATE "C" NOT NULL CHECK (octet_length(storage_key) BETWEEN 1 AND 1024),
    -- Small blobs (most configs and every empty one) also lie here, so that a pull of them asks no store.
    content     bytea,

    CONSTRAINT blob_digest_key UNIQUE (digest),
    CONSTRAINT blob_storage_key_key UNIQUE (store_id, storage_key),
    CONSTRAINT blob_content_is_the_blob CHECK (
        content IS NULL OR (
            octet_length(content) <= 2048 AND octet_length(content) = size
            AND digest = CASE octet_length(digest) WHEN 32 THEN sha256(content) WHEN 64 THEN sha512(content) END
        ) IS TRUE
    )
);
-- Compressing 2 KiB of JSON saves less than its time costs; out of line it would cost the read it saves.
ALTER TABLE blob ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE TABLE media_type (
    id   smallint PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE CHECK (name <> '')
);
INSERT INTO media_type (id, name) VALUES
    (1, 'application/vnd.oci.image.manifest.v1+json'),
    (2, 'application/vnd.oci.image.index.v1+json'),
    (3, 'application/vnd.docker.distribution.manifest.v2+json'),
    (4, 'application/vnd.docker.distribution.manifest.list.v2+json');

-- Each distinct manifest once, however many repositories have it. The database itself refuses bytes
-- that do not hash to their digest: a copy that cuts them cannot be stored, by whomever. IS TRUE,
-- because a CHECK passes when it is NULL: of a NULL payload, of a digest that is no digest.
CREATE TABLE manifest_content (
    digest     bytea PRIMARY KEY,
    payload    bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT manifest_content_is_what_it_hashes_to CHECK (
        (digest = CASE octet_length(digest) WHEN 32 THEN sha256(payload) WHEN 64 THEN sha512(payload) END) IS TRUE
    )
)
-- In the row up to 8 KiB, and never compressed. Tried with 60,000 image manifests of 1 to 5 KiB on Postgres 15:
--   as here                  143 MB   4.0 pages a read   3.5 s to insert
--   compressed by pglz        97 MB   4.6 pages          8.6 s
--   uncompressed, out of row 146 MB   7.3 pages          4.7 s
-- Disk is what a registry has; the time of a compression would be spent under the locks of a push.
WITH (toast_tuple_target = 8160);
ALTER TABLE manifest_content ALTER COLUMN payload SET STORAGE EXTERNAL;

CREATE TABLE manifest (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    repository_id     bigint NOT NULL REFERENCES repository ON DELETE RESTRICT,
    created_at        timestamptz NOT NULL DEFAULT now(),
    -- Of the config and the layers, as declared; 0 for an index, whose children have their own.
    size_total        bigint NOT NULL CHECK (size_total >= 0),
    payload_size      integer NOT NULL CHECK (payload_size > 0),
    layer_count       integer NOT NULL CHECK (layer_count >= 0),
    media_type_id     smallint NOT NULL REFERENCES media_type ON DELETE RESTRICT,
    digest            bytea NOT NULL REFERENCES manifest_content ON DELETE RESTRICT,
    -- What this manifest is about. It may be missing, or come later.
    subject_digest    bytea CHECK (octet_length(subject_digest) IN (32, 64)),
    config_digest     bytea CHECK (octet_length(config_digest) IN (32, 64)),
    -- What the referrers list filters by: as declared, else the config's media type.
    artifact_type     text COLLATE "C",
    config_media_type text COLLATE "C",
    -- Of an image, from its config; an index has its children's.
    os                text,
    architecture      text,
    variant           text,
    -- json and not jsonb: it is given back whole, and jsonb refuses the NUL that JSON strings may hold.
    annotations       json,

    CONSTRAINT manifest_repository_digest_key UNIQUE (repository_id, digest),
    -- So that a tag, a child and a reference can only name a manifest of their own repository.
    CONSTRAINT manifest_repository_id_key UNIQUE (repository_id, id)
);
CREATE INDEX manifest_digest ON manifest (digest);
CREATE INDEX manifest_media_type ON manifest (media_type_id);
CREATE INDEX manifest_subject ON manifest (repository_id, subject_digest, digest) WHERE subject_digest IS NOT NULL;

-- The key answers "is this blob referenced in this repository" from its first two columns.
CREATE TABLE manifest_blob (
    repository_id bigint NOT NULL,
    blob_id       bigint NOT NULL REFERENCES blob ON DELETE RESTRICT,
    manifest_id   bigint NOT NULL,

    PRIMARY KEY (repository_id, blob_id, manifest_id),
    FOREIGN KEY (repository_id, manifest_id) REFERENCES manifest (repository_id, id) ON DELETE RESTRICT
);
-- With the repository, so that "which repositories have this blob" walks from one to the next.
CREATE INDEX manifest_blob_blob ON manifest_blob (blob_id, repository_id);
CREATE INDEX manifest_blob_manifest ON manifest_blob (manifest_id);

-- What a manifest names and its repository did not have, where such manifests are taken. When the blob
-- comes to the repository, by an upload or a mount, the row turns into a reference; until then it gives no
-- access to anything: naming a digest is no proof of having its bytes.
CREATE TABLE manifest_missing_blob (
    repository_id bigint NOT NULL,
    manifest_id   bigint NOT NULL,
    digest        bytea NOT NULL CHECK (octet_length(digest) IN (32, 64)),

    PRIMARY KEY (manifest_id, digest),
    FOREIGN KEY (repository_id, manifest_id) REFERENCES manifest (repository_id, id) ON DELETE RESTRICT
);
CREATE INDEX manifest_missing_blob_digest ON manifest_missing_blob (repository_id, digest);

CREATE TABLE manifest_child (
    repository_id bigint NOT NULL,
    parent_id     bigint NOT NULL,
    -- Only the guard against removal. Whether a manifest has a parent is asked by (repository_id,
    -- child_digest): an index and its child pushed at once may both miss each other here.
    child_id      bigint,
    child_digest  bytea NOT NULL CHECK (octet_length(child_digest) IN (32, 64)),
    -- As the index declares them, for pages that show platforms.
    os            text,
    architecture  text,
    variant       text,

    PRIMARY KEY (parent_id, child_digest),
    FOREIGN KEY (repository_id, parent_id) REFERENCES manifest (repository_id, id) ON DELETE RESTRICT,
    FOREIGN KEY (repository_id, child_id) REFERENCES manifest (repository_id, id) ON DELETE RESTRICT
);
CREATE INDEX manifest_child_digest ON manifest_child (repository_id, child_digest);
CREATE INDEX manifest_child_child ON manifest_child (child_id) WHERE child_id IS NOT NULL;

-- Temporary: what was uploaded or mounted here and no manifest references yet. Expiry deletes the row.
-- RESTRICT, because renewing a link locks nothing of the blob: CASCADE would lose an acknowledged link.
CREATE TABLE repository_blob (
    repository_id bigint NOT NULL REFERENCES repository ON DELETE RESTRICT,
    blob_id       bigint NOT NULL REFERENCES blob ON DELETE RESTRICT,
    expires_at    timestamptz NOT NULL,

    PRIMARY KEY (repository_id, blob_id)
);
CREATE INDEX repository_blob_blob ON repository_blob (blob_id, repository_id);
CREATE INDEX repository_blob_expiry ON repository_blob (expires_at);
