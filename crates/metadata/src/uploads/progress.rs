//! What the holder of a claim writes down as the bytes arrive.

use super::{Held, Tail};
use crate::columns::{count, seconds, signed};
use crate::object_delete::{self, Doomed, DoomedMultipart, Reason};
use crate::statements::statement;
use crate::{Error, StoreId};
use portolan_oci::StorageKey;
use portolan_pg::{Read, Statement, Tx};
use std::time::Duration;

/// A part that the store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPart {
    /// Its number, from 1 to 10,000.
    pub number: u32,
    /// What the store calls its content; needed to complete.
    pub tag: String,
    /// Bytes.
    pub size: u64,
}

/// Where an upload stands. Every field but the lists overwrites what the row says.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// How many bytes are kept.
    pub received: u64,
    /// The hash of them.
    pub hash_state: Option<Vec<u8>>,
    /// The multipart upload's id, once it is known.
    pub multipart_id: Option<String>,
    /// The bytes after the last part.
    pub tail: Option<Tail>,
    /// What the claim writes to next.
    pub pending_key: Option<StorageKey>,
    /// New parts.
    pub parts: Vec<StoredPart>,
    /// Keys that are needed no more.
    pub discard: Vec<StorageKey>,
    /// How long the claim lasts from now; `None` gives it up.
    pub lease: Option<Duration>,
    /// How long the upload lives without a further claim: one request may take longer than that.
    pub time_to_live: Duration,
}

pub(super) static RENEW: Statement = statement!(
    "uploads.renew",
    [UUID, INT8, FLOAT8],
    "UPDATE upload SET lock_until = now() + make_interval(secs => $3)
     WHERE upload.id = $1 AND upload.version = $2",
);

/// Makes the claim last `lease` from now; false: it is lost.
pub async fn renew(tx: &Tx, held: &Held, lease: Duration) -> Result<bool, Error> {
    let changed = tx
        .execute(
            &RENEW,
            &[&held.id.as_uuid(), &held.version, &seconds(lease)],
        )
        .await?;
    Ok(changed == 1)
}

pub(super) static BEGIN_MULTIPART: Statement = statement!(
    "uploads.begin_multipart",
    [UUID, INT8, TEXT],
    "UPDATE upload SET multipart_key = $3, multipart_id = NULL
     WHERE upload.id = $1 AND upload.version = $2",
);

/// Notes the key of a multipart upload that is about to begin; false: the claim is lost.
pub async fn begin_multipart(tx: &Tx, held: &Held, key: &StorageKey) -> Result<bool, Error> {
    let changed = tx
        .execute(
            &BEGIN_MULTIPART,
            &[&held.id.as_uuid(), &held.version, &key.as_str()],
        )
        .await?;
    Ok(changed == 1)
}

pub(super) static PROGRESS: Statement = statement!(
    "uploads.progress",
    [UUID, INT8, INT8, BYTEA, TEXT, TEXT, INT8, TEXT, FLOAT8, FLOAT8],
    "UPDATE upload
     SET received = $3, hash_state = $4, multipart_id = $5, tail_key = $6, tail_len = $7, pending_key = $8,
         lock_until = now() + make_interval(secs => $9),
         -- The claim has just set it: left alone but in a request of hours, it keeps the update off the index.
         expires_at = CASE
             WHEN upload.expires_at < now() + make_interval(secs => $10) / 2
             THEN now() + make_interval(secs => $10)
             ELSE upload.expires_at
         END
     WHERE upload.id = $1 AND upload.version = $2
     RETURNING upload.store_id",
);

pub(super) static INSERT_PARTS: Statement = statement!(
    "uploads.insert_parts",
    [UUID, INT4_ARRAY, TEXT_ARRAY, INT8_ARRAY],
    "INSERT INTO upload_part (upload_id, number, etag, size)
     SELECT $1, k.number, k.etag, k.size FROM unnest($2, $3, $4) AS k(number, etag, size)
     ORDER BY k.number",
);

/// Writes down where the upload stands; false: the claim is lost and nothing was written.
pub async fn progress(tx: &Tx, held: &Held, progress: &Progress) -> Result<bool, Error> {
    let id = held.id.as_uuid();
    let tail_key = progress.tail.as_ref().map(|tail| tail.key.as_str());
    let tail_len = signed(progress.tail.as_ref().map_or(0, |tail| tail.size));
    let pending_key = progress.pending_key.as_ref().map(StorageKey::as_str);
    let row = tx
        .query_opt(
            &PROGRESS,
            &[
                &id,
                &held.version,
                &signed(progress.received),
                &progress.hash_state,
                &progress.multipart_id,
                &tail_key,
                &tail_len,
                &pending_key,
                &progress.lease.map(seconds),
                &seconds(progress.time_to_live),
            ],
        )
        .await?;
    let Some(row) = row else {
        return Ok(false);
    };
    let store: StoreId = row.try_get(0).map_err(Error::decoding("upload"))?;
    if !progress.parts.is_empty() {
        let numbers: Vec<i32> = progress
            .parts
            .iter()
            .map(|part| number(part.number))
            .collect();
        let tags: Vec<&str> = progress
            .parts
            .iter()
            .map(|part| part.tag.as_str())
            .collect();
        let sizes: Vec<i64> = progress
            .parts
            .iter()
            .map(|part| signed(part.size))
            .collect();
        tx.execute(&INSERT_PARTS, &[&id, &numbers, &tags, &sizes])
            .await?;
    }
    let doomed = |key: &StorageKey| Doomed {
        store,
        key: key.clone(),
        digest: None,
        size: None,
        multipart: DoomedMultipart::None,
    };
    let discarded: Vec<Doomed> = progress.discard.iter().map(doomed).collect();
    object_delete::enqueue(tx, Reason::Upload, &discarded).await?;
    Ok(true)
}

/// A part's number as the database counts; one beyond its range fails the table's CHECK, as it must.
fn number(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

pub(super) static PARTS: Statement = statement!(
    "uploads.parts",
    [UUID, INT8],
    "SELECT upload_part.number, upload_part.etag, upload_part.size
     FROM upload JOIN upload_part ON upload_part.upload_id = upload.id
     WHERE upload.id = $1 AND upload.version = $2
     ORDER BY upload_part.number",
);

/// The parts of an upload, in order; none where the claim is lost.
pub async fn parts(db: &impl Read, held: &Held) -> Result<Vec<StoredPart>, Error> {
    let rows = db
        .query(&PARTS, &[&held.id.as_uuid(), &held.version])
        .await?;
    let decode = |row: &tokio_postgres::Row| {
        let number: i32 = row.try_get(0)?;
        Ok(StoredPart {
            number: number.unsigned_abs(),
            tag: row.try_get(1)?,
            size: count(row, 2)?,
        })
    };
    rows.iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("upload_part"))
}
