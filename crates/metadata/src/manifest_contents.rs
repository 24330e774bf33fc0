//! The bytes of manifests, each distinct one once, as they were pushed.
//!
//! The table's CHECK refuses bytes that do not hash to their digest, whoever writes them.

use crate::Error;
use crate::statements::statement;
use bytes::Bytes;
use portolan_oci::Digest;
use portolan_pg::{PointRead, Statement, Tx, point_statement};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

/// The bytes of a manifest that a fresh read has just shown present. They never change, so any replica will do.
#[derive(Debug, Clone, Copy)]
pub struct Payload;

/// Key of [`Payload`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PayloadKey {
    /// The manifest.
    pub digest: Digest,
    /// Its bytes, as the read that has shown it said: large ones travel alone.
    pub size: u64,
}

impl PointRead for Payload {
    type Key = PayloadKey;
    type Row = Bytes;

    const STATEMENT: Statement = point_statement!(
        "manifest_contents.payload",
        [BYTEA_ARRAY],
        "SELECT k.ord, c.payload
         FROM unnest($1) WITH ORDINALITY AS k(digest, ord)
         CROSS JOIN LATERAL (
             SELECT manifest_content.payload FROM manifest_content
             WHERE manifest_content.digest = k.digest
             LIMIT 1
         ) c",
    );

    /// Each digest is a party: it was found by a read that was somebody's, and whose part of the queue it was in.
    fn party(key: &PayloadKey) -> u64 {
        let mut head = [0; size_of::<u64>()];
        head.copy_from_slice(&key.digest.as_bytes()[..size_of::<u64>()]);
        u64::from_be_bytes(head)
    }

    fn answer_bytes(key: &PayloadKey) -> usize {
        usize::try_from(key.size).unwrap_or(usize::MAX)
    }

    fn columns(keys: &[&PayloadKey]) -> Vec<Box<dyn ToSql + Sync + Send>> {
        let digests: Vec<Vec<u8>> = keys
            .iter()
            .map(|key| key.digest.as_bytes().to_vec())
            .collect();
        vec![Box::new(digests)]
    }

    fn decode(row: &Row) -> Result<Bytes, tokio_postgres::Error> {
        row.try_get::<_, &[u8]>(1).map(Bytes::copy_from_slice)
    }
}

static INSERT: Statement = statement!(
    "manifest_contents.insert",
    [BYTEA, BYTEA],
    "INSERT INTO manifest_content (digest, payload) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING",
);

/// Stores a manifest's bytes, or leaves those that are there.
///
/// A content that is purged between this and the manifest's insert fails that one's foreign key: the
/// whole transaction again.
pub async fn insert(tx: &Tx, digest: &Digest, payload: &[u8]) -> Result<(), Error> {
    tx.execute(&INSERT, &[&digest.as_bytes(), &payload]).await?;
    Ok(())
}

pub(crate) static STATEMENTS: &[&Statement] = &[&Payload::STATEMENT, &INSERT];
