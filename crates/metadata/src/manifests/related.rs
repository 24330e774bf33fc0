//! What manifests are to each other: an index and its children, a subject and its referrers.

use super::insert::platform_word;
use crate::columns::{bytes_of, digest};
use crate::statements::statement;
use crate::{Error, ManifestId, RepositoryId};
use portolan_oci::{Digest, Manifest, Platform};
use portolan_pg::{Read as _, Statement, Tx};
use std::collections::BTreeMap;

/// A child of an index.
#[derive(Debug, Clone)]
pub struct Child {
    /// Its digest.
    pub digest: Digest,
    /// The manifest in this repository, if it is here.
    pub id: Option<ManifestId>,
    /// What the index says it runs on.
    pub platform: Option<Platform>,
}

impl Child {
    /// The distinct children of an index, in the order of digests, with those of `related` filled in.
    pub fn list(manifest: &Manifest, related: &[(ManifestId, Digest)]) -> Vec<Self> {
        let known: BTreeMap<Digest, ManifestId> =
            related.iter().map(|(id, digest)| (*digest, *id)).collect();
        let mut children: BTreeMap<Digest, Self> = BTreeMap::new();
        for child in manifest.children() {
            children.entry(child.digest).or_insert_with(|| Self {
                digest: child.digest,
                id: known.get(&child.digest).copied(),
                platform: child.platform.clone(),
            });
        }
        children.into_values().collect()
    }
}

pub(super) static LOCK_RELATED: Statement = statement!(
    "manifests.lock_related",
    [INT8, BYTEA_ARRAY, BYTEA],
    "SELECT manifest.id, manifest.digest
     FROM manifest
     WHERE manifest.id IN (
         SELECT named.id FROM manifest AS named
         WHERE named.repository_id = $1 AND named.digest = ANY ($2)
         UNION ALL
         SELECT referrer.id FROM manifest AS referrer
         WHERE referrer.repository_id = $1 AND referrer.subject_digest = $3
     )
     ORDER BY manifest.digest
     FOR KEY SHARE OF manifest",
);

/// Locks, in the order of digests, the manifest itself where it is here already, its children and its referrers:
/// none of them can be collected before this transaction ends.
pub async fn lock_related(
    tx: &Tx,
    repository: RepositoryId,
    own: &Digest,
    children: &[Digest],
) -> Result<Vec<(ManifestId, Digest)>, Error> {
    let mut named = bytes_of(children);
    named.push(own.as_bytes());
    let rows = tx
        .query(&LOCK_RELATED, &[&repository, &named, &own.as_bytes()])
        .await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, digest(row, 1)?)))
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("manifest"))
}

pub(super) static INSERT_CHILDREN: Statement = statement!(
    "manifests.insert_children",
    [INT8, INT8, BYTEA_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY],
    // A child that came back since it was deleted here fills the guard again.
    "INSERT INTO manifest_child (repository_id, parent_id, child_digest, child_id, os, architecture, variant)
     SELECT $1, $2, k.digest, k.id, k.os, k.architecture, k.variant
     FROM unnest($3, $4, $5, $6, $7) AS k(digest, id, os, architecture, variant)
     ORDER BY k.digest
     ON CONFLICT (parent_id, child_digest) DO UPDATE SET child_id = excluded.child_id
         WHERE manifest_child.child_id IS DISTINCT FROM excluded.child_id AND excluded.child_id IS NOT NULL",
);

/// Notes the children of an index, present or not.
pub async fn insert_children(
    tx: &Tx,
    repository: RepositoryId,
    parent: ManifestId,
    children: &[Child],
) -> Result<(), Error> {
    if children.is_empty() {
        return Ok(());
    }
    let digests: Vec<&[u8]> = children
        .iter()
        .map(|child| child.digest.as_bytes())
        .collect();
    let ids: Vec<Option<ManifestId>> = children.iter().map(|child| child.id).collect();
    let words = |word: fn(&Platform) -> Option<&str>| -> Vec<Option<&str>> {
        children
            .iter()
            .map(|child| {
                child
                    .platform
                    .as_ref()
                    .and_then(word)
                    .and_then(platform_word)
            })
            .collect()
    };
    let os = words(|platform| Some(&platform.os));
    let architecture = words(|platform| Some(&platform.architecture));
    let variant = words(|platform| platform.variant.as_deref());
    tx.execute(
        &INSERT_CHILDREN,
        &[
            &repository,
            &parent,
            &digests,
            &ids,
            &os,
            &architecture,
            &variant,
        ],
    )
    .await?;
    Ok(())
}

pub(super) static ADOPT: Statement = statement!(
    "manifests.adopt_orphaned_children",
    [INT8, BYTEA, INT8],
    "UPDATE manifest_child SET child_id = $3
     FROM (
         SELECT orphan.parent_id FROM manifest_child AS orphan
         WHERE orphan.repository_id = $1 AND orphan.child_digest = $2 AND orphan.child_id IS NULL
         ORDER BY orphan.parent_id
         FOR NO KEY UPDATE
     ) AS held
     WHERE manifest_child.parent_id = held.parent_id AND manifest_child.child_digest = $2",
);

/// Fills the guard of indexes that were here before this child of theirs.
pub async fn adopt_orphaned_children(
    tx: &Tx,
    repository: RepositoryId,
    own: &Digest,
    manifest: ManifestId,
) -> Result<(), Error> {
    tx.execute(&ADOPT, &[&repository, &own.as_bytes(), &manifest])
        .await?;
    Ok(())
}

pub(super) static REMOVED_BY_COLLECTION: Statement = statement!(
    "manifests.removed_by_collection",
    [INT8, BYTEA_ARRAY],
    "SELECT k.digest
     FROM unnest($2) AS k(digest)
     CROSS JOIN LATERAL (
         SELECT deleted_manifest.reason FROM deleted_manifest
         WHERE deleted_manifest.repository_id = $1 AND deleted_manifest.digest = k.digest
         ORDER BY deleted_manifest.id DESC
         LIMIT 1
     ) AS newest
     WHERE newest.reason <> 'user'
     ORDER BY k.digest
     LIMIT 1",
);

/// The first of these missing manifests that collection or retention took, not a user: an index may not name it,
/// because a client may have been told that it is here.
pub async fn removed_by_collection(
    tx: &Tx,
    repository: RepositoryId,
    missing: &[Digest],
) -> Result<Option<Digest>, Error> {
    if missing.is_empty() {
        return Ok(None);
    }
    let row = tx
        .query_opt(&REMOVED_BY_COLLECTION, &[&repository, &bytes_of(missing)])
        .await?;
    row.map(|row| digest(&row, 0))
        .transpose()
        .map_err(Error::decoding("deleted_manifest"))
}
