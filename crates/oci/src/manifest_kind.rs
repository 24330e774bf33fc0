//! The four forms of a manifest that are stored.

use crate::MediaType;
use crate::media_type::{DOCKER_IMAGE, DOCKER_LIST, OCI_IMAGE, OCI_INDEX};

/// The form of a manifest, decided by its media type and never by its looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ManifestKind {
    /// <https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md>
    OciImage,
    /// <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md>
    OciIndex,
    /// <https://github.com/distribution/distribution/blob/v2.8.3/docs/spec/manifest-v2-2.md#image-manifest>
    DockerImage,
    /// <https://github.com/distribution/distribution/blob/v2.8.3/docs/spec/manifest-v2-2.md#manifest-list>
    DockerList,
}

impl ManifestKind {
    /// The kind that a media type names, if it names one that is stored.
    pub fn from_media_type(media_type: &MediaType) -> Option<Self> {
        match media_type.as_str() {
            OCI_IMAGE => Some(Self::OciImage),
            OCI_INDEX => Some(Self::OciIndex),
            DOCKER_IMAGE => Some(Self::DockerImage),
            DOCKER_LIST => Some(Self::DockerList),
            _ => None,
        }
    }

    /// The media type that it is pushed and served as.
    pub const fn media_type(self) -> MediaType {
        MediaType::known(match self {
            Self::OciImage => OCI_IMAGE,
            Self::OciIndex => OCI_INDEX,
            Self::DockerImage => DOCKER_IMAGE,
            Self::DockerList => DOCKER_LIST,
        })
    }

    /// Whether it lists manifests rather than layers.
    pub const fn is_index(self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerList)
    }

    /// Whether the image specification defines it: only then it may have a subject and an artifact type,
    /// and only then it may leave its own media type to the `Content-Type`.
    pub const fn is_oci(self) -> bool {
        matches!(self, Self::OciImage | Self::OciIndex)
    }
}
