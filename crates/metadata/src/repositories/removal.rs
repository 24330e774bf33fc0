//! The rows of repositories that were deleted, which go in bounded steps.
//!
//! Nobody writes into such a repository: its deletion waited for those who did, and nobody finds it any more. Only
//! collectors may be at its manifests, its blobs' links and their reviews. A step is one statement on one table; it takes the rows that
//! nobody has locked, and after them, by trigger, rows of the review queue in their order. So it never holds a row of one table and
//! waits for one of another but the queue's, and a collector, who holds the queue's first, waits for nobody.
//!
//! Blobs are enqueued for review by the triggers. The histories of tags stay; who deleted the repository is in the audit log.

use crate::columns::{limit, seconds};
use crate::statements::statement;
use crate::{Error, RepositoryId};
use portolan_pg::{Read as _, Statement, Tx};
use std::time::Duration;

/// How long the rows of a deleted repository stay: as long as a blob's, so that who deleted the wrong one has a day to find
/// somebody who can undo it in the database.
pub const KEPT: Duration = Duration::from_hours(24);

static CLAIM: Statement = statement!(
    "repositories.claim_removal",
    [FLOAT8],
    // Only what is being removed has such a path. Another worker's is skipped.
    "SELECT repository.id FROM repository
     WHERE repository.path >= '~' AND repository.state = 'removing'
         AND repository.removed_at <= now() - make_interval(secs => $1)
     ORDER BY repository.path
     LIMIT 1
     FOR UPDATE SKIP LOCKED",
);

static REMOVE_TAGS: Statement = statement!(
    "repositories.remove_tags",
    [INT8, INT8],
    "WITH chosen AS (
         SELECT tag.name FROM tag
         WHERE tag.repository_id = $1
         ORDER BY tag.name
         LIMIT $2
         FOR UPDATE SKIP LOCKED
     )
     DELETE FROM tag USING chosen
     WHERE tag.repository_id = $1 AND tag.name = chosen.name",
);

static REMOVE_CHILDREN: Statement = statement!(
    "repositories.remove_children",
    [INT8, INT8],
    "WITH chosen AS (
         SELECT manifest_child.parent_id, manifest_child.child_digest FROM manifest_child
         WHERE manifest_child.repository_id = $1
         ORDER BY manifest_child.child_digest
         LIMIT $2
         FOR UPDATE SKIP LOCKED
     )
     DELETE FROM manifest_child USING chosen
     WHERE manifest_child.parent_id = chosen.parent_id AND manifest_child.child_digest = chosen.child_digest",
);

static REMOVE_MISSING: Statement = statement!(
    "repositories.remove_missing_blobs",
    [INT8, INT8],
    "WITH chosen AS (
         SELECT missing.manifest_id, missing.digest FROM manifest_missing_blob AS missing
         WHERE missing.repository_id = $1
         ORDER BY missing.digest
         LIMIT $2
         FOR UPDATE SKIP LOCKED
     )
     DELETE FROM manifest_missing_blob USING chosen
     WHERE manifest_missing_blob.manifest_id = chosen.manifest_id AND manifest_missing_blob.digest = chosen.digest",
);

static REMOVE_REFERENCES: Statement = statement!(
    "repositories.remove_blob_references",
    [INT8, INT8],
    "WITH chosen AS (
         SELECT manifest_blob.blob_id, manifest_blob.manifest_id FROM manifest_blob
         WHERE manifest_blob.repository_id = $1
         ORDER BY manifest_blob.blob_id, manifest_blob.manifest_id
         LIMIT $2
         FOR UPDATE SKIP LOCKED
     )
     DELETE FROM manifest_blob USING chosen
     WHERE manifest_blob.repository_id = $1 AND manifest_blob.blob_id = chosen.blob_id
         AND manifest_blob.manifest_id = chosen.manifest_id",
);

static REMOVE_LINKS: Statement = statement!(
    "repositories.remove_links",
    [INT8, INT8],
    "WITH chosen AS (
         SELECT repository_blob.blob_id FROM repository_blob
         WHERE repository_blob.repository_id = $1
         ORDER BY repository_blob.blob_id
         LIMIT $2
         FOR UPDATE SKIP LOCKED
     )
     DELETE FROM repository_blob USING chosen
     WHERE repository_blob.repository_id = $1 AND repository_blob.blob_id = chosen.blob_id",
);

static REMOVE_MANIFESTS: Statement = statement!(
    "repositories.remove_manifests",
    [INT8, INT8],
    "WITH chosen AS (
         SELECT manifest.id FROM manifest
         WHERE manifest.repository_id = $1
         ORDER BY manifest.digest
         LIMIT $2
         FOR UPDATE SKIP LOCKED
     )
     DELETE FROM manifest USING chosen
     WHERE manifest.id = chosen.id
     RETURNING manifest.id",
);

static FORGET_REVIEWS: Statement = statement!(
    "repositories.forget_reviews",
    [INT8_ARRAY],
    // As for one manifest (`gc.forget_manifest`): whoever holds a row finds its subject gone.
    "DELETE FROM gc_queue
     WHERE gc_queue.kind = 'manifest' AND gc_queue.id IN (
         SELECT held.id FROM gc_queue AS held
         WHERE held.kind = 'manifest' AND held.id = ANY ($1)
         FOR UPDATE SKIP LOCKED
     )",
);

static REMOVE: Statement = statement!(
    "repositories.remove",
    [INT8],
    "DELETE FROM repository WHERE repository.id = $1",
);

/// What refers to manifests, and then links.
static LEAVES: [&Statement; 5] = [
    &REMOVE_TAGS,
    &REMOVE_CHILDREN,
    &REMOVE_MISSING,
    &REMOVE_REFERENCES,
    &REMOVE_LINKS,
];

/// Takes one step in one repository that was deleted at least `kept` ago: at most `rows` of one table, and in the end the
/// repository. Returns how many rows went; `None`: there is no such repository, or another worker has it.
///
/// Nothing else belongs into its transaction, but whether writes are taken.
///
/// # Errors
/// One that [`Error::is_retryable`] where a collector has something that refers to what would go next.
pub async fn remove_step(tx: &Tx, kept: Duration, rows: usize) -> Result<Option<u64>, Error> {
    let decoding = Error::decoding("repository");
    let Some(row) = tx.query_opt(&CLAIM, &[&seconds(kept)]).await? else {
        return Ok(None);
    };
    let repository: RepositoryId = row.try_get(0).map_err(&decoding)?;
    let rows = limit(rows);
    for statement in LEAVES {
        let gone = tx.execute(statement, &[&repository, &rows]).await?;
        if gone > 0 {
            return Ok(Some(gone));
        }
    }
    let gone = tx.query(&REMOVE_MANIFESTS, &[&repository, &rows]).await?;
    if !gone.is_empty() {
        let ids: Vec<i64> = gone
            .iter()
            .map(|row| row.try_get(0))
            .collect::<Result<_, _>>()
            .map_err(&decoding)?;
        tx.execute(&FORGET_REVIEWS, &[&ids]).await?;
        return Ok(Some(gone.len() as u64));
    }
    tx.execute_one(&REMOVE, &[&repository]).await?;
    Ok(Some(1))
}

pub(crate) static STATEMENTS: &[&Statement] = &[
    &CLAIM,
    &REMOVE_TAGS,
    &REMOVE_CHILDREN,
    &REMOVE_MISSING,
    &REMOVE_REFERENCES,
    &REMOVE_LINKS,
    &REMOVE_MANIFESTS,
    &FORGET_REVIEWS,
    &REMOVE,
];
