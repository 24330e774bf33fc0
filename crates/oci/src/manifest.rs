//! What a registry has to know of a manifest. The bytes stay as they came; this is the view beside them.

use std::collections::{BTreeMap, BTreeSet};

use crate::descriptor::MAX_SIZE;
use crate::manifest_reader;
use crate::{Descriptor, Digest, ManifestError, ManifestKind, MediaType};

/// A manifest, parsed.
///
/// What it points to falls into three sets: blobs ([`config`](Self::config) and
/// [`layers`](Self::layers)), manifests ([`children`](Self::children)), and the one manifest it is about
/// ([`subject`](Self::subject)), which need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub(crate) kind: ManifestKind,
    pub(crate) artifact_type: Option<MediaType>,
    pub(crate) config: Option<Descriptor>,
    pub(crate) layers: Vec<Descriptor>,
    pub(crate) children: Vec<Descriptor>,
    pub(crate) subject: Option<Descriptor>,
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// The longest manifest, in bytes: containerd reads no longer one (4 x 1048 x 1048), so a longer one
    /// could be pushed and never pulled. The configured limit lies below.
    pub const MAX_LENGTH: usize = 4 * 1048 * 1048;

    /// The most layers, and the most children, of one manifest. Each is a row written and a row locked in
    /// the transaction of the push. Images stop at 127 layers; artifacts of one layer per file reach
    /// hundreds, and a list of builds as many. 4 MiB would hold some 35,000.
    pub const MAX_ENTRIES: usize = 10_000;

    /// Parses a pushed document. `content_type` is what the request says it is, without parameters.
    ///
    /// The document's form is decided by its media type: the request's if there is one, which a
    /// `mediaType` member must then equal, else the member. A document that could be read as more than
    /// one form is refused. Members that are unknown are ignored, as the image specification demands of
    /// whoever stores manifests; known ones must be what it says. Time and memory are bounded by the
    /// length, which is bounded by [`MAX_LENGTH`](Self::MAX_LENGTH).
    ///
    /// # Errors
    /// See [`ManifestError`]: one variant per fact.
    pub fn parse(payload: &[u8], content_type: Option<&MediaType>) -> Result<Self, ManifestError> {
        let manifest = manifest_reader::read(payload, content_type)?;
        match manifest.sum_of_sizes() {
            Some(_) => Ok(manifest),
            None => Err(ManifestError::TotalSize),
        }
    }

    /// Its form.
    pub const fn kind(&self) -> ManifestKind {
        self.kind
    }

    /// The media type that it is served as.
    pub const fn media_type(&self) -> MediaType {
        self.kind.media_type()
    }

    /// What it says to be for, in its own `artifactType`.
    pub const fn artifact_type(&self) -> Option<&MediaType> {
        self.artifact_type.as_ref()
    }

    /// What the list of referrers says it is for: "If the `artifactType` is empty or missing in a pushed
    /// image manifest, the value of `artifactType` MUST be set to the config descriptor `mediaType`."
    /// An index has no config and so none.
    /// <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers>
    pub fn referrer_artifact_type(&self) -> Option<&MediaType> {
        self.artifact_type
            .as_ref()
            .or(self.config.as_ref().map(|config| &config.media_type))
    }

    /// The configuration: an image has one, an index none.
    pub const fn config(&self) -> Option<&Descriptor> {
        self.config.as_ref()
    }

    /// The layers of an image, in order; of an index the blobs that it lists, which it should not, but
    /// build caches do.
    pub fn layers(&self) -> &[Descriptor] {
        &self.layers
    }

    /// The manifests that an index lists, in order.
    pub fn children(&self) -> &[Descriptor] {
        &self.children
    }

    /// The manifest that this one is about.
    pub const fn subject(&self) -> Option<&Descriptor> {
        self.subject.as_ref()
    }

    /// What else is said of it.
    pub const fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }

    /// The blobs that must be in the repository before the manifest: config and layers, each once, in
    /// the order of digests in which they are locked. Layers that may not be distributed are not among
    /// them, as nobody uploads them.
    pub fn required_blobs(&self) -> Vec<Digest> {
        let blobs = self
            .config
            .iter()
            .chain(&self.layers)
            .filter(|blob| blob.is_distributable());
        let distinct: BTreeSet<Digest> = blobs.map(|blob| blob.digest).collect();
        distinct.into_iter().collect()
    }

    /// How many bytes a client fetches for it beside the manifest: config and layers, each once however
    /// often it is listed, as the manifest states their sizes. At most 2^63 - 1.
    pub fn size_total(&self) -> u64 {
        self.sum_of_sizes().unwrap_or(MAX_SIZE)
    }

    fn sum_of_sizes(&self) -> Option<u64> {
        let blobs = self.config.iter().chain(&self.layers);
        let distinct: BTreeMap<Digest, u64> = blobs.map(|blob| (blob.digest, blob.size)).collect();
        let sum = distinct.into_values().try_fold(0_u64, u64::checked_add)?;
        (sum <= MAX_SIZE).then_some(sum)
    }
}
