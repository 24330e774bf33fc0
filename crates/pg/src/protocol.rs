//! The statements on the crate's own schema `portolan_pg`, and what its rows mean. Two more stand where they belong: a
//! new connection's in `identify`, and the proof that is put around each point read, in `point_read`.

use std::{sync::Arc, time::Duration};

use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use crate::{
    error::Error,
    freshness::{
        barrier::{Acknowledge, AfterCommit},
        clock::Moment,
        floor::{Epoch, Floor, Mark, ServerId},
        membership::{Fitness, Member, Service, Vote},
    },
    lane::guard::Standing,
    statement::Statement,
};

/// The columns that follow the mark in what a primary says of now.
macro_rules! now_columns {
    () => {
        "s.in_recovery, s.same_history, s.epoch, c.s_ms, c.s_r_ms, c.acknowledge = 'observe',
         ARRAY(SELECT r.server_id FROM portolan_pg.read_replica AS r WHERE r.state = 'serving'),
         ARRAY(SELECT r.server_id FROM portolan_pg.read_replica AS r WHERE r.state = 'draining')"
    };
}

/// How far the primary is, by the log. The flush position, not the insert position: it covers every acknowledged
/// commit and never runs ahead of what a standby can get. The CASE keeps the function from failing on a standby.
pub(crate) static NOW_BY_LOG: Statement = Statement {
    name: "protocol.now_by_log",
    sql: concat!(
        "SELECT CASE WHEN NOT s.in_recovery THEN (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint END, ",
        now_columns!(),
        " FROM portolan_pg.standing AS s CROSS JOIN portolan_pg.cluster_epoch AS c WHERE c.one"
    ),
    types: &[],
};

/// The same by the beacon of process `$1`, which it moves on.
pub(crate) static NOW_BY_BEACON: Statement = Statement {
    name: "protocol.now_by_beacon",
    sql: concat!(
        "WITH moved AS (
             INSERT INTO portolan_pg.beacon AS b (slot, n)
             VALUES ($1, 1)
             ON CONFLICT (slot) DO UPDATE SET n = b.n + 1
             RETURNING n
         )
         SELECT moved.n, ",
        now_columns!(),
        " FROM moved CROSS JOIN portolan_pg.standing AS s CROSS JOIN portolan_pg.cluster_epoch AS c WHERE c.one"
    ),
    types: &[Type::UUID],
};

/// How far a replica has replayed the log, and which process of it answers.
pub(crate) static PROOF_BY_LOG: Statement = Statement {
    name: "protocol.proof_by_log",
    sql: "SELECT (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint, pg_is_in_recovery(), pg_backend_pid()",
    types: &[],
};

/// How far a replica shows this process's beacon. A connection to a replica is direct, so the session knows its process.
pub(crate) static PROOF_BY_BEACON: Statement = Statement {
    name: "protocol.proof_by_beacon",
    sql: "SELECT
             (SELECT b.n FROM portolan_pg.beacon AS b WHERE b.slot = current_setting('portolan.process')::uuid),
             pg_is_in_recovery(), pg_backend_pid()",
    types: &[],
};

/// Removes the slot `$1`.
pub(crate) static FORGET_BEACON: Statement = Statement {
    name: "protocol.forget_beacon",
    sql: "DELETE FROM portolan_pg.beacon AS b WHERE b.slot = $1",
    types: &[Type::UUID],
};

/// What a server is, where no point read says so.
pub(crate) static STANDING: Statement = Statement {
    name: "protocol.standing",
    sql: "SELECT s.in_recovery, s.same_history, s.epoch FROM portolan_pg.standing AS s",
    types: &[],
};

/// What a primary said of now.
#[derive(Debug, Clone)]
pub(crate) struct Now {
    /// How far it is.
    pub(crate) mark: Mark,
    /// What it is.
    pub(crate) standing: Standing,
    /// How long writers wait at most.
    pub(crate) silence: Duration,
    /// How long a floor may be used.
    pub(crate) lease: Duration,
    /// What writers go by.
    pub(crate) acknowledge: Acknowledge,
    /// Servers that floors list.
    pub(crate) serving: Vec<ServerId>,
    /// Servers that writers wait for all the same.
    pub(crate) draining: Vec<ServerId>,
}

impl Now {
    /// Reads the row of [`NOW_BY_LOG`] or [`NOW_BY_BEACON`]; `None` from a server that is not the primary.
    pub(crate) fn decode(row: &Row) -> Result<Option<Self>, Error> {
        Self::try_decode(row).map_err(undecodable("protocol.now"))
    }

    fn try_decode(row: &Row) -> Result<Option<Self>, tokio_postgres::Error> {
        let standing = Standing::decode(row, 1)?;
        let Some(mark) = mark(row)? else {
            return Ok(None);
        };
        let ids = |column| -> Result<Vec<ServerId>, tokio_postgres::Error> {
            let texts: Vec<&str> = row.try_get(column)?;
            Ok(texts.into_iter().map(ServerId::new).collect())
        };
        let observe: bool = row.try_get(6)?;
        Ok(standing.is_primary().then_some(Self {
            mark,
            standing,
            silence: milliseconds(row.try_get(4)?),
            lease: milliseconds(row.try_get(5)?),
            acknowledge: if observe {
                Acknowledge::Observe
            } else {
                Acknowledge::Timer
            },
            serving: ids(7)?,
            draining: ids(8)?,
        }))
    }

    /// As the floor of a poll that was sent at `sent_at`.
    pub(crate) fn into_floor(self, sent_at: Moment) -> Floor {
        Floor {
            sent_at,
            mark: self.mark,
            epoch: self.standing.epoch,
            members: self.serving.into(),
            lease: self.lease,
        }
    }

    /// As what a writer goes by whose COMMIT had returned at `committed_at`.
    pub(crate) fn into_after_commit(self, committed_at: Moment) -> AfterCommit {
        let members = self.serving.into_iter().chain(self.draining);
        AfterCommit {
            committed_at,
            mark: self.mark,
            epoch: self.standing.epoch,
            members: members.collect::<Arc<[_]>>(),
            silence: self.silence,
            acknowledge: self.acknowledge,
        }
    }
}

/// What a replica said before a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replayed {
    /// How far it has come; `None` where it cannot say: it never was a standby, or has not seen our beacon.
    pub(crate) mark: Option<Mark>,
    /// Whether it is a standby.
    pub(crate) in_recovery: bool,
    /// The process that answered.
    pub(crate) backend: i32,
}

impl Replayed {
    /// Reads the row of [`PROOF_BY_LOG`] or [`PROOF_BY_BEACON`].
    pub(crate) fn decode(row: &Row) -> Result<Self, Error> {
        let decode = || {
            Ok(Self {
                mark: mark(row)?,
                in_recovery: row.try_get(1)?,
                backend: row.try_get(2)?,
            })
        };
        decode().map_err(undecodable("protocol.proof"))
    }
}

impl Standing {
    /// Reads the three columns from `first` on.
    pub(crate) fn decode(row: &Row, first: usize) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            in_recovery: row.try_get(first)?,
            same_history: row.try_get(first + 1)?,
            epoch: Epoch(row.try_get(first + 2)?),
        })
    }

    /// Whether it is the primary of the epoch.
    pub(crate) fn is_primary(&self) -> bool {
        !self.in_recovery && self.same_history
    }
}

fn mark(row: &Row) -> Result<Option<Mark>, tokio_postgres::Error> {
    let position: Option<i64> = row.try_get(0)?;
    Ok(position.map(|position| Mark(position.cast_unsigned())))
}

fn milliseconds(column: i32) -> Duration {
    // A CHECK keeps it positive.
    Duration::from_millis(column.unsigned_abs().into())
}

pub(crate) fn undecodable(name: &'static str) -> impl Fn(tokio_postgres::Error) -> Error {
    move |source| Error::decode(name, source)
}

// --- Membership -----------------------------------------------------------------------------------------------------

/// Puts servers that are found fit, and that nobody has put there before, into service.
pub(crate) static REGISTER: Statement = Statement {
    name: "protocol.register",
    sql: "INSERT INTO portolan_pg.read_replica (server_id, state)
          SELECT k.server_id, 'serving' FROM unnest($1) AS k(server_id)
          ON CONFLICT (server_id) DO NOTHING",
    types: &[Type::TEXT_ARRAY],
};

/// Writes what this process finds of servers: `$1` process, `$2` servers, `$3` what it finds.
pub(crate) static VOTE: Statement = Statement {
    name: "protocol.vote",
    sql: "INSERT INTO portolan_pg.process_replica AS p (process, server_id, standing)
          SELECT $1, k.server_id, k.standing FROM unnest($2, $3) AS k(server_id, standing)
          ON CONFLICT (server_id, process) DO UPDATE
          SET standing = excluded.standing,
              standing_since = CASE WHEN p.standing = excluded.standing THEN p.standing_since ELSE now() END,
              seen_at = now()",
    types: &[Type::UUID, Type::TEXT_ARRAY, Type::TEXT_ARRAY],
};

/// Forgets the votes of processes that have gone: ten minutes is far longer than any vote counts.
pub(crate) static FORGET_VOTES: Statement = Statement {
    name: "protocol.forget_votes",
    sql: "DELETE FROM portolan_pg.process_replica AS p WHERE p.seen_at < now() - interval '10 minutes'",
    types: &[],
};

/// Every server that is or was in service.
pub(crate) static MEMBERS: Statement = Statement {
    name: "protocol.members",
    sql: "SELECT r.server_id, r.state, r.token, extract(epoch FROM now() - r.changed_at)::float8,
              ARRAY(SELECT extract(epoch FROM now() - l.at)::float8 FROM unnest(r.left_at) AS l(at))
          FROM portolan_pg.read_replica AS r
          ORDER BY r.server_id",
    types: &[],
};

/// What every process last found.
pub(crate) static VOTES: Statement = Statement {
    name: "protocol.votes",
    sql: "SELECT p.server_id, p.process, p.standing, extract(epoch FROM now() - p.standing_since)::float8,
              extract(epoch FROM now() - p.seen_at)::float8
          FROM portolan_pg.process_replica AS p
          WHERE p.seen_at > now() - interval '1 minute'",
    types: &[],
};

/// One process moves members at a time, and no other one waits for it: one that is frozen meanwhile would hold up all.
/// Returns S as it is now, and until the end of the transaction, in milliseconds.
pub(crate) static LOCK_MEMBERS: Statement = Statement {
    name: "protocol.lock_members",
    sql: "SELECT c.s_ms FROM portolan_pg.cluster_epoch AS c WHERE c.one FOR UPDATE SKIP LOCKED",
    types: &[],
};

/// Begins a drain: `$1` server, `$2` token, `$3` whether it may be the last one that serves.
pub(crate) static DRAIN: Statement = Statement {
    name: "protocol.drain",
    sql: "UPDATE portolan_pg.read_replica AS r
          SET state = 'draining', token = $2, changed_at = now(), left_at = (ARRAY[now()] || r.left_at)[1:8]
          WHERE r.server_id = $1 AND r.state = 'serving'
              AND ($3 OR EXISTS (
                  SELECT FROM portolan_pg.read_replica AS o WHERE o.state = 'serving' AND o.server_id <> $1
              ))",
    types: &[Type::TEXT, Type::UUID, Type::BOOL],
};

/// Takes over an abandoned drain: `$1` server, `$2` the token it has, `$3` the new one.
pub(crate) static ADOPT: Statement = Statement {
    name: "protocol.adopt",
    sql: "UPDATE portolan_pg.read_replica AS r SET token = $3, changed_at = now()
          WHERE r.server_id = $1 AND r.state = 'draining' AND r.token = $2",
    types: &[Type::TEXT, Type::UUID, Type::UUID],
};

/// Ends a drain, by the holder of its token alone, who has waited for a silence since it was committed.
pub(crate) static OUT: Statement = Statement {
    name: "protocol.out",
    sql: "UPDATE portolan_pg.read_replica AS r SET state = 'out', token = NULL, changed_at = now()
          WHERE r.server_id = $1 AND r.state = 'draining' AND r.token = $2",
    types: &[Type::TEXT, Type::UUID],
};

/// Puts a server back into service.
pub(crate) static RETURN: Statement = Statement {
    name: "protocol.return",
    sql: "UPDATE portolan_pg.read_replica AS r SET state = 'serving', changed_at = now()
          WHERE r.server_id = $1 AND r.state = 'out'",
    types: &[Type::TEXT],
};

/// Reads the row of [`LOCK_MEMBERS`].
pub(crate) fn silence(row: &Row) -> Result<Duration, Error> {
    let milliseconds: i32 = row.try_get(0).map_err(undecodable(LOCK_MEMBERS.name))?;
    Ok(Duration::from_millis(milliseconds.unsigned_abs().into()))
}

/// Reads what [`MEMBERS`] returns.
pub(crate) fn members(rows: &[Row]) -> Result<Vec<Member>, Error> {
    rows.iter().map(member).collect()
}

fn member(row: &Row) -> Result<Member, Error> {
    let decode = || {
        let token: Option<Uuid> = row.try_get(2)?;
        let service = match (row.try_get::<_, &str>(1)?, token) {
            ("serving", _) => Service::Serving,
            ("draining", Some(token)) => Service::Draining { token },
            // A CHECK keeps a drain from having no token.
            _ => Service::Out,
        };
        let left: Vec<f64> = row.try_get(4)?;
        Ok(Member {
            server: ServerId::new(row.try_get(0)?),
            service,
            for_time: seconds(row.try_get(3)?),
            left: left.into_iter().map(seconds).collect(),
        })
    };
    decode().map_err(undecodable("protocol.members"))
}

/// Reads what [`VOTES`] returns; a word that this program does not know counts as no vote.
pub(crate) fn votes(rows: &[Row]) -> Result<Vec<Vote>, Error> {
    rows.iter()
        .filter_map(|row| vote(row).transpose())
        .collect()
}

fn vote(row: &Row) -> Result<Option<Vote>, Error> {
    let decode = || {
        let Some(fitness) = Fitness::parse(row.try_get(2)?) else {
            return Ok(None);
        };
        Ok(Some(Vote {
            server: ServerId::new(row.try_get(0)?),
            process: row.try_get(1)?,
            fitness,
            for_time: seconds(row.try_get(3)?),
            age: seconds(row.try_get(4)?),
        }))
    };
    decode().map_err(undecodable("protocol.votes"))
}

/// An age by the server's clock; negative where that was set back.
fn seconds(column: f64) -> Duration {
    Duration::try_from_secs_f64(column).unwrap_or(Duration::ZERO)
}

/// Every statement of the schema, for the test that prepares them all.
pub fn statements() -> impl Iterator<Item = &'static Statement> {
    [
        &NOW_BY_LOG,
        &NOW_BY_BEACON,
        &PROOF_BY_LOG,
        &PROOF_BY_BEACON,
        &FORGET_BEACON,
        &STANDING,
        &REGISTER,
        &VOTE,
        &FORGET_VOTES,
        &MEMBERS,
        &VOTES,
        &LOCK_MEMBERS,
        &DRAIN,
        &ADOPT,
        &OUT,
        &RETURN,
    ]
    .into_iter()
}
