//! Switches that every process obeys.

use crate::Error;
use crate::statements::statement;
use portolan_pg::{Read, Statement, Tx};

static READ_ONLY: Statement = statement!(
    "settings.read_only",
    [],
    "SELECT setting.value = 'true'::jsonb FROM setting WHERE setting.name = 'read_only'",
);

/// Whether the registry takes no writes. Writers do not ask this: [`crate::repositories::lock`] does.
pub async fn read_only(db: &impl Read) -> Result<bool, Error> {
    let row = db.query_opt(&READ_ONLY, &[]).await?;
    let flag = row
        .map(|row| row.try_get(0))
        .transpose()
        .map_err(Error::decoding("setting"))?;
    Ok(flag.unwrap_or(false))
}

static SET_READ_ONLY: Statement = statement!(
    "settings.set_read_only",
    [BOOL],
    "INSERT INTO setting (name, value) VALUES ('read_only', to_jsonb($1))
     ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed_at = now()",
);

/// Stops, or lets through, every write transaction that begins after this one is committed.
pub async fn set_read_only(tx: &Tx, read_only: bool) -> Result<(), Error> {
    Ok(tx.execute_one(&SET_READ_ONLY, &[&read_only]).await?)
}

pub(crate) static STATEMENTS: &[&Statement] = &[&READ_ONLY, &SET_READ_ONLY];
