//! Media types: what content says it is.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::text::serde_as_text;

/// An OCI image manifest.
pub const OCI_IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// A Docker image manifest, schema 2.
pub const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// A Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// A Docker image manifest, schema 1, unsigned: refused.
pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
/// A Docker image manifest, schema 1, signed: refused.
pub const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
/// The configuration of an OCI image.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The content `{}`, where a descriptor is required and nothing is to be said.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// A layer, as a tar archive.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// A layer, compressed with gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// A layer, compressed with zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// The configuration of a Docker image.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// A Docker layer.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// A Docker layer that is fetched from its publisher (Windows base images).
pub const DOCKER_FOREIGN_LAYER_GZIP: &str =
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
/// What every blob is served as.
pub const OCTET_STREAM: &str = "application/octet-stream";

/// What every OCI layer type begins with, those that may not be distributed included.
pub(crate) const OCI_LAYER_PREFIX: &str = "application/vnd.oci.image.layer.";
/// What the OCI layer types begin with that may not be distributed (tar, +gzip, +zstd).
pub(crate) const OCI_NONDISTRIBUTABLE_PREFIX: &str =
    "application/vnd.oci.image.layer.nondistributable.";
/// What every Docker layer type begins with, foreign ones included.
pub(crate) const DOCKER_LAYER_PREFIX: &str = "application/vnd.docker.image.rootfs.";
/// What the Docker layer types begin with that are fetched elsewhere.
pub(crate) const DOCKER_FOREIGN_PREFIX: &str = "application/vnd.docker.image.rootfs.foreign.";
/// The configuration of a build cache, which `BuildKit` lists in an index beside its layers.
pub(crate) const BUILDKIT_CACHE_CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";

/// The types held without an allocation, because nearly every descriptor has one of them.
const KNOWN: [&str; 14] = [
    OCI_IMAGE,
    OCI_INDEX,
    DOCKER_IMAGE,
    DOCKER_LIST,
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_FOREIGN_LAYER_GZIP,
    OCTET_STREAM,
    BUILDKIT_CACHE_CONFIG,
];

/// A media type: `application/vnd.oci.image.manifest.v1+json`.
///
/// ```text
/// media-type            ::= restricted-name "/" restricted-name parameters?
/// restricted-name       ::= restricted-name-first restricted-name-chars{0,126}
/// restricted-name-first ::= [A-Za-z0-9]
/// restricted-name-chars ::= [A-Za-z0-9!#$&^_.+-]
/// parameters            ::= OWS ";" [ -~]*
/// ```
/// <https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md#properties>,
/// <https://www.rfc-editor.org/rfc/rfc6838#section-4.2>
///
/// The image specification has no parameters. They are kept all the same where a manifest writes them:
/// Sigstore's first bundles are `application/vnd.dev.sigstore.bundle+json;version=0.2`, as
/// `artifactType` and as the type of a layer, and they are pushed to registries
/// (<https://github.com/sigstore/protobuf-specs/issues/165>). From a header they are stripped:
/// [`from_content_type`](Self::from_content_type).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaType(Cow<'static, str>);

impl MediaType {
    /// The longest media type, in bytes: two names of 127 and the slash.
    pub const MAX_LENGTH: usize = 255;

    /// A type that is known to be one.
    pub(crate) const fn known(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// Reads a `Content-Type` or one element of `Accept`: parameters are dropped, and the case of the
    /// letters, which HTTP says does not matter, is lowered.
    ///
    /// "The registry SHOULD ignore parameters on the `Content-Type` header."
    /// <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests>,
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-8.3.1>
    pub fn from_content_type(header: &str) -> Result<Self, MediaTypeError> {
        let essence = header
            .split_once(';')
            .map_or(header, |(essence, _)| essence);
        essence
            .trim_matches([' ', '\t'])
            .to_ascii_lowercase()
            .parse()
    }

    /// The type as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MediaType {
    type Err = MediaTypeError;

    fn from_str(text: &str) -> Result<Self, MediaTypeError> {
        if let Some(known) = KNOWN.iter().find(|known| **known == text) {
            return Ok(Self::known(known));
        }
        if text.is_empty() {
            return Err(MediaTypeError::Empty);
        }
        if text.len() > Self::MAX_LENGTH {
            return Err(MediaTypeError::TooLong { length: text.len() });
        }
        let (essence, parameters) = match text.split_once(';') {
            Some((essence, parameters)) => (essence.trim_end_matches(' '), parameters),
            None => (text, ""),
        };
        let (kind, subtype) = essence.split_once('/').ok_or(MediaTypeError::NoSlash)?;
        if !is_restricted_name(kind) || !is_restricted_name(subtype) {
            return Err(MediaTypeError::Name);
        }
        if !parameters.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(MediaTypeError::Parameters);
        }
        Ok(Self(Cow::Owned(text.to_owned())))
    }
}

/// Whether it is a `restricted-name` of RFC 6838 section 4.2.
fn is_restricted_name(name: &str) -> bool {
    let is_char = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte);
    name.len() <= 127
        && name
            .as_bytes()
            .first()
            .is_some_and(u8::is_ascii_alphanumeric)
        && name.bytes().all(is_char)
}

impl PartialEq<str> for MediaType {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MediaType({self})")
    }
}

serde_as_text!(MediaType);

/// Why a text is not a [`MediaType`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaTypeError {
    /// Nothing was given.
    #[error("media type is empty")]
    Empty,
    /// It is too long.
    #[error(
        "media type is {length} bytes long, at most {} are allowed",
        MediaType::MAX_LENGTH
    )]
    TooLong {
        /// The length found, in bytes.
        length: usize,
    },
    /// There is no slash.
    #[error("media type has no `/` between type and subtype")]
    NoSlash,
    /// Type or subtype breaks RFC 6838.
    #[error("type and subtype of a media type must be letters, digits and `!#$&-^_.+`")]
    Name,
    /// A parameter has a character that is not printable.
    #[error("parameters of a media type must be printable ASCII")]
    Parameters,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar_is_that_of_rfc_6838() {
        let longest = format!("{}/{}", "a".repeat(127), "b".repeat(127));
        for text in [
            OCI_IMAGE,
            "a/b",
            "text/plain",
            "application/vnd.example.X+json",
            longest.as_str(),
            "application/vnd.dev.sigstore.bundle+json;version=0.2",
            "a/b ; c=\"d e\"",
        ] {
            assert_eq!(text.parse::<MediaType>().unwrap().as_str(), text);
        }
        for (text, error) in [
            ("", MediaTypeError::Empty),
            ("json", MediaTypeError::NoSlash),
            ("/json", MediaTypeError::Name),
            ("application/", MediaTypeError::Name),
            ("a/b/c", MediaTypeError::Name),
            ("a/*", MediaTypeError::Name),
            (" a/b", MediaTypeError::Name),
            ("a/b ", MediaTypeError::Name),
            ("+a/b", MediaTypeError::Name),
            ("a/b\0", MediaTypeError::Name),
            ("a/\u{e9}", MediaTypeError::Name),
            ("a/b;\r\nx: y", MediaTypeError::Parameters),
            (";a=b", MediaTypeError::NoSlash),
            (&format!("{}/b", "a".repeat(128)), MediaTypeError::Name),
            (
                &format!("{longest};"),
                MediaTypeError::TooLong { length: 256 },
            ),
        ] {
            assert_eq!(text.parse::<MediaType>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn header_loses_parameters_and_case() {
        for header in [
            OCI_IMAGE,
            "Application/VND.oci.image.manifest.v1+JSON ; charset=utf-8",
        ] {
            assert_eq!(
                MediaType::from_content_type(header).unwrap().as_str(),
                OCI_IMAGE
            );
        }
        assert_eq!(
            MediaType::from_content_type("; charset=utf-8"),
            Err(MediaTypeError::Empty)
        );
    }
}
