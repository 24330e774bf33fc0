//! How an upload ends: committed, cancelled or swept. Its row goes in the transaction that decides what becomes of
//! every key the row named.

use super::{Held, UploadScope};
use crate::Error;
use crate::columns::count;
use crate::statements::statement;
use portolan_pg::{Read as _, Statement, Tx};

pub(super) static TAKE: Statement = statement!(
    "uploads.take_for_commit",
    [UUID, INT8],
    "DELETE FROM upload WHERE upload.id = $1 AND upload.version = $2",
);

/// The first statement of a commit: takes the upload's row; false: the claim is lost, and nothing may happen.
///
/// The caller enqueues the keys that do not become the blob's.
pub async fn take_for_commit(tx: &Tx, held: &Held) -> Result<bool, Error> {
    Ok(tx
        .execute(&TAKE, &[&held.id.as_uuid(), &held.version])
        .await?
        == 1)
}

/// Every key of the uploads `gone` becomes an object to delete; returns how many uploads they were. The CTEs
/// before it, if any, end with a comma.
macro_rules! dispose {
    ($before:literal, $gone:literal) => {
        concat!(
            "WITH ",
            $before,
            "gone AS (",
            $gone,
            "
                 RETURNING upload.store_id, upload.multipart_key, upload.multipart_id, upload.tail_key,
                     upload.pending_key
             ), left_over AS (
                 SELECT gone.store_id, gone.multipart_key AS storage_key, true AS multipart, gone.multipart_id
                 FROM gone WHERE gone.multipart_key IS NOT NULL
                 UNION ALL
                 SELECT gone.store_id, gone.tail_key, false, NULL FROM gone WHERE gone.tail_key IS NOT NULL
                 UNION ALL
                 SELECT gone.store_id, gone.pending_key, false, NULL FROM gone WHERE gone.pending_key IS NOT NULL
             ), enqueued AS (
                 -- After its quarantine: a write may still be on its way.
                 INSERT INTO object_delete (store_id, storage_key, multipart, multipart_id, reason, not_before)
                 SELECT left_over.store_id, left_over.storage_key, left_over.multipart, left_over.multipart_id,
                     'upload', now() + interval '24 hours'
                 FROM left_over
                 ORDER BY left_over.store_id, left_over.storage_key
                 ON CONFLICT (store_id, storage_key) DO NOTHING
             )
             SELECT count(*) FROM gone"
        )
    };
}

pub(super) static CANCEL: Statement = statement!(
    "uploads.cancel",
    [UUID, TEXT, INT8],
    dispose!(
        "",
        "
                 DELETE FROM upload
                 WHERE upload.id = $1 AND upload.repository_path = $2 AND upload.account_id = $3
                     AND upload.expires_at > now()"
    ),
);

/// Ends an upload by its owner's wish, whoever holds it; false: there is none such.
pub async fn cancel(tx: &Tx, scope: &UploadScope) -> Result<bool, Error> {
    let UploadScope { id, path, account } = scope;
    let row = tx
        .query_one(&CANCEL, &[&id.as_uuid(), &path.as_str(), account])
        .await?;
    Ok(count(&row, 0).map_err(Error::decoding("upload"))? == 1)
}

pub(super) static SWEEP: Statement = statement!(
    "uploads.sweep",
    [INT8],
    dispose!(
        // MATERIALIZED: as a subquery of the DELETE it could be evaluated again for each row, beyond the limit.
        "expired AS MATERIALIZED (
                 SELECT candidate.id FROM upload AS candidate
                 WHERE candidate.expires_at <= now()
                     AND (candidate.lock_until IS NULL OR candidate.lock_until <= now())
                 ORDER BY candidate.expires_at
                 LIMIT $1
                 FOR UPDATE SKIP LOCKED
             ), ",
        "
                 DELETE FROM upload USING expired WHERE upload.id = expired.id"
    ),
);

/// Ends at most `limit` uploads that have expired and that nobody works on; returns how many.
pub async fn sweep(tx: &Tx, limit: i64) -> Result<u64, Error> {
    let row = tx.query_one(&SWEEP, &[&limit]).await?;
    count(&row, 0).map_err(Error::decoding("upload"))
}
