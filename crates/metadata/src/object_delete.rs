//! Objects on their way out of their stores.
//!
//! Nothing here asks a store. A key waits out its quarantine, is claimed in a committed transaction, deleted with no
//! transaction open, and forgotten when the store has reported it deleted. A claimed row is claimed again when its
//! worker did not report, and never given back: its object may be gone.

use crate::columns::{bytes_of_opt, count_opt, digest_opt, parsed, seconds, signed};
use crate::statements::statement;
use crate::{Error, StoreId};
use portolan_oci::{Digest, StorageKey};
use portolan_pg::{Read as _, Statement, Tx};
use std::time::Duration;
use tokio_postgres::Row;

/// How long an object stays after its last row is gone: longer than a presigned URL lives, a stale replica answers and
/// the longest download takes; and long enough to notice a mistake.
pub const QUARANTINE: Duration = Duration::from_hours(24);

/// After how long a claim whose worker did not report is made anew: many times the seconds that deleting a batch takes.
const CLAIM_LIFE: Duration = Duration::from_mins(15);

/// An object that no row needs any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doomed {
    /// Which store has it; an owned one.
    pub store: StoreId,
    /// Where in that store.
    pub key: StorageKey,
    /// Of a blob: what its bytes hash to.
    pub digest: Option<Digest>,
    /// Of a blob: how many bytes.
    pub size: Option<u64>,
    /// What else the key may hold.
    pub multipart: DoomedMultipart,
}

/// A multipart upload under a doomed key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DoomedMultipart {
    /// There was none.
    None,
    /// One was about to begin; if it did, its id was never noted: every one of the key is to be aborted.
    Begun,
    /// This one.
    Id(String),
}

/// Why an object is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It was a blob, and can be one again until its quarantine ends.
    Collected,
    /// An upload left it: swept, cancelled or superseded.
    Upload,
    /// Its digest was there already.
    Duplicate,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Collected => "collected",
            Self::Upload => "upload",
            Self::Duplicate => "duplicate",
        }
    }
}

static ENQUEUE: Statement = statement!(
    "object_delete.enqueue",
    [INT8_ARRAY, TEXT_ARRAY, BYTEA_ARRAY, INT8_ARRAY, BOOL_ARRAY, TEXT_ARRAY, TEXT, FLOAT8],
    "INSERT INTO object_delete (store_id, storage_key, digest, size, multipart, multipart_id, reason, not_before)
     SELECT k.store_id, k.storage_key, k.digest, k.size, k.multipart, k.multipart_id, $7,
         now() + make_interval(secs => $8)
     FROM unnest($1, $2, $3, $4, $5, $6) AS k(store_id, storage_key, digest, size, multipart, multipart_id)
     ORDER BY k.store_id, k.storage_key
     ON CONFLICT (store_id, storage_key) DO NOTHING",
);

/// Puts objects into quarantine, in the transaction that takes away their last row.
pub async fn enqueue(tx: &Tx, reason: Reason, objects: &[Doomed]) -> Result<(), Error> {
    if objects.is_empty() {
        return Ok(());
    }
    let stores: Vec<StoreId> = objects.iter().map(|object| object.store).collect();
    let keys: Vec<&str> = objects.iter().map(|object| object.key.as_str()).collect();
    let digests = bytes_of_opt(objects.iter().map(|object| object.digest.as_ref()));
    let sizes: Vec<Option<i64>> = objects
        .iter()
        .map(|object| object.size.map(signed))
        .collect();
    let begun: Vec<bool> = objects
        .iter()
        .map(|object| object.multipart != DoomedMultipart::None)
        .collect();
    let ids: Vec<Option<&str>> = objects
        .iter()
        .map(|object| match &object.multipart {
            DoomedMultipart::Id(id) => Some(id.as_str()),
            DoomedMultipart::None | DoomedMultipart::Begun => None,
        })
        .collect();
    let quarantine = seconds(QUARANTINE);
    let reason = reason.as_str();
    tx.execute(
        &ENQUEUE,
        &[
            &stores,
            &keys,
            &digests,
            &sizes,
            &begun,
            &ids,
            &reason,
            &quarantine,
        ],
    )
    .await?;
    Ok(())
}

/// What a worker may delete now.
#[derive(Debug, Clone, Default)]
pub struct Claimed {
    /// To be deleted, once this transaction is committed.
    pub objects: Vec<Doomed>,
    /// Keys that a blob's row names: never to be deleted. There are none, ever; whoever sees one counts it and cries.
    pub refused: Vec<(StoreId, StorageKey)>,
}

static CLAIM: Statement = statement!(
    "object_delete.claim",
    [INT8, FLOAT8],
    "WITH due AS (
         SELECT waiting.store_id, waiting.storage_key, (
             SELECT true FROM blob
             WHERE blob.store_id = waiting.store_id AND blob.storage_key = waiting.storage_key
         ) IS NOT NULL AS named
         FROM object_delete AS waiting
         WHERE waiting.not_before <= now()
             AND (waiting.claimed_at IS NULL OR waiting.claimed_at <= now() - make_interval(secs => $2))
         ORDER BY waiting.not_before
         LIMIT $1
         FOR UPDATE OF waiting SKIP LOCKED
     )
     UPDATE object_delete
     SET claimed_at = CASE WHEN due.named THEN object_delete.claimed_at ELSE now() END,
         -- A refused key steps back, so that it cannot stand in the way of the others.
         not_before = CASE WHEN due.named THEN now() + interval '1 day' ELSE object_delete.not_before END
     FROM due
     WHERE object_delete.store_id = due.store_id AND object_delete.storage_key = due.storage_key
     RETURNING object_delete.store_id, object_delete.storage_key, object_delete.digest, object_delete.size,
         object_delete.multipart, object_delete.multipart_id, due.named",
);

/// Claims at most `limit` objects whose quarantine is over, or whose former claim has run out. To be committed before
/// any of them is deleted.
pub async fn claim(tx: &Tx, limit: i64) -> Result<Claimed, Error> {
    let rows = tx.query(&CLAIM, &[&limit, &seconds(CLAIM_LIFE)]).await?;
    let decoding = Error::decoding("object_delete");
    let mut claimed = Claimed::default();
    for row in &rows {
        let object = decode(row).map_err(&decoding)?;
        if row.try_get(6).map_err(&decoding)? {
            claimed.refused.push((object.store, object.key));
        } else {
            claimed.objects.push(object);
        }
    }
    Ok(claimed)
}

fn decode(row: &Row) -> Result<Doomed, tokio_postgres::Error> {
    let multipart = match (row.try_get(4)?, row.try_get::<_, Option<String>>(5)?) {
        (false, _) => DoomedMultipart::None,
        (true, None) => DoomedMultipart::Begun,
        (true, Some(id)) => DoomedMultipart::Id(id),
    };
    Ok(Doomed {
        store: row.try_get(0)?,
        key: parsed(row, 1)?,
        digest: digest_opt(row, 2)?,
        size: count_opt(row, 3)?,
        multipart,
    })
}

// By key and then by place: what this table holds comes and goes, and the planner, who has last seen it empty, would join
// the whole of it with itself.
static DONE: Statement = statement!(
    "object_delete.done",
    [INT8_ARRAY, TEXT_ARRAY],
    "DELETE FROM object_delete
     WHERE object_delete.ctid = ANY (ARRAY(
         SELECT held.ctid
         FROM (
             SELECT k.store_id, k.storage_key FROM unnest($1, $2) AS k(store_id, storage_key)
             ORDER BY k.store_id, k.storage_key
         ) AS k
         CROSS JOIN LATERAL (
             SELECT object_delete.ctid
             FROM object_delete
             WHERE object_delete.store_id = k.store_id AND object_delete.storage_key = k.storage_key
                 AND object_delete.claimed_at IS NOT NULL
             LIMIT 1
             FOR UPDATE
         ) AS held
     ))",
);

/// Forgets objects that their stores have reported deleted; returns how many of them were claimed.
pub async fn done(tx: &Tx, deleted: &[(StoreId, StorageKey)]) -> Result<u64, Error> {
    let stores: Vec<StoreId> = deleted.iter().map(|(store, _)| *store).collect();
    let keys: Vec<&str> = deleted.iter().map(|(_, key)| key.as_str()).collect();
    Ok(tx.execute(&DONE, &[&stores, &keys]).await?)
}

pub(crate) static STATEMENTS: &[&Statement] = &[&ENQUEUE, &CLAIM, &DONE];
