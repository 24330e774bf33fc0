//! How blobs come, and how repositories hold on to them and let go.

use crate::columns::{seconds, signed};
use crate::repositories::ATTEMPTS;
use crate::statements::statement;
use crate::{BlobId, Error, RepositoryId, StoreId};
use bytes::Bytes;
use portolan_oci::{Digest, StorageKey};
use portolan_pg::{Read as _, Statement, Tx};
use std::time::Duration;

/// The most bytes of a blob that also lie in its row; the table's CHECK has the same number.
pub const INLINE_MAX: usize = 2_048;

/// A blob whose bytes are in their store.
#[derive(Debug, Clone)]
pub struct NewBlob {
    /// What they hash to: verified.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
    /// Which store has them.
    pub store: StoreId,
    /// Where in that store.
    pub key: StorageKey,
    /// The bytes themselves, if they are at most [`INLINE_MAX`].
    pub content: Option<Bytes>,
}

/// What a commit made or found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The blob of that digest; locked.
    pub id: BlobId,
    /// Whether it is the one committed. If not, its object is a duplicate, to be enqueued for deletion in the same
    /// transaction.
    pub won: bool,
}

pub(super) static INSERT: Statement = statement!(
    "blobs.insert",
    [BYTEA, INT8, INT8, TEXT, BYTEA],
    "INSERT INTO blob (digest, size, store_id, storage_key, content) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (digest) DO NOTHING
     RETURNING id",
);

pub(super) static LOCK: Statement = statement!(
    "blobs.lock",
    [BYTEA],
    "SELECT blob.id FROM blob WHERE blob.digest = $1 FOR KEY SHARE",
);

/// Makes the blob, or locks the one of the same digest that is there.
///
/// Two statements, never one: an insert that had to wait for another's sees nothing of its row. And a loop: the one in
/// the way may be collected before it is locked.
pub async fn commit(tx: &Tx, new: &NewBlob) -> Result<Committed, Error> {
    let decoding = Error::decoding("blob");
    let digest = new.digest.as_bytes();
    let content = new
        .content
        .as_deref()
        .filter(|content| content.len() <= INLINE_MAX);
    for _ in 0..ATTEMPTS {
        let (size, key) = (signed(new.size), new.key.as_str());
        let made = tx
            .query_opt(&INSERT, &[&digest, &size, &new.store, &key, &content])
            .await?;
        if let Some(row) = made {
            return Ok(Committed {
                id: row.try_get(0).map_err(decoding)?,
                won: true,
            });
        }
        if let Some(row) = tx.query_opt(&LOCK, &[&digest]).await? {
            return Ok(Committed {
                id: row.try_get(0).map_err(decoding)?,
                won: false,
            });
        }
    }
    Err(Error::Contended { table: "blob" })
}

pub(super) static LINK: Statement = statement!(
    "blobs.link",
    [INT8, INT8, FLOAT8],
    // The manifests first: whoever removes one has locked it before its missing blobs, and touches links last. The
    // count makes it so: a WITH that nobody reads runs after the main INSERT.
    "WITH waiting AS (
         SELECT manifest.id FROM manifest
         WHERE manifest.id IN (
             SELECT missing.manifest_id
             FROM manifest_missing_blob AS missing
             JOIN blob ON blob.digest = missing.digest
             WHERE missing.repository_id = $1 AND blob.id = $2
         )
         ORDER BY manifest.digest
         FOR KEY SHARE
     ), waited AS (
         DELETE FROM manifest_missing_blob USING blob, waiting
         WHERE blob.id = $2
             AND manifest_missing_blob.manifest_id = waiting.id AND manifest_missing_blob.digest = blob.digest
         RETURNING manifest_missing_blob.manifest_id
     ), referenced AS (
         INSERT INTO manifest_blob (repository_id, blob_id, manifest_id)
         SELECT $1, $2, waited.manifest_id FROM waited ORDER BY waited.manifest_id
         ON CONFLICT DO NOTHING
         RETURNING manifest_id
     )
     INSERT INTO repository_blob (repository_id, blob_id, expires_at)
     SELECT $1, $2, now() + make_interval(secs => $3)
     WHERE (SELECT count(*) FROM referenced) >= 0
     ON CONFLICT (repository_id, blob_id) DO UPDATE
         SET expires_at = greatest(repository_blob.expires_at, excluded.expires_at)",
);

/// Keeps a blob, which this transaction has locked, in a repository for at least `life`, and gives it to the
/// manifests there that were pushed without it.
pub async fn link(
    tx: &Tx,
    repository: RepositoryId,
    blob: BlobId,
    life: Duration,
) -> Result<(), Error> {
    Ok(tx
        .execute_one(&LINK, &[&repository, &blob, &seconds(life)])
        .await?)
}

/// What became of the wish to take a blob out of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlinked {
    /// It is out.
    Done,
    /// It was not in.
    Absent,
    /// A manifest of the repository needs it.
    Referenced,
}

pub(super) static FIND_LINKED: Statement = statement!(
    "blobs.find_linked",
    [INT8, BYTEA],
    "SELECT blob.id, (
         SELECT true FROM manifest_blob
         WHERE manifest_blob.repository_id = $1 AND manifest_blob.blob_id = blob.id
         LIMIT 1
     ) IS NOT NULL OR (
         SELECT true FROM manifest_missing_blob
         WHERE manifest_missing_blob.repository_id = $1 AND manifest_missing_blob.digest = blob.digest
         LIMIT 1
     ) IS NOT NULL
     FROM blob
     WHERE blob.digest = $2",
);

pub(super) static UNLINK: Statement = statement!(
    "blobs.unlink",
    [INT8, INT8],
    "WITH gone AS (
         DELETE FROM repository_blob
         WHERE repository_blob.repository_id = $1 AND repository_blob.blob_id = $2
         RETURNING repository_blob.expires_at
     )
     SELECT gone.expires_at > now() FROM gone",
);

/// Takes a blob out of one repository; it stays in others.
///
/// A manifest pushed at the same time may still reference it: both are answered truly, and the reference keeps it.
pub async fn unlink(tx: &Tx, repository: RepositoryId, digest: &Digest) -> Result<Unlinked, Error> {
    let decoding = Error::decoding("repository_blob");
    let Some(row) = tx
        .query_opt(&FIND_LINKED, &[&repository, &digest.as_bytes()])
        .await?
    else {
        return Ok(Unlinked::Absent);
    };
    let blob: BlobId = row.try_get(0).map_err(&decoding)?;
    if row.try_get(1).map_err(&decoding)? {
        return Ok(Unlinked::Referenced);
    }
    match tx.query_opt(&UNLINK, &[&repository, &blob]).await? {
        Some(row) if row.try_get(0).map_err(decoding)? => Ok(Unlinked::Done),
        Some(_) | None => Ok(Unlinked::Absent),
    }
}
