//! What the server knows of the sessions that the registry's processes have.

use crate::Error;
use crate::statements::statement;
use portolan_pg::{Read, Statement};
use std::time::Duration;
use tokio_postgres::Row;

/// A transaction that is open at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTransaction {
    /// The process of the server that has it.
    pub backend: i32,
    /// Its virtual id: no other transaction of the server ever has the same until that is restarted.
    pub id: String,
    /// What the session calls itself.
    pub application: String,
    /// How long it has been open; `None` where the role may not know.
    pub age: Option<Duration>,
}

impl OpenTransaction {
    /// Whether both are one transaction.
    pub fn is(&self, other: &Self) -> bool {
        self.backend == other.backend && self.id == other.id
    }
}

// A transaction has a lock on its virtual id from its first moment to its last, and a transaction id only from its
// first change on: one that has asked whether it may write, and not yet written, is in no snapshot.
//
// By the name that all our sessions have, or by the role: a pooler may keep the name to itself. Of another role's session
// one sees the name and not the type.
static OPEN_TRANSACTIONS: Statement = statement!(
    "sessions.open_transactions",
    [],
    "SELECT other.pid, held.virtualxid, other.application_name,
         extract(epoch FROM clock_timestamp() - other.xact_start)::double precision
     FROM pg_stat_activity AS own
     JOIN pg_stat_activity AS other
         ON other.datid = own.datid AND other.pid <> own.pid AND coalesce(other.backend_type, 'client backend') = 'client backend'
         AND (other.usesysid = own.usesysid OR other.application_name LIKE 'portolan%')
     JOIN pg_locks AS held
         ON held.pid = other.pid AND held.locktype = 'virtualxid' AND held.mode = 'ExclusiveLock' AND held.granted
     WHERE own.pid = pg_backend_pid()
     ORDER BY other.xact_start",
);

/// Every transaction of the registry's sessions that is open, but for the one that asks; the oldest first.
pub async fn open_transactions(db: &impl Read) -> Result<Vec<OpenTransaction>, Error> {
    let rows = db.query(&OPEN_TRANSACTIONS, &[]).await?;
    let decode = |row: &Row| {
        Ok(OpenTransaction {
            backend: row.try_get(0)?,
            id: row.try_get(1)?,
            application: row.try_get(2)?,
            age: row
                .try_get::<_, Option<f64>>(3)?
                .map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default()),
        })
    };
    rows.iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("pg_stat_activity"))
}

pub(crate) static STATEMENTS: &[&Statement] = &[&OPEN_TRANSACTIONS];
