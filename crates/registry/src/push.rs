//! Manifest pushes: parsed and hashed outside, then one transaction.
//!
//! The order of locks is that of every writer: repository, manifests by digest (children,
//! referrers, own), blobs by digest, the parents' child rows, tags by name, the queue.

use crate::audit::Changes;
use crate::pull::{BlobSource, Purpose};
use crate::transaction::{Acknowledge, Attempts, lock_for_push};
use crate::{Caller, Error, Registry, SparseImages};
use bytes::Bytes;
use portolan_auth::Action;
use portolan_metadata::access::{AccessKey, ResolveAccess};
use portolan_metadata::manifests::{self, Child, NewManifest};
use portolan_metadata::tags::{self, Expect, TagMove};
use portolan_metadata::{ManifestId, RepositoryId, audit, blobs, gc, manifest_contents};
use portolan_oci::{
    Algorithm, Digest, Manifest, MediaType, Platform, Reference, RepositoryName, TagName,
    media_type,
};
use portolan_pg::Tx;
use std::collections::HashSet;

/// A manifest to store.
#[derive(Debug, Clone)]
pub struct PutManifest {
    /// Under which tag or digest.
    pub reference: Reference,
    /// Further tags to set, beside a digest.
    pub tags: Vec<TagName>,
    /// The declared media type.
    pub content_type: Option<MediaType>,
    /// The bytes, kept as they are.
    pub payload: Bytes,
    /// What every tag must point at now, for compare-and-swap; without a tag, whether the manifest is here.
    pub expect: Option<Expect>,
}

/// A manifest stored and acknowledged.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// Its digest.
    pub digest: Digest,
    /// The subject it declares, present or not.
    pub subject: Option<Digest>,
    /// Every tag that now points at it.
    pub tags: Vec<TagName>,
    /// What a person should hear of.
    pub warnings: Vec<PushWarning>,
}

/// Something legal that may surprise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushWarning {
    /// The index names manifests that this repository does not have: a pull of those platforms will fail.
    #[error("{missing} of the index's {total} manifests are not in this repository")]
    SparseIndex {
        /// How many are not here.
        missing: usize,
        /// How many it names.
        total: usize,
    },
    /// The manifest names blobs that this repository does not have, and that is allowed here.
    #[error("{missing} of the manifest's {total} blobs are not in this repository")]
    SparseImage {
        /// How many are not here.
        missing: usize,
        /// How many it names.
        total: usize,
    },
}

/// A manifest read and hashed, before any statement.
struct Prepared {
    manifest: Manifest,
    row: NewManifest,
    digest: Digest,
    tags: Vec<TagName>,
    required_blobs: Vec<Digest>,
    children: Vec<Digest>,
}

impl Registry {
    /// Whether the caller may push to `name`: asked before a body is read, and decided again with the write.
    pub async fn authorize_push(
        &self,
        caller: &Caller,
        name: &RepositoryName,
    ) -> Result<(), Error> {
        let key = AccessKey {
            path: name.clone(),
            principal: caller.principal,
        };
        let (access, freshness) = self.resolve::<ResolveAccess>(key).await?;
        freshness.current()?;
        crate::authorize(&access, caller, name, Action::Push)
    }

    /// Stores a manifest and moves its tags, all or nothing.
    pub async fn put_manifest(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        request: PutManifest,
    ) -> Result<Pushed, Error> {
        let mut prepared = prepare(&request)?;
        self.note_use(caller);
        // Boxed: it is the largest step of the future, and over before the transaction begins.
        prepared.row.platform = Box::pin(self.platform(caller, name, &prepared.manifest)).await;
        // A manifest is in the list of its tags, or of its subject's referrers, or in none.
        let acknowledge = if prepared.tags.is_empty() && prepared.manifest.subject().is_none() {
            Acknowledge::AtCommit
        } else {
            Acknowledge::WhenVisible
        };
        let sparse = self.0.limits.sparse_images;
        let mut attempts = Attempts::new();
        let warnings = loop {
            let tx = self.router().begin().await?;
            let outcome = store(&tx, caller, name, &request, &prepared, sparse).await;
            if let Some(done) = self
                .conclude(tx, outcome, acknowledge, &mut attempts)
                .await?
            {
                break done;
            }
        };
        self.0.payloads.insert(prepared.digest, request.payload);
        Ok(Pushed {
            digest: prepared.digest,
            subject: prepared.manifest.subject().map(|subject| subject.digest),
            tags: prepared.tags,
            warnings,
        })
    }
}

/// The members of an image config that a page of tags shows.
#[derive(serde::Deserialize)]
struct ImageConfig {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Registry {
    /// What an image runs on, from its config; `None` where that cannot be told. A push never fails for it.
    async fn platform(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        manifest: &Manifest,
    ) -> Option<Platform> {
        let config = manifest.config()?;
        let is_image_config = matches!(
            config.media_type.as_str(),
            media_type::OCI_CONFIG | media_type::DOCKER_CONFIG
        );
        if !is_image_config || config.size > self.0.limits.small_blob_max {
            return None;
        }
        let ((_, found), _) = self
            .resolve_blob(caller, name, config.digest, Purpose::Get)
            .await
            .ok()?;
        let row = found.filter(|row| row.size <= self.0.limits.small_blob_max)?;
        let BlobSource::Bytes(content) = self.source(config.digest, row).await.ok()? else {
            return None;
        };
        let ImageConfig {
            os,
            architecture,
            variant,
        } = serde_json::from_slice(&content).ok()?;
        Some(Platform {
            os,
            architecture,
            variant,
            ..Platform::default()
        })
    }
}

fn prepare(request: &PutManifest) -> Result<Prepared, Error> {
    let manifest = Manifest::parse(&request.payload, request.content_type.as_ref())
        .map_err(Error::ManifestInvalid)?;
    let mut tags = request.tags.clone();
    let digest = match &request.reference {
        Reference::Tag(tag) => {
            tags.push(tag.clone());
            Digest::of(Algorithm::Sha256, &request.payload)
        }
        Reference::Digest(expected) => {
            if Digest::of(expected.algorithm(), &request.payload) != *expected {
                return Err(Error::DigestMismatch {
                    expected: *expected,
                });
            }
            *expected
        }
    };
    // Tags are locked in the order of their names.
    tags.sort();
    tags.dedup();
    let mut children: Vec<Digest> = manifest
        .children()
        .iter()
        .map(|child| child.digest)
        .collect();
    children.sort();
    children.dedup();
    let required_blobs = manifest.required_blobs();
    let row = NewManifest::of(&manifest, digest, request.payload.len() as u64);
    Ok(Prepared {
        manifest,
        row,
        digest,
        tags,
        required_blobs,
        children,
    })
}

async fn store(
    tx: &Tx,
    caller: &Caller,
    name: &RepositoryName,
    request: &PutManifest,
    prepared: &Prepared,
    sparse: SparseImages,
) -> Result<Vec<PushWarning>, Error> {
    let repository = lock_for_push(tx, caller, name).await?;
    let related =
        manifests::lock_related(tx, repository, &prepared.digest, &prepared.children).await?;
    let is_here = related.iter().any(|(_, known)| *known == prepared.digest);
    if prepared.tags.is_empty()
        && let Some(expect) = &request.expect
    {
        // Without a tag, the condition is about the manifest itself.
        expect.check(is_here.then_some(&prepared.digest))?;
    }
    let children = Child::list(&prepared.manifest, &related);
    let missing: Vec<Digest> = children
        .iter()
        .filter(|child| child.id.is_none())
        .map(|child| child.digest)
        .collect();
    if let Some(digest) = manifests::removed_by_collection(tx, repository, &missing).await? {
        return Err(Error::ManifestChildRemoved { digest });
    }

    manifest_contents::insert(tx, &prepared.digest, &request.payload).await?;
    let manifest = manifests::insert(tx, repository, &prepared.row).await?;
    let required = &prepared.required_blobs;
    let missing_blobs = reference_blobs(tx, repository, manifest, required, sparse).await?;
    manifests::insert_children(tx, repository, manifest, &children).await?;
    manifests::adopt_orphaned_children(tx, repository, &prepared.digest, manifest).await?;
    // Whatever loses its last tag here is as young again as what is pushed.
    let mut touched = vec![manifest];
    let mut changes = Changes::of(name, repository);
    let media_type = prepared.manifest.media_type();
    changes.pushed(
        &prepared.digest,
        media_type.as_str(),
        &prepared.tags,
        is_here,
    );
    for tag in &prepared.tags {
        let step = TagMove {
            repository,
            tag,
            manifest,
            digest: &prepared.digest,
            actor: caller.principal,
            expect: request.expect.as_ref(),
        };
        let moved = tags::move_to(tx, &step).await?;
        touched.extend(moved.abandoned);
        changes.tagged(tag, moved.previous.as_ref(), &prepared.digest);
    }
    let actor = caller.actor();
    // Sent together: the log costs no round trip.
    let (touched, recorded) = futures::join!(
        gc::touch_manifests(tx, &touched),
        audit::record_all(tx, &actor, changes.list()),
    );
    touched?;
    recorded?;

    let mut warnings = Vec::new();
    if !missing.is_empty() {
        let (missing, total) = (missing.len(), children.len());
        warnings.push(PushWarning::SparseIndex { missing, total });
    }
    if missing_blobs > 0 {
        let (missing, total) = (missing_blobs, required.len());
        warnings.push(PushWarning::SparseImage { missing, total });
    }
    Ok(warnings)
}

/// Locks the blobs and writes the references; the answer is what the repository does not have.
async fn reference_blobs(
    tx: &Tx,
    repository: RepositoryId,
    manifest: ManifestId,
    required: &[Digest],
    sparse: SparseImages,
) -> Result<usize, Error> {
    if required.is_empty() {
        return Ok(0);
    }
    // For now suffices: what a HEAD showed, it showed two hours longer than this asks.
    let present = blobs::lock_present(tx, repository, required, 0).await?;
    let known: HashSet<Digest> = present.iter().map(|blob| blob.digest).collect();
    let missing: Vec<Digest> = required
        .iter()
        .filter(|digest| !known.contains(digest))
        .copied()
        .collect();
    if !missing.is_empty() {
        if sparse == SparseImages::Refuse {
            return Err(Error::ManifestBlobUnknown { digests: missing });
        }
        manifests::insert_missing_blobs(tx, repository, manifest, &missing).await?;
    }
    let ids: Vec<_> = present.iter().map(|blob| blob.id).collect();
    manifests::insert_blob_references(tx, repository, manifest, &ids).await?;
    Ok(missing.len())
}
