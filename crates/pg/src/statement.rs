//! What is asked, and what can be asked.

use std::future::Future;

use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use crate::error::Error;

/// One SQL statement, declared as a constant beside the function that runs it.
///
/// Its text never changes, so each connection prepares it once; its types are given, so that behind a pooler it runs
/// without being prepared at all.
#[derive(Debug, Clone, Copy)]
pub struct Statement {
    /// Names it on the metrics page and in errors: `tags.move_to`.
    pub name: &'static str,
    /// The whole text.
    pub sql: &'static str,
    /// The types of `$1`, `$2` …, in this order.
    pub types: &'static [Type],
}

/// Something that answers questions: a replica, the primary, or a transaction.
///
/// Functions that read take `&impl Read` and so run on each of them; functions that write take [`crate::Tx`].
pub trait Read: Sync {
    /// Runs a statement and returns its rows.
    ///
    /// Cancel safe: nothing is left behind on the connection, but the server finishes what was sent.
    fn query(
        &self,
        statement: &'static Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> impl Future<Output = Result<Vec<Row>, Error>> + Send;

    /// Runs a statement that yields at most one row. Cancel safe as [`Read::query`].
    ///
    /// # Errors
    ///
    /// [`Error::RowCount`] if it yields more.
    fn query_opt(
        &self,
        statement: &'static Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> impl Future<Output = Result<Option<Row>, Error>> + Send {
        async move {
            let mut rows = self.query(statement, params).await?;
            match rows.len() {
                0 | 1 => Ok(rows.pop()),
                actual => Err(Error::RowCount {
                    name: statement.name,
                    actual,
                }),
            }
        }
    }

    /// Runs a statement that yields exactly one row. Cancel safe as [`Read::query`].
    ///
    /// # Errors
    ///
    /// [`Error::RowCount`] if it yields none, or more.
    fn query_one(
        &self,
        statement: &'static Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> impl Future<Output = Result<Row, Error>> + Send {
        async move {
            self.query_opt(statement, params)
                .await?
                .ok_or(Error::RowCount {
                    name: statement.name,
                    actual: 0,
                })
        }
    }
}
