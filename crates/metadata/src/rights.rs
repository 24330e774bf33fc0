//! What the role that the registry logs in with may not do, and must.
//!
//! Migrations may be run by another role, the owner; then the one that serves has what it was granted.

use crate::Error;
use crate::statements::statement;
use portolan_pg::{Read, Statement};

/// A right that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingRight {
    /// `SELECT`, `INSERT`, `UPDATE`, `DELETE`, `USAGE` or `EXECUTE`.
    pub right: String,
    /// On which table, sequence or function, with its schema.
    pub on: String,
}

static MISSING: Statement = statement!(
    "rights.missing",
    [],
    "
SELECT p.name, format('%I.%I', s.nspname, r.relname)
FROM pg_catalog.pg_class AS r
JOIN pg_catalog.pg_namespace AS s ON s.oid = r.relnamespace
CROSS JOIN LATERAL unnest(
    CASE
        WHEN r.relkind = 'S' THEN ARRAY['USAGE']
        WHEN r.relkind = 'v' OR r.relname = '_sqlx_migrations' THEN ARRAY['SELECT']
        ELSE ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']
    END
) AS p(name)
WHERE s.nspname IN (current_schema(), 'portolan_pg')
    AND r.relkind IN ('r', 'p', 'v', 'S')
    -- A partition is written and read through its table, with that one's rights.
    AND NOT r.relispartition
    AND NOT CASE
        WHEN r.relkind = 'S' THEN has_sequence_privilege(r.oid, p.name)
        ELSE has_table_privilege(r.oid, p.name)
    END
UNION ALL
SELECT 'EXECUTE', format('%I.%I(%s)', s.nspname, f.proname, pg_get_function_identity_arguments(f.oid))
FROM pg_catalog.pg_proc AS f
JOIN pg_catalog.pg_namespace AS s ON s.oid = f.pronamespace
WHERE f.proname IN ('audit_partition_make', 'audit_partition_drop') AND s.nspname = current_schema()
    AND NOT has_function_privilege(f.oid, 'EXECUTE')
ORDER BY 2, 1",
);

/// The rights that the session's role lacks on the registry's tables and sequences, and on the functions that it calls.
pub async fn missing(db: &impl Read) -> Result<Vec<MissingRight>, Error> {
    let decoding = Error::decoding("pg_class");
    let rows = db.query(&MISSING, &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(MissingRight {
                right: row.try_get(0).map_err(&decoding)?,
                on: row.try_get(1).map_err(&decoding)?,
            })
        })
        .collect()
}

pub(crate) static STATEMENTS: &[&Statement] = &[&MISSING];
