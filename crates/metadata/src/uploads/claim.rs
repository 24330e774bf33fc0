//! The claim of an upload by one process.

use super::{UploadScope, find};
use crate::columns::{count, parsed, parsed_opt, seconds};
use crate::object_delete::{self, Doomed, DoomedMultipart, Reason};
use crate::statements::statement;
use crate::{Error, StoreId};
use portolan_oci::{Algorithm, StorageKey};
use portolan_pg::{Read as _, Statement, Tx};
use std::time::Duration;
use tokio_postgres::Row;

/// What became of a claim.
#[derive(Debug, Clone)]
pub enum Claim {
    /// There is no such upload.
    Unknown,
    /// Another request works on it.
    Busy {
        /// How many bytes it has so far.
        received: u64,
    },
    /// The caller holds it.
    Held(Box<Upload>),
}

/// An upload as its holder goes on with it.
#[derive(Debug, Clone)]
pub struct Upload {
    /// What the holder shows with every write.
    pub version: i64,
    /// What its bytes are hashed with.
    pub algorithm: Algorithm,
    /// Which store takes them.
    pub store: StoreId,
    /// How many bytes are kept.
    pub received: u64,
    /// The hash of them, to be gone on with.
    pub hash_state: Option<Vec<u8>>,
    /// Where the parts lie, once there are any.
    pub multipart: Option<Multipart>,
    /// The highest number of a part; 0: none.
    pub part_count: u32,
    /// The bytes after the last part.
    pub tail: Option<Tail>,
}

/// A multipart upload in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multipart {
    /// Under which key; noted before it is begun.
    pub key: StorageKey,
    /// Its id, once it is known.
    pub id: Option<String>,
}

/// An object with the bytes after the last part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// Under which key.
    pub key: StorageKey,
    /// How many bytes; at least one.
    pub size: u64,
}

pub(super) static CLAIM: Statement = statement!(
    "uploads.claim",
    [UUID, TEXT, INT8, TEXT, FLOAT8, FLOAT8],
    "WITH held AS (
         SELECT free.id, free.pending_key FROM upload AS free
         WHERE free.id = $1 AND free.repository_path = $2 AND free.account_id = $3
             AND free.expires_at > now() AND (free.lock_until IS NULL OR free.lock_until <= now())
         FOR UPDATE
     )
     UPDATE upload
     SET version = upload.version + 1,
         lock_until = now() + make_interval(secs => $5),
         expires_at = now() + make_interval(secs => $6),
         pending_key = $4
     FROM held
     WHERE upload.id = held.id
     RETURNING upload.version, upload.algorithm, upload.store_id, upload.received, upload.hash_state,
         upload.multipart_key, upload.multipart_id, upload.tail_key, upload.tail_len, held.pending_key",
);

pub(super) static PART_COUNT: Statement = statement!(
    "uploads.part_count",
    [UUID],
    "SELECT coalesce(max(upload_part.number), 0) FROM upload_part WHERE upload_part.upload_id = $1",
);

/// Claims an upload for `lease`, notes the key that this claim may write to, and gives it `time_to_live` anew.
///
/// A key that a dead claim left pending goes to the objects to delete, in this transaction: its bytes may
/// still arrive.
pub async fn claim(
    tx: &Tx,
    scope: &UploadScope,
    pending_key: &StorageKey,
    lease: Duration,
    time_to_live: Duration,
) -> Result<Claim, Error> {
    let UploadScope { id, path, account } = scope;
    let row = tx
        .query_opt(
            &CLAIM,
            &[
                &id.as_uuid(),
                &path.as_str(),
                account,
                &pending_key.as_str(),
                &seconds(lease),
                &seconds(time_to_live),
            ],
        )
        .await?;
    let Some(row) = row else {
        let received = find(tx, scope).await?;
        return Ok(received.map_or(Claim::Unknown, |received| Claim::Busy { received }));
    };
    let decoding = Error::decoding("upload");
    let mut upload = decode(&row).map_err(&decoding)?;
    if upload.multipart.is_some() {
        // A new statement: where the claim had to wait for a holder whose lease had run out, it got the row as that one
        // left it, but would see the parts as they were before. The next part would overwrite a stored one.
        let parts = tx.query_one(&PART_COUNT, &[&id.as_uuid()]).await?;
        let highest: i32 = parts.try_get(0).map_err(&decoding)?;
        upload.part_count = highest.unsigned_abs();
    }
    if let Some(key) = parsed_opt(&row, 9).map_err(decoding)? {
        let store = upload.store;
        let left = Doomed {
            store,
            key,
            digest: None,
            size: None,
            multipart: DoomedMultipart::None,
        };
        object_delete::enqueue(tx, Reason::Upload, &[left]).await?;
    }
    Ok(Claim::Held(Box::new(upload)))
}

fn decode(row: &Row) -> Result<Upload, tokio_postgres::Error> {
    let multipart_id = row.try_get(6)?;
    let tail_size = count(row, 8)?;
    Ok(Upload {
        version: row.try_get(0)?,
        algorithm: parsed(row, 1)?,
        store: row.try_get(2)?,
        received: count(row, 3)?,
        hash_state: row.try_get(4)?,
        multipart: parsed_opt(row, 5)?.map(|key| Multipart {
            key,
            id: multipart_id,
        }),
        part_count: 0,
        tail: parsed_opt(row, 7)?.map(|key| Tail {
            key,
            size: tail_size,
        }),
    })
}
