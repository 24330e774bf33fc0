//! The removal of a manifest by its user.
//!
//! The manifest's row is locked against everybody first; what hangs on it is read by new statements, which
//! see what those committed who held it before. Its blobs stay linked for a day (by trigger), its children
//! and referrers are young again.

use crate::columns::parsed;
use crate::statements::statement;
use crate::{Error, ManifestId, Principal, RepositoryId, gc};
use portolan_oci::{Digest, TagName};
use portolan_pg::{Read as _, Statement, Tx};

static LOCK: Statement = statement!(
    "manifests.lock_for_removal",
    [INT8, BYTEA],
    "SELECT manifest.id FROM manifest
     WHERE manifest.repository_id = $1 AND manifest.digest = $2
     FOR UPDATE",
);

static NEIGHBOURS: Statement = statement!(
    "manifests.neighbours",
    [INT8, BYTEA, INT8],
    "SELECT child.id
     FROM manifest_child
     JOIN manifest AS child
         ON child.repository_id = manifest_child.repository_id AND child.digest = manifest_child.child_digest
     WHERE manifest_child.parent_id = $3
     UNION
     SELECT referrer.id FROM manifest AS referrer
     WHERE referrer.repository_id = $1 AND referrer.subject_digest = $2",
);

static ORPHAN: Statement = statement!(
    "manifests.leave_parents_sparse",
    [INT8],
    "UPDATE manifest_child SET child_id = NULL
     FROM (
         SELECT guard.parent_id, guard.child_digest FROM manifest_child AS guard
         WHERE guard.child_id = $1
         ORDER BY guard.parent_id
         FOR NO KEY UPDATE
     ) AS held
     WHERE manifest_child.parent_id = held.parent_id AND manifest_child.child_digest = held.child_digest",
);

static DELETE_CHILDREN: Statement = statement!(
    "manifests.delete_children",
    [INT8],
    "DELETE FROM manifest_child WHERE manifest_child.parent_id = $1",
);

static DELETE_TAGS: Statement = statement!(
    "manifests.delete_tags",
    [INT8, INT8, BYTEA, INT8],
    "WITH held AS (
         SELECT tag.repository_id, tag.name FROM tag
         WHERE tag.repository_id = $1 AND tag.manifest_id = $2
         ORDER BY tag.name
         FOR UPDATE
     ), gone AS (
         DELETE FROM tag USING held
         WHERE tag.repository_id = held.repository_id AND tag.name = held.name
         RETURNING tag.name
     )
     INSERT INTO tag_history (repository_id, name, version, previous_digest, actor_account_id)
     SELECT $1, gone.name, nextval('tag_version'), $3, $4 FROM gone
     RETURNING name",
);

static DELETE_REFERENCES: Statement = statement!(
    "manifests.delete_blob_references",
    [INT8],
    "DELETE FROM manifest_blob WHERE manifest_blob.manifest_id = $1",
);

static DELETE_MISSING: Statement = statement!(
    "manifests.delete_missing_blobs",
    [INT8],
    "DELETE FROM manifest_missing_blob WHERE manifest_missing_blob.manifest_id = $1",
);

static DELETE: Statement = statement!(
    "manifests.delete",
    [INT8, TEXT_ARRAY, INT8],
    "WITH gone AS (
         DELETE FROM manifest WHERE manifest.id = $1
         RETURNING manifest.repository_id, manifest.digest, manifest.media_type_id
     )
     INSERT INTO deleted_manifest (repository_id, digest, media_type, tags, reason, actor_account_id)
     SELECT gone.repository_id, gone.digest, media_type.name, $2, 'user', $3
     FROM gone JOIN media_type ON media_type.id = gone.media_type_id",
);

/// As [`remove`], for those who do not care for its tags.
pub async fn delete(
    tx: &Tx,
    repository: RepositoryId,
    digest: &Digest,
    actor: &Principal,
) -> Result<bool, Error> {
    Ok(remove(tx, repository, digest, actor).await?.is_some())
}

/// Removes a manifest and every tag that points at it, and returns these; `None`: it is not in this repository.
///
/// Indexes that name it stay, and are incomplete by their owner's wish.
pub async fn remove(
    tx: &Tx,
    repository: RepositoryId,
    digest: &Digest,
    actor: &Principal,
) -> Result<Option<Vec<TagName>>, Error> {
    let decoding = Error::decoding("manifest");
    let digest = digest.as_bytes();
    let Some(row) = tx.query_opt(&LOCK, &[&repository, &digest]).await? else {
        return Ok(None);
    };
    let manifest: ManifestId = row.try_get(0).map_err(&decoding)?;
    let rows = tx
        .query(&NEIGHBOURS, &[&repository, &digest, &manifest])
        .await?;
    let neighbours: Vec<ManifestId> = rows
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()
        .map_err(&decoding)?;

    tx.execute(&ORPHAN, &[&manifest]).await?;
    tx.execute(&DELETE_CHILDREN, &[&manifest]).await?;
    let rows = tx
        .query(
            &DELETE_TAGS,
            &[&repository, &manifest, &digest, &actor.account()],
        )
        .await?;
    let tags: Vec<TagName> = rows
        .iter()
        .map(|row| parsed(row, 0))
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("tag"))?;
    let names: Vec<&str> = tags.iter().map(TagName::as_str).collect();
    tx.execute(&DELETE_MISSING, &[&manifest]).await?;
    tx.execute(&DELETE_REFERENCES, &[&manifest]).await?;
    tx.execute_one(&DELETE, &[&manifest, &names, &actor.account()])
        .await?;

    gc::touch_manifests(tx, &neighbours).await?;
    gc::forget_manifest(tx, manifest).await?;
    Ok(Some(tags))
}

pub(crate) static STATEMENTS: &[&Statement] = &[
    &LOCK,
    &NEIGHBOURS,
    &ORPHAN,
    &DELETE_CHILDREN,
    &DELETE_TAGS,
    &DELETE_MISSING,
    &DELETE_REFERENCES,
    &DELETE,
];
