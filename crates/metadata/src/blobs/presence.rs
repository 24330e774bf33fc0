//! Is a blob in a repository, and for how long?

use crate::access::{
    Access, Principal, access_columns, access_from, account, decision, key_columns,
};
use crate::columns::{bytes_of, count, digest, limit, parsed};
use crate::statements::statement;
use crate::{BlobId, Error, RepositoryId, StoreId};
use bytes::Bytes;
use portolan_oci::{Digest, RepositoryName, StorageKey};
use portolan_pg::{PointRead, Read, Statement, Tx, point_statement};
use std::time::SystemTime;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

/// Blob `blob` is present in repository `$repository` for `$seconds` more than now: referenced, or linked for so long.
///
/// Scalar subqueries and not EXISTS: of those the planner may make one hash of every reference there is.
macro_rules! present {
    ($repository:literal, $seconds:literal) => {
        concat!(
            "coalesce(
                (
                    SELECT true FROM manifest_blob
                    WHERE manifest_blob.repository_id = ",
            $repository,
            " AND manifest_blob.blob_id = blob.id
                    LIMIT 1
                ),
                (
                    SELECT true FROM repository_blob
                    WHERE repository_blob.repository_id = ",
            $repository,
            " AND repository_blob.blob_id = blob.id
                        AND repository_blob.expires_at > now() + ",
            $seconds,
            " * interval '1 second'
                ),
                false
            )"
        )
    };
}

/// A blob by digest in a repository, with the right to it.
#[derive(Debug, Clone, Copy)]
pub struct ResolveBlob;

/// Key of [`ResolveBlob`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BlobKey {
    /// The repository.
    pub path: RepositoryName,
    /// The blob.
    pub digest: Digest,
    /// Who asks.
    pub principal: Principal,
    /// How much longer than now it must stay: 0 to read it, two hours where the answer lets a client skip its upload.
    pub for_seconds: i64,
}

/// A blob as a pull needs it.
#[derive(Debug, Clone)]
pub struct BlobRow {
    /// Its id.
    pub id: BlobId,
    /// Bytes.
    pub size: u64,
    /// Which store has it.
    pub store: StoreId,
    /// Where in that store.
    pub storage_key: StorageKey,
    /// Its bytes, where they are few enough to lie in the row.
    pub content: Option<Bytes>,
    /// When its bytes were committed first.
    pub created_at: SystemTime,
}

impl PointRead for ResolveBlob {
    type Key = BlobKey;
    type Row = (Access, Option<BlobRow>);

    const STATEMENT: Statement = point_statement!(
        "blobs.resolve",
        [TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY, BYTEA_ARRAY, INT8_ARRAY],
        concat!(
            "SELECT k.ord, ",
            access_columns!(),
            ", b.id, b.size, b.store_id, b.storage_key, b.content, b.created_at ",
            access_from!(
                "unnest($1, $2, $3, $4, $5, $6, $7)
                 WITH ORDINALITY AS k(path, namespace, account_id, generation, credential_id, digest, for_seconds, ord)",
                ""
            ),
            "LEFT JOIN LATERAL (
                SELECT blob.id, blob.size, blob.store_id, blob.storage_key, blob.content, blob.created_at
                FROM blob
                WHERE blob.digest = k.digest AND d.role >= 1 AND ",
            present!("r.id", "k.for_seconds"),
            "
                LIMIT 1
            ) b ON true",
        ),
    );

    fn party(key: &BlobKey) -> u64 {
        key.principal.party()
    }

    fn key_bytes(key: &BlobKey) -> usize {
        size_of::<BlobKey>() + key.path.as_str().len()
    }

    fn is_absent(row: Option<&Self::Row>) -> bool {
        row.is_none_or(|(access, found)| access.is_absent(found.as_ref()))
    }

    fn columns(keys: &[&BlobKey]) -> Vec<Box<dyn ToSql + Sync + Send>> {
        let mut columns = key_columns(keys.iter().map(|key| (&key.path, &key.principal)));
        let digests: Vec<Vec<u8>> = keys
            .iter()
            .map(|key| key.digest.as_bytes().to_vec())
            .collect();
        let seconds: Vec<i64> = keys.iter().map(|key| key.for_seconds).collect();
        columns.push(Box::new(digests));
        columns.push(Box::new(seconds));
        columns
    }

    fn decode(row: &Row) -> Result<Self::Row, tokio_postgres::Error> {
        let access = Access::decode(row, 1)?;
        let first = 1 + Access::COLUMNS;
        let Some(id) = row.try_get::<_, Option<BlobId>>(first)? else {
            return Ok((access, None));
        };
        let blob = BlobRow {
            id,
            size: count(row, first + 1)?,
            store: row.try_get(first + 2)?,
            storage_key: parsed(row, first + 3)?,
            content: row
                .try_get::<_, Option<&[u8]>>(first + 4)?
                .map(Bytes::copy_from_slice),
            created_at: row.try_get(first + 5)?,
        };
        Ok((access, Some(blob)))
    }
}

/// A blob that this transaction keeps from being collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresentBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its id.
    pub id: BlobId,
    /// Bytes.
    pub size: u64,
}

pub(super) static LOCK_PRESENT: Statement = statement!(
    "blobs.lock_present",
    [INT8, BYTEA_ARRAY, INT8],
    concat!(
        "SELECT blob.digest, blob.id, blob.size
         FROM blob
         WHERE blob.digest = ANY ($2) AND ",
        present!("$1", "$3"),
        "
         ORDER BY blob.digest
         FOR KEY SHARE OF blob",
    ),
);

/// Locks, in the order of digests, those of the blobs that are present in the repository for `for_seconds` more than
/// now. One that is not returned is not here.
pub async fn lock_present(
    tx: &Tx,
    repository: RepositoryId,
    digests: &[Digest],
    for_seconds: i64,
) -> Result<Vec<PresentBlob>, Error> {
    let rows = tx
        .query(
            &LOCK_PRESENT,
            &[&repository, &bytes_of(digests), &for_seconds],
        )
        .await?;
    let decode = |row: &Row| {
        Ok(PresentBlob {
            digest: digest(row, 0)?,
            id: row.try_get(1)?,
            size: count(row, 2)?,
        })
    };
    rows.iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("blob"))
}

pub(super) static LOCK_BY_ID: Statement = statement!(
    "blobs.lock_by_id",
    [INT8],
    "SELECT blob.id FROM blob WHERE blob.id = $1 FOR KEY SHARE",
);

/// Locks a blob that an earlier read found; false: it was collected meanwhile.
pub async fn lock_by_id(tx: &Tx, blob: BlobId) -> Result<bool, Error> {
    Ok(tx.query_opt(&LOCK_BY_ID, &[&blob]).await?.is_some())
}

pub(super) static FIND_READABLE: Statement = statement!(
    "blobs.find_readable",
    [INT8, INT8, BYTEA, INT8, INT8],
    concat!(
        // No row has the id 0. What is nowhere, and repositories that are not there, are looked up like the others, so
        // that the time taken does not tell how many there are: every step walks the same indexes.
        "WITH RECURSIVE wanted AS MATERIALIZED (
             SELECT coalesce((SELECT blob.id FROM blob WHERE blob.digest = $3), 0) AS id
         ), step (nth, referring, linking) AS (
             SELECT 0::bigint, 0::bigint, 0::bigint
             UNION ALL
             -- From one repository to the next, however many manifests of each reference the blob; after the last one
             -- from the first again.
             SELECT step.nth + 1, coalesce(
                 (
                     SELECT min(manifest_blob.repository_id) FROM manifest_blob
                     WHERE manifest_blob.blob_id = (SELECT wanted.id FROM wanted)
                         AND manifest_blob.repository_id > step.referring
                 ),
                 0
             ), coalesce(
                 (
                     SELECT min(repository_blob.repository_id) FROM repository_blob
                     WHERE repository_blob.blob_id = (SELECT wanted.id FROM wanted)
                         AND repository_blob.repository_id > step.linking
                         AND repository_blob.expires_at > now() + interval '2 hours'
                 ),
                 0
             )
             FROM step
             WHERE step.nth < $4
         ), holder AS (
             SELECT step.referring AS repository_id FROM step WHERE step.nth > 0
             UNION ALL
             SELECT step.linking FROM step WHERE step.nth > 0
         ), k (account_id, generation, credential_id) AS (
             VALUES ($1, $2, $5)
         )
         SELECT (SELECT wanted.id FROM wanted)
         FROM k",
        account!(),
        "
         CROSS JOIN holder
         LEFT JOIN LATERAL (
             SELECT repository.id, repository.visibility, repository.namespace_id, repository.mode,
                 repository.mirror_account_id
             FROM repository
             WHERE repository.id = holder.repository_id AND repository.state = 'active'
             LIMIT 1
         ) r ON true
         LEFT JOIN LATERAL (
             SELECT namespace.owner_account_id, namespace.mode FROM namespace
             WHERE namespace.id = coalesce(r.namespace_id, 0)
             LIMIT 1
         ) n ON true",
        decision!(),
        "
         -- One condition, of both: a part that is of the repository alone would spare the namespace's look-up.
         WHERE CASE WHEN d.role >= 1 THEN r.id IS NOT NULL END
         LIMIT 1",
    ),
);

/// Finds a blob in any repository that the principal may read, for a mount that names none.
///
/// Bounded: looks at the first `probe` repositories that reference it and as many that link it, so it may miss; and
/// does the same work whether it is nowhere or only where the principal may not look, in one repository or in many.
pub async fn find_readable(
    db: &impl Read,
    digest: &Digest,
    principal: &Principal,
    probe: usize,
) -> Result<Option<BlobId>, Error> {
    let (account, generation, credential) = principal.parameters();
    let row = db
        .query_opt(
            &FIND_READABLE,
            &[
                &account,
                &generation,
                &digest.as_bytes(),
                &limit(probe),
                &credential,
            ],
        )
        .await?;
    row.map(|row| row.try_get(0))
        .transpose()
        .map_err(Error::decoding("blob"))
}
