//! Content to push: blobs, images, indexes and artifacts, small and made from a seed.
//!
//! Manifests are written as text by hand and not by the crate under test, so that a test compares
//! what clients really send with what comes back.

use bytes::Bytes;
use portolan_oci::{Algorithm, Digest, media_type};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

/// Bytes and their digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// The digest that the bytes have.
    pub digest: Digest,
    /// The bytes.
    pub content: Bytes,
}

impl Blob {
    /// A blob named by its sha256.
    pub fn new(content: impl Into<Bytes>) -> Self {
        Self::hashed(Algorithm::Sha256, content)
    }

    /// A blob named by another algorithm.
    pub fn hashed(algorithm: Algorithm, content: impl Into<Bytes>) -> Self {
        let content = content.into();
        Self {
            digest: Digest::of(algorithm, &content),
            content,
        }
    }

    /// `size` bytes that no compressor makes smaller, the same for the same seed.
    pub fn random(seed: u64, size: usize) -> Self {
        let mut content = vec![0; size];
        StdRng::seed_from_u64(seed).fill_bytes(&mut content);
        Self::new(content)
    }

    /// How a manifest names it.
    pub fn descriptor(&self, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": self.digest, "size": self.content.len() })
    }
}

/// A manifest as it is pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFile {
    /// What it is sent as.
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its bytes.
    pub payload: Bytes,
}

impl ManifestFile {
    /// These bytes, whatever they are.
    pub fn new(media_type: &str, payload: impl Into<Bytes>) -> Self {
        let payload = payload.into();
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::sha256(&payload),
            payload,
        }
    }

    /// A JSON document; its `mediaType` is what it is sent as.
    pub fn of(document: &Value) -> Self {
        let media_type = document["mediaType"]
            .as_str()
            .expect("a manifest with a media type");
        Self::new(
            media_type,
            serde_json::to_vec_pretty(document).expect("JSON can be written"),
        )
    }

    /// An index of these manifests.
    pub fn index(children: &[Self]) -> Self {
        Self::list(media_type::OCI_INDEX, children)
    }

    /// A Docker manifest list of these manifests.
    pub fn docker_list(children: &[Self]) -> Self {
        Self::list(media_type::DOCKER_LIST, children)
    }

    fn list(media_type: &str, children: &[Self]) -> Self {
        let manifests: Vec<Value> = children.iter().map(Self::descriptor).collect();
        Self::of(&json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "manifests": manifests,
        }))
    }

    /// How an index or a `subject` names it.
    pub fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.payload.len() })
    }

    /// The same bytes named by another algorithm.
    #[must_use]
    pub fn hashed(mut self, algorithm: Algorithm) -> Self {
        self.digest = Digest::of(algorithm, &self.payload);
        self
    }
}

/// An image or artifact with everything it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The configuration.
    pub config: Blob,
    /// The layers.
    pub layers: Vec<Blob>,
    /// The manifest that names them.
    pub manifest: ManifestFile,
}

impl Image {
    /// A small OCI image of two layers, another one for every seed.
    pub fn random(seed: u64) -> Self {
        let (config, layers) = parts(seed);
        let document = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_IMAGE,
            "config": config.descriptor(media_type::OCI_CONFIG),
            "layers": descriptors(&layers, media_type::OCI_LAYER_GZIP),
        });
        Self {
            config,
            layers,
            manifest: ManifestFile::of(&document),
        }
    }

    /// The same in Docker's types.
    pub fn docker(seed: u64) -> Self {
        let (config, layers) = parts(seed);
        let document = json!({
            "schemaVersion": 2,
            "mediaType": media_type::DOCKER_IMAGE,
            "config": config.descriptor(media_type::DOCKER_CONFIG),
            "layers": descriptors(&layers, media_type::DOCKER_LAYER_GZIP),
        });
        Self {
            config,
            layers,
            manifest: ManifestFile::of(&document),
        }
    }

    /// An artifact about `subject`, with the empty config.
    pub fn artifact(artifact_type: &str, seed: u64, subject: Option<&ManifestFile>) -> Self {
        let config = Blob::new("{}");
        let layers = vec![Blob::random(seed, 64)];
        let mut document = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_IMAGE,
            "artifactType": artifact_type,
            "config": config.descriptor(media_type::OCI_EMPTY),
            "layers": descriptors(&layers, "application/vnd.example.data"),
            "annotations": { "org.example.seed": seed.to_string() },
        });
        if let Some(subject) = subject {
            document["subject"] = subject.descriptor();
        }
        Self {
            config,
            layers,
            manifest: ManifestFile::of(&document),
        }
    }

    /// Everything that must be there before the manifest.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        std::iter::once(&self.config).chain(&self.layers)
    }
}

fn parts(seed: u64) -> (Blob, Vec<Blob>) {
    let layers = vec![
        Blob::random(seed.wrapping_mul(2), 1024),
        Blob::random(seed.wrapping_mul(2).wrapping_add(1), 2048),
    ];
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Labels": { "seed": seed.to_string() } },
        "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|layer| layer.digest).collect::<Vec<_>>() },
    });
    (Blob::new(config.to_string()), layers)
}

fn descriptors(blobs: &[Blob], media_type: &str) -> Vec<Value> {
    blobs
        .iter()
        .map(|blob| blob.descriptor(media_type))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Image, ManifestFile};
    use portolan_oci::{Manifest, MediaType};

    #[test]
    fn what_is_made_here_can_be_read_by_the_registry() {
        let image = Image::random(1);
        let artifact = Image::artifact("application/vnd.example.sbom", 2, Some(&image.manifest));
        let index = ManifestFile::index(&[image.manifest.clone(), Image::docker(3).manifest]);
        for manifest in [&image.manifest, &artifact.manifest, &index] {
            let media_type: MediaType = manifest.media_type.parse().unwrap();
            Manifest::parse(&manifest.payload, Some(&media_type)).unwrap();
        }
        assert_eq!(image, Image::random(1));
        assert_ne!(image, Image::random(4));
    }
}
