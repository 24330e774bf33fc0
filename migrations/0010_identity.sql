-- Organizations' teams, rights beyond the owner's, robots and application tokens, logins that come from elsewhere.
--
-- A role is a number, because the highest of several counts: 1 reads, 2 writes, 3 administers.

ALTER TABLE account
    -- Of a user; compared without case. Whether its owner has shown that it is his.
    ADD COLUMN email text COLLATE "C" CHECK (octet_length(email) <= 320),
    ADD COLUMN email_verified boolean NOT NULL DEFAULT false,
    ADD COLUMN description text NOT NULL DEFAULT '' CHECK (octet_length(description) <= 4096),
    -- A robot stops working then.
    ADD COLUMN expires_at timestamptz,
    -- Reads everything, and has no more rights to change anything than anybody.
    ADD COLUMN read_only_superuser boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT account_only_users_see_all CHECK (kind = 'user' OR NOT read_only_superuser),
    ADD CONSTRAINT account_only_robots_expire CHECK (kind = 'robot' OR expires_at IS NULL);
-- Recovery finds an account by its address, so no two may have one.
CREATE UNIQUE INDEX account_email ON account (lower(email)) WHERE email IS NOT NULL;
-- One must be left: who takes that away from somebody locks them all.
CREATE INDEX account_superuser ON account (id) WHERE superuser;

ALTER TABLE namespace
    -- Its owner's end frees the name; the row stays as long as repositories of it do.
    DROP CONSTRAINT namespace_name_check,
    ADD CONSTRAINT namespace_name_check CHECK (
        name = '~' || id OR (octet_length(name) <= 255 AND name ~ '^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$')
    ),
    ADD COLUMN mode text COLLATE "C" NOT NULL DEFAULT 'normal' CHECK (mode IN ('normal', 'read_only'));

ALTER TABLE repository
    -- read_only: nobody pushes or deletes. mirror: only the account that mirrors does.
    ADD COLUMN mode text COLLATE "C" NOT NULL DEFAULT 'normal' CHECK (mode IN ('normal', 'read_only', 'mirror')),
    ADD COLUMN mirror_account_id bigint REFERENCES account ON DELETE RESTRICT,
    ADD CONSTRAINT repository_mirror_is_one CHECK (mirror_account_id IS NULL OR mode = 'mirror');
CREATE INDEX repository_mirror_account ON repository (mirror_account_id) WHERE mirror_account_id IS NOT NULL;

CREATE TABLE team (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id bigint NOT NULL REFERENCES account ON DELETE RESTRICT,
    created_at      timestamptz NOT NULL DEFAULT now(),
    -- member: what permissions say. creator: also makes repositories. admin: everything in the organization.
    role            text COLLATE "C" NOT NULL CHECK (role IN ('member', 'creator', 'admin')),
    name            text COLLATE "C" NOT NULL
        CHECK (octet_length(name) <= 255 AND name ~ '^[a-z0-9]+([._-]+[a-z0-9]+)*$'),
    description     text NOT NULL DEFAULT '' CHECK (octet_length(description) <= 4096),
    UNIQUE (organization_id, name)
);

CREATE TABLE membership (
    account_id bigint NOT NULL REFERENCES account ON DELETE CASCADE,
    team_id    bigint NOT NULL REFERENCES team ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- Whose groups put the account here, and take it out again; NULL: a person did, and no group undoes that.
    provider   text COLLATE "C" CHECK (provider <> ''),
    PRIMARY KEY (account_id, team_id)
);
CREATE INDEX membership_team ON membership (team_id, account_id);

-- Who is in that group at that provider is in the team.
CREATE TABLE team_group (
    team_id    bigint NOT NULL REFERENCES team ON DELETE CASCADE,
    provider   text COLLATE "C" NOT NULL CHECK (provider <> ''),
    group_name text COLLATE "C" NOT NULL CHECK (group_name <> '' AND octet_length(group_name) <= 1024),
    PRIMARY KEY (provider, group_name, team_id)
);
CREATE INDEX team_group_team ON team_group (team_id);

CREATE TABLE permission (
    repository_id bigint NOT NULL REFERENCES repository ON DELETE RESTRICT,
    account_id    bigint REFERENCES account ON DELETE CASCADE,
    team_id       bigint REFERENCES team ON DELETE CASCADE,
    role          smallint NOT NULL CHECK (role BETWEEN 1 AND 3),
    CONSTRAINT permission_is_of_one CHECK (num_nonnulls(account_id, team_id) = 1)
);
-- In this order they also find all that an account, or a team, may read.
CREATE UNIQUE INDEX permission_account ON permission (account_id, repository_id) WHERE account_id IS NOT NULL;
CREATE UNIQUE INDEX permission_team ON permission (team_id, repository_id) WHERE team_id IS NOT NULL;
CREATE INDEX permission_repository ON permission (repository_id);

-- What a new repository of the namespace is given beside its owner's rights.
CREATE TABLE default_permission (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace_id bigint NOT NULL REFERENCES namespace ON DELETE CASCADE,
    -- Only where this account makes it; NULL: whoever does.
    creator_id   bigint REFERENCES account ON DELETE CASCADE,
    account_id   bigint REFERENCES account ON DELETE CASCADE,
    team_id      bigint REFERENCES team ON DELETE CASCADE,
    role         smallint NOT NULL CHECK (role BETWEEN 1 AND 3),
    CONSTRAINT default_permission_is_for_one CHECK (num_nonnulls(account_id, team_id) = 1),
    UNIQUE NULLS NOT DISTINCT (namespace_id, creator_id, account_id, team_id)
);
CREATE INDEX default_permission_creator ON default_permission (creator_id) WHERE creator_id IS NOT NULL;
CREATE INDEX default_permission_account ON default_permission (account_id) WHERE account_id IS NOT NULL;
CREATE INDEX default_permission_team ON default_permission (team_id) WHERE team_id IS NOT NULL;

-- Secrets of 256 random bits: their hash needs no salt and no work factor, and finds them.
CREATE TABLE credential (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id   bigint NOT NULL REFERENCES account ON DELETE CASCADE,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    -- To the hour; told by pulls and logins in the background.
    last_used_at timestamptz,
    -- What it reaches at most; NULL: all that the account may.
    max_role     smallint CHECK (max_role BETWEEN 1 AND 3),
    kind         text COLLATE "C" NOT NULL CHECK (kind IN ('robot', 'application')),
    title        text NOT NULL DEFAULT '' CHECK (octet_length(title) <= 255),
    secret_hash  bytea NOT NULL UNIQUE CHECK (octet_length(secret_hash) = 32)
);
CREATE INDEX credential_account ON credential (account_id);
-- A robot has one secret.
CREATE UNIQUE INDEX credential_robot ON credential (account_id) WHERE kind = 'robot';

-- Who somebody is at a provider of single sign-on.
CREATE TABLE external_identity (
    account_id bigint NOT NULL REFERENCES account ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    provider   text COLLATE "C" NOT NULL CHECK (provider <> ''),
    subject    text COLLATE "C" NOT NULL CHECK (subject <> '' AND octet_length(subject) <= 1024),
    PRIMARY KEY (provider, subject)
);
CREATE INDEX external_identity_account ON external_identity (account_id);

-- Whose ID token is as good as the robot's secret.
CREATE TABLE federation_rule (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES account ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    issuer     text COLLATE "C" NOT NULL CHECK (issuer <> ''),
    audience   text COLLATE "C" NOT NULL CHECK (audience <> ''),
    -- A pattern, in which `*` stands for anything.
    subject    text COLLATE "C" NOT NULL CHECK (subject <> ''),
    -- Further claims and the patterns they must match: an object of texts.
    claims     jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(claims) = 'object')
);
CREATE INDEX federation_rule_account ON federation_rule (account_id);

-- A person at a browser.
CREATE TABLE session (
    account_id   bigint NOT NULL REFERENCES account ON DELETE CASCADE,
    -- The account's, when it began: it ends with the account's tokens.
    generation   bigint NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    -- When who it is was last shown.
    confirmed_at timestamptz NOT NULL DEFAULT now(),
    secret_hash  bytea PRIMARY KEY CHECK (octet_length(secret_hash) = 32)
);
CREATE INDEX session_account ON session (account_id);
CREATE INDEX session_end ON session (expires_at);

-- Wrong passwords for an account from one address. Another address is another row, so nobody can shut out the owner.
CREATE TABLE lockout (
    account_id   bigint NOT NULL REFERENCES account ON DELETE CASCADE,
    failed_at    timestamptz NOT NULL DEFAULT now(),
    locked_until timestamptz,
    failures     integer NOT NULL DEFAULT 1 CHECK (failures > 0),
    -- A network: /32, or the /64 that one customer has.
    address      inet NOT NULL,
    -- Keyed digest of the last wrong password: a client that tries it twice has been wrong once.
    last_attempt bytea NOT NULL,
    PRIMARY KEY (account_id, address)
)
WITH (fillfactor = 70);
CREATE INDEX lockout_failed ON lockout (failed_at);

-- A mail that lets its reader choose a new password.
CREATE TABLE recovery (
    account_id  bigint NOT NULL REFERENCES account ON DELETE CASCADE,
    -- The account's, when it was asked for: a password that was changed since ends it.
    generation  bigint NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    secret_hash bytea PRIMARY KEY CHECK (octet_length(secret_hash) = 32)
);
CREATE INDEX recovery_account ON recovery (account_id);
CREATE INDEX recovery_end ON recovery (expires_at);
