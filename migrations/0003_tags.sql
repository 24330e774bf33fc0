-- Names that move, and where they have been.

CREATE SEQUENCE tag_version;

CREATE TABLE tag (
    repository_id bigint NOT NULL,
    manifest_id   bigint NOT NULL,
    version       bigint NOT NULL DEFAULT nextval('tag_version'),
    moved_at      timestamptz NOT NULL DEFAULT now(),
    -- Expiry deletes the row; reads do not look at it.
    expires_at    timestamptz,
    immutable     boolean NOT NULL DEFAULT false,
    name          text COLLATE "C" NOT NULL CHECK (name ~ '^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$'),

    PRIMARY KEY (repository_id, name),
    FOREIGN KEY (repository_id, manifest_id) REFERENCES manifest (repository_id, id) ON DELETE RESTRICT
);
ALTER SEQUENCE tag_version OWNED BY tag.version;
CREATE INDEX tag_manifest ON tag (manifest_id);

-- Every move, for good. No foreign keys: it outlives what it tells of.
CREATE TABLE tag_history (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    repository_id    bigint NOT NULL,
    -- The tag's version after the move: the order of moves, which times do not give.
    version          bigint NOT NULL,
    actor_account_id bigint,
    moved_at         timestamptz NOT NULL DEFAULT now(),
    name             text COLLATE "C" NOT NULL,
    -- Where it points now; NULL: nowhere any more.
    digest           bytea CHECK (octet_length(digest) IN (32, 64)),
    previous_digest  bytea CHECK (octet_length(previous_digest) IN (32, 64)),

    CONSTRAINT tag_history_is_a_move CHECK (digest IS DISTINCT FROM previous_digest)
);
CREATE INDEX tag_history_tag ON tag_history (repository_id, name, version);
