//! Read-only mode: one switch in the database that every write obeys.
//!
//! There is nothing to be told to processes: each transaction that changes something asks the switch itself, on the
//! primary and in its own snapshot. So one that begins after the switch was committed is refused, and whoever turned it
//! waits for those that were open at that moment ([`crate::sessions`]). After that nothing changes any more.

use crate::Error;
use crate::statements::statement;
use portolan_pg::{Read, Statement, Tx};
use std::time::SystemTime;

/// What is said of the mode while it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOnly {
    /// What the operator tells those whose writes are refused.
    pub message: Option<String>,
    /// Since when.
    pub since: SystemTime,
}

/// NULL while writes are taken; else the operator's message, empty where there is none.
macro_rules! refusal {
    () => {
        "(SELECT coalesce(setting.value ->> 'message', '') FROM setting
          WHERE setting.name = 'read_only' AND setting.value -> 'on' = 'true'::jsonb)"
    };
}
pub(crate) use refusal;

static REFUSAL: Statement = statement!("read_only.refusal", [], concat!("SELECT ", refusal!()));

/// To be run by every write transaction that does not begin with [`crate::repositories::lock`], which asks the same.
///
/// Anywhere in the transaction does, since what was written before is rolled back; first costs least.
///
/// # Errors
/// [`Error::ReadOnly`] while the mode is on.
pub async fn refuse_writes(tx: &Tx) -> Result<(), Error> {
    let row = tx.query_one(&REFUSAL, &[]).await?;
    refused(row.try_get(0).map_err(Error::decoding("setting"))?)
}

/// What follows from the column [`refusal!`].
pub(crate) fn refused(column: Option<String>) -> Result<(), Error> {
    match column {
        None => Ok(()),
        Some(message) => Err(Error::ReadOnly {
            message: Some(message).filter(|message| !message.is_empty()),
        }),
    }
}

static CURRENT: Statement = statement!(
    "read_only.current",
    [],
    "SELECT setting.value ->> 'message', (setting.value ->> 'since')::timestamptz
     FROM setting
     WHERE setting.name = 'read_only' AND setting.value -> 'on' = 'true'::jsonb",
);

/// The mode, if it is on.
pub async fn current(db: &impl Read) -> Result<Option<ReadOnly>, Error> {
    let row = db.query_opt(&CURRENT, &[]).await?;
    let decode = |row: tokio_postgres::Row| {
        Ok(ReadOnly {
            message: row.try_get(0)?,
            since: row.try_get(1)?,
        })
    };
    row.map(decode)
        .transpose()
        .map_err(Error::decoding("setting"))
}

static SWITCH: Statement = statement!(
    "read_only.switch",
    [BOOL, TEXT],
    "INSERT INTO setting (name, value)
     VALUES ('read_only', jsonb_build_object('on', $1, 'message', $2, 'since', now()))
     ON CONFLICT (name) DO UPDATE SET
         value = excluded.value || CASE
             -- Switched on again with another message: it is the same time of quiet.
             WHEN $1 AND setting.value -> 'on' = 'true'::jsonb
             THEN jsonb_build_object('since', setting.value -> 'since')
             ELSE '{}'
         END,
         changed_at = now()",
);

/// Refuses every write transaction that begins after this one is committed. Those that are open may still end well.
pub async fn switch_on(tx: &Tx, message: Option<&str>) -> Result<(), Error> {
    Ok(tx.execute_one(&SWITCH, &[&true, &message]).await?)
}

/// Takes writes again.
pub async fn switch_off(tx: &Tx) -> Result<(), Error> {
    Ok(tx.execute_one(&SWITCH, &[&false, &None::<&str>]).await?)
}

pub(crate) static STATEMENTS: &[&Statement] = &[&REFUSAL, &CURRENT, &SWITCH];
