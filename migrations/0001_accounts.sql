-- Who there is, and whose names are whose.
--
-- Words that name a state are text with a CHECK, not enums: a driver has to ask the catalog for an
-- enum's type on every new connection, and a CHECK is widened in one expand step.

CREATE TABLE account (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Raised when a password changes or an account is disabled: every token of an older generation is void.
    generation    bigint NOT NULL DEFAULT 1 CHECK (generation > 0),
    -- The user or organization a robot belongs to.
    owner_id      bigint REFERENCES account ON DELETE RESTRICT,
    created_at    timestamptz NOT NULL DEFAULT now(),
    superuser     boolean NOT NULL DEFAULT false,
    kind          text COLLATE "C" NOT NULL CHECK (kind IN ('user', 'organization', 'robot')),
    state         text COLLATE "C" NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'disabled', 'removing')),
    name          text COLLATE "C" NOT NULL UNIQUE CHECK (octet_length(name) <= 255),
    password_hash text,

    CONSTRAINT account_name_grammar CHECK (
        -- A segment of a repository's path (distribution-spec, "Pulling manifests"), so that a user's or
        -- organization's name can be a namespace; a robot's is `owner+short`.
        CASE
            WHEN state = 'removing' THEN name = '~' || id
            WHEN kind = 'robot' THEN name ~ '^[a-z0-9]+([._-]+[a-z0-9]+)*\+[a-z0-9][a-z0-9_.-]*$'
            ELSE name ~ '^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$'
        END
    ),
    CONSTRAINT account_robot_has_owner CHECK ((kind = 'robot') = (owner_id IS NOT NULL)),
    CONSTRAINT account_only_users_log_in CHECK (kind = 'user' OR (password_hash IS NULL AND NOT superuser))
);
CREATE INDEX account_owner ON account (owner_id) WHERE owner_id IS NOT NULL;

CREATE TABLE namespace (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- A user or an organization. Rights beyond the owner's come with teams and permission rows.
    owner_account_id bigint NOT NULL REFERENCES account ON DELETE RESTRICT,
    created_at       timestamptz NOT NULL DEFAULT now(),
    name             text COLLATE "C" NOT NULL UNIQUE
        CHECK (octet_length(name) <= 255 AND name ~ '^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$')
);
CREATE INDEX namespace_owner ON namespace (owner_account_id);

CREATE TABLE repository (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace_id     bigint NOT NULL REFERENCES namespace ON DELETE RESTRICT,
    created_at       timestamptz NOT NULL DEFAULT now(),
    removed_at       timestamptz,
    -- Who made it. No foreign key: it tells, it does not guard.
    created_by       bigint,
    -- Whether manifests without tag, parent and subject are collected. Off: they are kept for good.
    -- Switching it on enqueues what is untagged, 24 hours ahead.
    collect_untagged boolean NOT NULL DEFAULT false,
    visibility       text COLLATE "C" NOT NULL DEFAULT 'private' CHECK (visibility IN ('private', 'public')),
    state            text COLLATE "C" NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'removing')),
    -- Canonical: `library/alpine`. The path is what every write transaction finds and locks it by.
    path             text COLLATE "C" NOT NULL UNIQUE CHECK (octet_length(path) <= 255),
    removed_path     text COLLATE "C",
    description      text NOT NULL DEFAULT '',

    -- Removing renames and marks in one UPDATE. The path is a key, so the UPDATE waits for every
    -- transaction that holds the row FOR KEY SHARE, and the name is free at once.
    CONSTRAINT repository_path_grammar CHECK (
        CASE state
            WHEN 'active' THEN
                path ~ '^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)+$'
            ELSE path = '~' || id
        END
    ),
    CONSTRAINT repository_removal_is_whole CHECK (
        (state = 'removing') = (removed_path IS NOT NULL) AND (state = 'removing') = (removed_at IS NOT NULL)
    )
);
-- The catalog reads what a principal may read in the order of paths: its own namespaces', and the public ones'.
CREATE INDEX repository_namespace ON repository (namespace_id, path);
CREATE INDEX repository_public ON repository (path) WHERE visibility = 'public' AND state = 'active';
