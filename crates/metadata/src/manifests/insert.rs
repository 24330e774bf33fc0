//! The push of a manifest: its row, and its references to blobs.

use crate::columns::signed;
use crate::repositories::ATTEMPTS;
use crate::statements::statement;
use crate::{BlobId, Error, ManifestId, RepositoryId};
use portolan_oci::{Digest, Manifest, ManifestKind, MediaType, Platform};
use portolan_pg::{Read as _, Statement, Tx};
use std::collections::BTreeMap;

/// What is kept of a manifest beside its bytes: what lists and pages show without reading them.
#[derive(Debug, Clone)]
pub struct NewManifest {
    /// Its digest.
    pub digest: Digest,
    /// Which of the media types it is.
    pub kind: ManifestKind,
    /// Bytes of the payload.
    pub payload_size: u64,
    /// Bytes of the config and the layers together, as declared.
    pub size_total: u64,
    /// How many layers it has.
    pub layer_count: usize,
    /// What it is about.
    pub subject: Option<Digest>,
    /// What the referrers list filters by.
    pub artifact_type: Option<MediaType>,
    /// Its config, if it is no index.
    pub config: Option<(Digest, MediaType)>,
    /// What an image runs on, where its config has been read.
    pub platform: Option<Platform>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

impl NewManifest {
    /// From the parsed manifest; without a platform, which only the config tells.
    pub fn of(manifest: &Manifest, digest: Digest, payload_size: u64) -> Self {
        Self {
            digest,
            kind: manifest.kind(),
            payload_size,
            size_total: if manifest.kind().is_index() {
                0
            } else {
                manifest.size_total()
            },
            layer_count: manifest.layers().len(),
            subject: manifest.subject().map(|subject| subject.digest),
            artifact_type: manifest.referrer_artifact_type().cloned(),
            config: manifest
                .config()
                .map(|config| (config.digest, config.media_type.clone())),
            platform: None,
            annotations: manifest.annotations().clone(),
        }
    }
}

/// The longest operating system or architecture that is kept for showing; real ones have under 20 bytes.
const PLATFORM_TEXT_MAX: usize = 64;

/// A word of a platform as a text column can hold it; it is only shown, so what cannot be a word is left out.
pub(super) fn platform_word(word: &str) -> Option<&str> {
    (!word.is_empty() && word.len() <= PLATFORM_TEXT_MAX && !word.contains(char::is_control))
        .then_some(word)
}

pub(super) static INSERT: Statement = statement!(
    "manifests.insert",
    [
        INT8, BYTEA, TEXT, INT4, INT8, INT4, BYTEA, TEXT, BYTEA, TEXT, TEXT, TEXT, TEXT, TEXT
    ],
    "INSERT INTO manifest (
         repository_id, digest, media_type_id, payload_size, size_total, layer_count,
         subject_digest, artifact_type, config_digest, config_media_type, os, architecture, variant, annotations
     )
     VALUES (
         $1, $2, (SELECT media_type.id FROM media_type WHERE media_type.name = $3), $4, $5, $6,
         $7, $8, $9, $10, $11, $12, $13, $14::json
     )
     ON CONFLICT (repository_id, digest) DO NOTHING
     RETURNING id",
);

pub(super) static LOCK_ONE: Statement = statement!(
    "manifests.lock",
    [INT8, BYTEA],
    "SELECT manifest.id FROM manifest
     WHERE manifest.repository_id = $1 AND manifest.digest = $2
     FOR KEY SHARE",
);

/// Makes a manifest, or locks the one that is there.
///
/// Insert and select are two statements: one that had to wait for another's insert returns nothing.
pub async fn insert(
    tx: &Tx,
    repository: RepositoryId,
    new: &NewManifest,
) -> Result<ManifestId, Error> {
    let decoding = Error::decoding("manifest");
    let digest = new.digest.as_bytes();
    let media_type = new.kind.media_type();
    let payload_size = i32::try_from(new.payload_size).unwrap_or(i32::MAX);
    let layer_count = i32::try_from(new.layer_count).unwrap_or(i32::MAX);
    let subject = new.subject.as_ref().map(Digest::as_bytes);
    let artifact_type = new.artifact_type.as_ref().map(MediaType::as_str);
    let config_digest = new.config.as_ref().map(|(digest, _)| digest.as_bytes());
    let config_type = new
        .config
        .as_ref()
        .map(|(_, media_type)| media_type.as_str());
    let platform = new.platform.as_ref();
    let os = platform.and_then(|platform| platform_word(&platform.os));
    let architecture = platform.and_then(|platform| platform_word(&platform.architecture));
    let variant = platform
        .and_then(|platform| platform.variant.as_deref())
        .and_then(platform_word);
    let annotations = (!new.annotations.is_empty())
        .then(|| serde_json::to_string(&new.annotations).expect("a map of texts is always JSON"));
    for _ in 0..ATTEMPTS {
        let made = tx
            .query_opt(
                &INSERT,
                &[
                    &repository,
                    &digest,
                    &media_type.as_str(),
                    &payload_size,
                    &signed(new.size_total),
                    &layer_count,
                    &subject,
                    &artifact_type,
                    &config_digest,
                    &config_type,
                    &os,
                    &architecture,
                    &variant,
                    &annotations,
                ],
            )
            .await?;
        let found = match made {
            Some(row) => Some(row),
            None => tx.query_opt(&LOCK_ONE, &[&repository, &digest]).await?,
        };
        if let Some(row) = found {
            return row.try_get(0).map_err(decoding);
        }
    }
    Err(Error::Contended { table: "manifest" })
}

pub(super) static INSERT_REFERENCES: Statement = statement!(
    "manifests.insert_blob_references",
    [INT8, INT8, INT8_ARRAY],
    "INSERT INTO manifest_blob (repository_id, blob_id, manifest_id)
     SELECT $1, k.blob_id, $2 FROM unnest($3) AS k(blob_id)
     ORDER BY k.blob_id
     ON CONFLICT DO NOTHING",
);

/// Notes which blobs a manifest needs; those of a manifest that is there already stand already.
pub async fn insert_blob_references(
    tx: &Tx,
    repository: RepositoryId,
    manifest: ManifestId,
    blobs: &[BlobId],
) -> Result<(), Error> {
    tx.execute(&INSERT_REFERENCES, &[&repository, &manifest, &blobs])
        .await?;
    Ok(())
}

pub(super) static INSERT_MISSING: Statement = statement!(
    "manifests.insert_missing_blobs",
    [INT8, INT8, BYTEA_ARRAY],
    "INSERT INTO manifest_missing_blob (repository_id, manifest_id, digest)
     SELECT $1, $2, k.digest FROM unnest($3) AS k(digest)
     ORDER BY k.digest
     ON CONFLICT DO NOTHING",
);

/// Notes which blobs a manifest names that its repository does not have; they become references when they come.
pub async fn insert_missing_blobs(
    tx: &Tx,
    repository: RepositoryId,
    manifest: ManifestId,
    digests: &[Digest],
) -> Result<(), Error> {
    let digests: Vec<&[u8]> = digests.iter().map(Digest::as_bytes).collect();
    tx.execute(&INSERT_MISSING, &[&repository, &manifest, &digests])
        .await?;
    Ok(())
}
