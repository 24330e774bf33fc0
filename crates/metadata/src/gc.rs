//! The review queue: what has to be looked at again before it may be collected.
//!
//! Blobs are enqueued by triggers, whoever makes them unreachable. A manifest's row is its age: a push, also
//! of one that exists, and the loss of a tag, a parent or a subject set it at least [`MANIFEST_AGE`] ahead,
//! as the last lock of their transaction. (On the manifest's row it would deadlock: removing a tag locks tag,
//! then manifest; pushing, manifest, then tag.)
//!
//! Collectors go the other way, the queue's row first, so they must never wait for anything: SKIP LOCKED for the queue's
//! row, for the blob's or manifest's, and for the expired links of a blob (whoever deletes a link holds it and waits for
//! the queue's row). A blob with a link that was skipped stays for another review.

use crate::statements::statement;
use crate::{Error, ManifestId, columns};
use portolan_pg::{Statement, Tx};
use std::time::Duration;

/// How long a manifest stays after anything was done to it. Long enough for a slow multi-platform build to push its
/// index, and for a person to notice a tag that is gone.
pub const MANIFEST_AGE: Duration = Duration::from_hours(24);

static TOUCH: Statement = statement!(
    "gc.touch_manifests",
    [INT8_ARRAY, FLOAT8],
    // DO UPDATE and not DO NOTHING: it waits for a collector that holds the row, and then renews.
    "INSERT INTO gc_queue (kind, id, review_after)
     SELECT DISTINCT 'manifest', k.id, now() + make_interval(secs => $2)
     FROM unnest($1) AS k(id)
     ORDER BY k.id
     ON CONFLICT (kind, id) DO UPDATE
         SET review_after = greatest(gc_queue.review_after, excluded.review_after)",
);

/// Renews the age of manifests: the last lock of a transaction.
pub async fn touch_manifests(tx: &Tx, manifests: &[ManifestId]) -> Result<(), Error> {
    if !manifests.is_empty() {
        tx.execute(&TOUCH, &[&manifests, &columns::seconds(MANIFEST_AGE)])
            .await?;
    }
    Ok(())
}

/// Renews the age of one manifest: the last lock of a transaction.
pub async fn touch_manifest(tx: &Tx, manifest: ManifestId) -> Result<(), Error> {
    touch_manifests(tx, &[manifest]).await
}

static FORGET: Statement = statement!(
    "gc.forget_manifest",
    [INT8],
    // Whoever holds the row renews it for nothing, and a collector finds its subject gone: never wait here,
    // where a lower id may be held already.
    "DELETE FROM gc_queue
     WHERE gc_queue.kind = 'manifest' AND gc_queue.id IN (
         SELECT held.id FROM gc_queue AS held
         WHERE held.kind = 'manifest' AND held.id = $1
         FOR UPDATE SKIP LOCKED
     )",
);

/// Drops the queue row of a manifest that is gone.
pub(crate) async fn forget_manifest(tx: &Tx, manifest: ManifestId) -> Result<(), Error> {
    tx.execute(&FORGET, &[&manifest]).await?;
    Ok(())
}

pub(crate) static STATEMENTS: &[&Statement] = &[&TOUCH, &FORGET];
