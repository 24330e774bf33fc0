//! The collectors of the protocol, written down as plain SQL for the tests: what every write has to hold against. The
//! order of locks is theirs (the queue's row first), and they only ever SKIP LOCKED.

use crate::support::Db;
use portolan_metadata::{BlobId, ManifestId};
use portolan_testkit::pg_cluster::Session;

/// What became of one review.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Review {
    /// No due row, or somebody holds it.
    Nothing,
    /// Somebody uses it, or something keeps it.
    Kept,
    /// It is gone.
    Collected,
}

/// A collector's session, which stops between its statements where a test wants it to.
pub(crate) struct Collector {
    session: Session,
}

impl Collector {
    pub(crate) async fn new(db: &Db) -> Self {
        Self {
            session: db.database.session().await,
        }
    }

    pub(crate) async fn run(&self, sql: &str) -> u64 {
        self.session
            .execute(sql, &[])
            .await
            .unwrap_or_else(|error| panic!("`{sql}`: {error:?}"))
    }

    async fn finds(&self, sql: &str) -> bool {
        !self
            .session
            .query(sql, &[])
            .await
            .unwrap_or_else(|error| panic!("`{sql}`: {error:?}"))
            .is_empty()
    }

    /// Begins the review of a manifest: the queue's row and the manifest's, locked.
    pub(crate) async fn take_manifest(&self, id: ManifestId) -> bool {
        self.run("BEGIN").await;
        self.finds(&format!(
            "SELECT FROM gc_queue WHERE kind = 'manifest' AND id = {id} AND review_after <= now() FOR UPDATE SKIP LOCKED"
        ))
        .await
            && self.finds(&format!("SELECT FROM manifest WHERE id = {id} FOR UPDATE SKIP LOCKED")).await
    }

    /// The new statement: nothing keeps it, and it is due still.
    pub(crate) async fn manifest_is_garbage(&self, id: ManifestId) -> bool {
        self.finds(&format!(
            "SELECT FROM manifest m
             WHERE m.id = {id}
                 AND NOT EXISTS (SELECT FROM tag t WHERE t.manifest_id = m.id)
                 AND NOT EXISTS (
                     SELECT FROM manifest_child c WHERE c.repository_id = m.repository_id AND c.child_digest = m.digest
                 )
                 AND NOT EXISTS (
                     SELECT FROM manifest s WHERE s.repository_id = m.repository_id AND s.digest = m.subject_digest
                 )
                 AND EXISTS (
                     SELECT FROM gc_queue q WHERE q.kind = 'manifest' AND q.id = m.id AND q.review_after <= now()
                 )"
        ))
        .await
    }

    /// Deletes the manifest, as the collector does, and commits.
    pub(crate) async fn delete_manifest(&self, id: ManifestId) {
        self.run(&format!(
            "INSERT INTO deleted_manifest (repository_id, digest, media_type, reason)
             SELECT repository_id, digest, 'application/json', 'collection' FROM manifest WHERE id = {id}"
        ))
        .await;
        for table in [
            "manifest_child WHERE parent_id",
            "manifest_missing_blob WHERE manifest_id",
        ] {
            self.run(&format!("DELETE FROM {table} = {id}")).await;
        }
        self.run(&format!(
            "DELETE FROM manifest_blob WHERE manifest_id = {id}"
        ))
        .await;
        self.run(&format!("DELETE FROM manifest WHERE id = {id}"))
            .await;
        self.run(&format!(
            "DELETE FROM gc_queue WHERE kind = 'manifest' AND id = {id}"
        ))
        .await;
        self.run("COMMIT").await;
    }

    /// One whole review of a manifest.
    pub(crate) async fn review_manifest(&self, id: ManifestId) -> Review {
        if !self.take_manifest(id).await {
            self.run("ROLLBACK").await;
            return Review::Nothing;
        }
        if !self.manifest_is_garbage(id).await {
            self.run("ROLLBACK").await;
            return Review::Kept;
        }
        self.delete_manifest(id).await;
        Review::Collected
    }

    /// Begins the review of a blob: the queue's row and the blob's, locked.
    pub(crate) async fn take_blob(&self, id: BlobId) -> bool {
        self.run("BEGIN").await;
        self.finds(&format!(
            "SELECT FROM gc_queue WHERE kind = 'blob' AND id = {id} AND review_after <= now() FOR UPDATE SKIP LOCKED"
        ))
        .await
            && self.finds(&format!("SELECT FROM blob WHERE id = {id} FOR UPDATE SKIP LOCKED")).await
    }

    /// The new statement: no reference, no live link.
    pub(crate) async fn blob_is_garbage(&self, id: BlobId) -> bool {
        self.finds(&format!(
            "SELECT FROM blob b
             WHERE b.id = {id}
                 AND NOT EXISTS (SELECT FROM manifest_blob r WHERE r.blob_id = b.id)
                 AND NOT EXISTS (SELECT FROM repository_blob l WHERE l.blob_id = b.id AND l.expires_at > now())"
        ))
        .await
    }

    /// Deletes the blob's expired links, its row and its queue row, and enqueues its object; false: somebody holds a link,
    /// or a row that came in between refers to it (23503), and everything is rolled back.
    pub(crate) async fn delete_blob(&self, id: BlobId) -> bool {
        // SKIP LOCKED here as well: whoever deletes a link holds it, and waits for the queue's row, which is ours.
        self.run(&format!(
            "DELETE FROM repository_blob WHERE (repository_id, blob_id) IN (
                 SELECT repository_id, blob_id FROM repository_blob
                 WHERE blob_id = {id} AND expires_at <= now() FOR UPDATE SKIP LOCKED
             )"
        ))
        .await;
        if self
            .finds(&format!("SELECT FROM repository_blob WHERE blob_id = {id}"))
            .await
        {
            self.run("ROLLBACK").await;
            return false;
        }
        let gone = format!(
            "WITH gone AS (DELETE FROM blob WHERE id = {id} RETURNING store_id, storage_key, digest, size)
             INSERT INTO object_delete (store_id, storage_key, digest, size, reason, not_before)
             SELECT store_id, storage_key, digest, size, 'collected', now() + interval '24 hours' FROM gone"
        );
        if let Err(error) = self.session.execute(&gone, &[]).await {
            assert_eq!(error.code().unwrap().code(), "23503", "{error:?}");
            self.run("ROLLBACK").await;
            return false;
        }
        self.run(&format!(
            "DELETE FROM gc_queue WHERE kind = 'blob' AND id = {id}"
        ))
        .await;
        self.run("COMMIT").await;
        true
    }

    /// One whole review of a blob.
    pub(crate) async fn review_blob(&self, id: BlobId) -> Review {
        if !self.take_blob(id).await {
            self.run("ROLLBACK").await;
            return Review::Nothing;
        }
        if !self.blob_is_garbage(id).await {
            self.run("ROLLBACK").await;
            return Review::Kept;
        }
        if self.delete_blob(id).await {
            Review::Collected
        } else {
            Review::Kept
        }
    }
}

/// Makes everything in the queue due, as a day's passing would.
pub(crate) async fn a_day_passes(db: &Db) {
    db.run("UPDATE gc_queue SET review_after = review_after - interval '25 hours'")
        .await;
    db.run("UPDATE repository_blob SET expires_at = expires_at - interval '25 hours'")
        .await;
    db.run("UPDATE upload SET expires_at = expires_at - interval '25 hours'")
        .await;
    db.run("UPDATE object_delete SET not_before = not_before - interval '25 hours'")
        .await;
}
