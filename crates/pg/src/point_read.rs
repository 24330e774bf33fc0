//! Point reads: keys, gathered into one statement.
//!
//! A point read is not a query of its own but a key. Keys of one kind that arrive together travel as arrays in ONE
//! statement, and each gets its row, or none. How they gather is the business of [`crate::lane`].

use std::{fmt::Debug, hash::Hash, mem::size_of};

use tokio_postgres::{Row, types::ToSql};

use crate::statement::Statement;

/// Bytes that the row of a point read is taken to have where nobody knows better: a few ids, a digest, a media type.
const ANSWER_BYTES: usize = 512;

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
/// [`crate::point_statement!`] puts around it what tells the server's standing, in the same snapshot.
///
/// The answer contains every decision that depends on who asks, so who asks is part of the key.
pub trait PointRead: Send + Sync + 'static {
    /// What is looked for. Equal keys share an answer.
    type Key: Clone + Eq + Hash + Send + Sync + Debug + 'static;
    /// What is found.
    type Row: Clone + Send + Sync + 'static;

    /// The statement, made by [`crate::point_statement!`]. Its column 0 is the key's place in the arrays, from 1, as
    /// `bigint`.
    const STATEMENT: Statement;

    /// Who asks, as far as fairness is concerned: no party may hold more than its part of the queue
    /// ([`crate::LanePolicy::party_divisor`]). Parties that happen to have one number share one part.
    fn party(key: &Self::Key) -> u64;

    /// Bytes that a key takes up while it waits.
    fn key_bytes(key: &Self::Key) -> usize {
        let _ = key;
        size_of::<Self::Key>()
    }

    /// Bytes that the answer is expected to have: one that is larger than a batch may be travels alone.
    fn answer_bytes(key: &Self::Key) -> usize {
        let _ = key;
        ANSWER_BYTES
    }

    /// Whether this answer of a replica says "there is none" of something whose appearance no writer waits to show: it
    /// is confirmed on the primary before anybody hears it.
    fn is_absent(row: Option<&Self::Row>) -> bool {
        row.is_none()
    }

    /// The keys as arrays, one for each parameter of the statement, all as long as `keys`.
    fn columns(keys: &[&Self::Key]) -> Vec<Box<dyn ToSql + Sync + Send>>;

    /// A row of the answer; the statement's own columns from 1 on.
    fn decode(row: &Row) -> Result<Self::Row, tokio_postgres::Error>;
}

/// Declares the statement of a [`PointRead`]: its name, the types of its parameters, its text.
///
/// Around the text it puts what the server says of itself in the same snapshot; that comes also where no key is found.
/// The column of the key's place is NULL then.
#[macro_export]
macro_rules! point_statement {
    ($name:literal, [$($type:ident),* $(,)?], $sql:expr $(,)?) => {
        $crate::Statement {
            name: $name,
            sql: ::core::concat!(
                "SELECT answer.*, standing.in_recovery, standing.same_history, standing.epoch \
                 FROM portolan_pg.standing AS standing LEFT JOIN (",
                $sql,
                ") AS answer ON true",
            ),
            types: &[$($crate::Type::$type),*],
        }
    };
}
