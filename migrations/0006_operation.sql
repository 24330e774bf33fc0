-- What the processes share beside content: work, keys and switches.

CREATE TABLE job (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Raised by every claim. Whoever shows an older one has lost the job.
    lease      bigint NOT NULL DEFAULT 0,
    -- When somebody may claim it next; a claim moves it to the end of its lease.
    due_at     timestamptz NOT NULL,
    claimed_at timestamptz,
    -- Asked for again while it ran: due then, once it is done.
    again_at   timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    attempts   integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    paused     boolean NOT NULL DEFAULT false,
    kind       text COLLATE "C" NOT NULL CHECK (kind <> ''),
    -- Two jobs of one kind and key are one job.
    key        text COLLATE "C" NOT NULL,
    payload    json NOT NULL,
    last_error text,

    CONSTRAINT job_kind_key_key UNIQUE (kind, key),
    CONSTRAINT job_again_only_while_claimed CHECK (again_at IS NULL OR claimed_at IS NOT NULL)
)
WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX job_due ON job (due_at) WHERE NOT paused;

-- Sealed with SECRETS__KEY: a copy of this table signs nothing.
CREATE TABLE signing_key (
    created_at     timestamptz NOT NULL DEFAULT now(),
    -- A retired key verifies until then, so that tokens it signed live their time.
    verifies_until timestamptz,
    -- next: every process learns it before it signs.
    state          text COLLATE "C" NOT NULL CHECK (state IN ('next', 'signing', 'retired')),
    algorithm      text COLLATE "C" NOT NULL CHECK (algorithm = 'ES256'),
    kid            text COLLATE "C" PRIMARY KEY,
    sealed         bytea NOT NULL,

    CONSTRAINT signing_key_retired_ends CHECK ((state = 'retired') = (verifies_until IS NOT NULL))
);
-- One key signs. Processes that start together and all bring a first one agree through this.
CREATE UNIQUE INDEX signing_key_one_each ON signing_key (state) WHERE state <> 'retired';

CREATE TABLE setting (
    name       text COLLATE "C" PRIMARY KEY,
    value      jsonb NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);
