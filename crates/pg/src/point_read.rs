//! Point reads: keys, gathered into one statement.
//!
//! A point read is not a query of its own but a key. Keys of one kind that arrive together travel as arrays in ONE
//! statement, and each gets its row, or none. Today a batch holds the key of one caller; the statements, the keys and
//! everything above are already those of a full batch.

use std::{fmt::Debug, hash::Hash};

use tokio_postgres::{Row, types::ToSql};

use crate::{error::Error, lease::Lease, statement::Statement};

/// A kind of point read: what its key is, how many keys become one statement, and what a row means.
///
/// The statement is written like this, so that the planner walks the indexes once per key and never joins a whole
/// table (measured: 0.5 ms against 8 ms for 64 keys):
///
/// ```sql
/// SELECT k.ord, t.a, t.b
/// FROM unnest($1::text[], $2::bytea[]) WITH ORDINALITY AS k (path, digest, ord)
/// CROSS JOIN LATERAL (SELECT … WHERE … = k.path LIMIT 1) AS t
/// ```
///
/// The answer contains every decision that depends on who asks, so who asks is part of the key.
pub trait PointRead: Send + Sync + 'static {
    /// What is looked for. Equal keys share an answer.
    type Key: Clone + Eq + Hash + Send + Sync + Debug + 'static;
    /// What is found.
    type Row: Clone + Send + Sync + 'static;

    /// The statement. Its column 0 is the key's place in the arrays, from 1, as `bigint`.
    const STATEMENT: Statement;

    /// The keys as arrays, one for each parameter of the statement, all as long as `keys`.
    fn columns(keys: &[&Self::Key]) -> Vec<Box<dyn ToSql + Sync + Send>>;

    /// A row of the answer; the columns from 1 on.
    fn decode(row: &Row) -> Result<Self::Row, tokio_postgres::Error>;
}

/// Sends one batch and sorts the answers: `result[i]` belongs to `keys[i]`.
///
/// Cancel safe: a batch that was sent is finished by the server, and its answer thrown away.
pub(crate) async fn run<R: PointRead>(
    lease: &Lease,
    keys: &[&R::Key],
) -> Result<Vec<Option<R::Row>>, Error> {
    let statement = const { &R::STATEMENT };
    let name = statement.name;
    let columns = R::columns(keys);
    let params: Vec<&(dyn ToSql + Sync)> = columns
        .iter()
        .map(|column| &**column as &(dyn ToSql + Sync))
        .collect();
    let rows = lease.query(statement, &params).await?;
    let undecodable = |source| Error::Decode { name, source };
    let mut answers = vec![None; keys.len()];
    for row in &rows {
        let ordinal: i64 = row.try_get(0).map_err(undecodable)?;
        let answer = usize::try_from(ordinal - 1)
            .ok()
            .and_then(|index| answers.get_mut(index))
            .ok_or(Error::RowCount {
                name,
                actual: rows.len(),
            })?;
        *answer = Some(R::decode(row).map_err(undecodable)?);
    }
    Ok(answers)
}
