//! A pointer from a manifest to content.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::json::{self, WrongType};
use crate::media_type::{
    BUILDKIT_CACHE_CONFIG, DOCKER_FOREIGN_PREFIX, DOCKER_LAYER_PREFIX, OCI_LAYER_PREFIX,
    OCI_NONDISTRIBUTABLE_PREFIX,
};
use crate::{DescriptorError, Digest, MediaType, Platform};

/// The largest size of content. It is an `int64` in the specification and a `bigint` in the database.
pub(crate) const MAX_SIZE: u64 = i64::MAX.unsigned_abs();

/// A content descriptor: what something is, its digest and its size.
///
/// <https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md#properties>
///
/// `data`, the content itself in base 64, is not read: the stored bytes keep it for the client, who has
/// to verify it anyway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// What the content is.
    pub media_type: MediaType,
    /// The hash of the content.
    pub digest: Digest,
    /// The size of the content in bytes, at most 2^63 - 1. It is the manifest's word, not a fact.
    pub size: u64,
    /// Where the content may be fetched from. Hostile, and never fetched by us.
    pub urls: Vec<String>,
    /// What else is said about it.
    pub annotations: BTreeMap<String, String>,
    /// What a manifest pointed to is for.
    pub artifact_type: Option<MediaType>,
    /// What a child of an index runs on.
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// Whether a registry is expected to hold the content.
    ///
    /// Layers that may not be distributed are "typically downloaded directly from a distributor but
    /// never uploaded". Only the media type says so: "the presence of the `urls` field SHOULD NOT be
    /// used to determine whether or not a layer is non-distributable".
    /// <https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#non-distributable-layers>
    pub fn is_distributable(&self) -> bool {
        let media_type = self.media_type.as_str();
        !media_type.starts_with(OCI_NONDISTRIBUTABLE_PREFIX)
            && !media_type.starts_with(DOCKER_FOREIGN_PREFIX)
    }

    /// Whether an entry of an index points to a blob, going by its media type.
    ///
    /// `BuildKit` exports a build cache as an index whose `manifests` are layers and a
    /// configuration, all pushed as blobs. distribution takes it, many registries do not, and their
    /// users complain: <https://github.com/moby/buildkit/issues/2251>. Any other type, the unknown ones
    /// included, is a manifest: "An encountered `mediaType` that is unknown to the implementation MUST
    /// NOT generate an error."
    pub(crate) fn is_blob_in_index(&self) -> bool {
        let media_type = self.media_type.as_str();
        media_type.starts_with(OCI_LAYER_PREFIX)
            || media_type.starts_with(DOCKER_LAYER_PREFIX)
            || media_type == BUILDKIT_CACHE_CONFIG
    }

    /// Reads a descriptor of text that [`json::check`] has passed.
    pub(crate) fn read(value: &RawValue) -> Result<Self, DescriptorError> {
        let [
            media_type,
            digest,
            size,
            urls,
            annotations,
            artifact_type,
            platform,
        ] = json::pick(
            value,
            &[
                "mediaType",
                "digest",
                "size",
                "urls",
                "annotations",
                "artifactType",
                "platform",
            ],
        )?;
        let required =
            |value, member| json::present(value).ok_or(DescriptorError::Missing { member });
        Ok(Self {
            media_type: text(required(media_type, "mediaType")?, "mediaType")?
                .parse()
                .map_err(DescriptorError::MediaType)?,
            digest: text(required(digest, "digest")?, "digest")?
                .parse()
                .map_err(DescriptorError::Digest)?,
            size: read_size(required(size, "size")?)?,
            urls: read_texts(urls, "urls")?,
            annotations: read_annotations(annotations)
                .map_err(|BadAnnotations| DescriptorError::Annotations)?,
            artifact_type: read_artifact_type(artifact_type)?,
            platform: json::present(platform).map(read_platform).transpose()?,
        })
    }
}

fn text(value: &RawValue, member: &'static str) -> Result<String, DescriptorError> {
    json::string(value).map_err(|WrongType| DescriptorError::WrongType { member })
}

fn read_size(value: &RawValue) -> Result<u64, DescriptorError> {
    json::unsigned(value)
        .ok()
        .filter(|size| *size <= MAX_SIZE)
        .ok_or(DescriptorError::Size)
}

/// An empty one counts as absent: Go clients write it so, and the distribution specification says "empty
/// or missing" where it speaks of a manifest's.
fn read_artifact_type(value: Option<&RawValue>) -> Result<Option<MediaType>, DescriptorError> {
    match json::present(value)
        .map(|value| text(value, "artifactType"))
        .transpose()?
    {
        Some(text) if !text.is_empty() => text
            .parse()
            .map(Some)
            .map_err(DescriptorError::ArtifactType),
        _ => Ok(None),
    }
}

fn read_texts(
    value: Option<&RawValue>,
    member: &'static str,
) -> Result<Vec<String>, DescriptorError> {
    let mut texts = Vec::new();
    if let Some(value) = json::present(value) {
        let walked = json::each_element(value, |element| {
            json::string(element).map(|text| texts.push(text))
        });
        walked.map_err(|_| DescriptorError::WrongType { member })?;
    }
    Ok(texts)
}

/// Reads annotations: "both the key and value MUST be strings", "keys MUST be unique within this map".
/// <https://github.com/opencontainers/image-spec/blob/v1.1.1/annotations.md#rules>
///
/// A `null` value is read as empty text, because Go's decoder reads it so and pushes with it succeed at
/// every Go registry. A number or anything else is refused, as they do. A key that is there twice is
/// refused, too: readers disagree about which one counts.
pub(crate) fn read_annotations(
    value: Option<&RawValue>,
) -> Result<BTreeMap<String, String>, BadAnnotations> {
    let mut annotations = BTreeMap::new();
    let Some(value) = json::present(value) else {
        return Ok(annotations);
    };
    let walked = json::each_member(value, |key, value| {
        let text = match json::present(Some(value)) {
            Some(value) => json::string(value).map_err(|WrongType| BadAnnotations)?,
            None => String::new(),
        };
        match annotations.insert(key.to_owned(), text) {
            None => Ok(()),
            Some(_) => Err(BadAnnotations),
        }
    });
    walked.map(|()| annotations).map_err(|_| BadAnnotations)
}

/// Annotations are not a map of unique keys to strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadAnnotations;

fn read_platform(value: &RawValue) -> Result<Platform, DescriptorError> {
    let picked = json::pick(
        value,
        &["architecture", "os", "os.version", "os.features", "variant"],
    );
    let [architecture, os, os_version, os_features, variant] =
        picked.map_err(|_| DescriptorError::WrongType { member: "platform" })?;
    let optional = |value, member| -> Result<Option<String>, DescriptorError> {
        let found = json::present(value)
            .map(|value| text(value, member))
            .transpose()?;
        Ok(found.filter(|text| !text.is_empty()))
    };
    Ok(Platform {
        architecture: optional(architecture, "platform.architecture")?.unwrap_or_default(),
        os: optional(os, "platform.os")?.unwrap_or_default(),
        os_version: optional(os_version, "platform.os.version")?,
        os_features: read_texts(os_features, "platform.os.features")?,
        variant: optional(variant, "platform.variant")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DigestError, MediaTypeError};

    const HEX: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn read(members: &str) -> Result<Descriptor, DescriptorError> {
        let text = members.replace("HEX", &format!("sha256:{HEX}"));
        Descriptor::read(json::check(&text).unwrap())
    }

    #[test]
    fn every_member_is_read() {
        let descriptor = read(
            r#"{"mediaType":"a/b","digest":"HEX","size":2,"urls":["https://x"],"annotations":{"k":"v","n":null},
                "artifactType":"c/d","data":"e30=","x":1,
                "platform":{"architecture":"arm64","os":"linux","variant":"v8","os.version":"1","os.features":["f"]}}"#,
        )
        .unwrap();
        let platform = Platform {
            architecture: "arm64".to_owned(),
            os: "linux".to_owned(),
            os_version: Some("1".to_owned()),
            os_features: vec!["f".to_owned()],
            variant: Some("v8".to_owned()),
        };
        assert_eq!(
            descriptor,
            Descriptor {
                media_type: "a/b".parse().unwrap(),
                digest: Digest::sha256(b"{}"),
                size: 2,
                urls: vec!["https://x".to_owned()],
                annotations: [("k", "v"), ("n", "")]
                    .map(|(k, v)| (k.to_owned(), v.to_owned()))
                    .into(),
                artifact_type: Some("c/d".parse().unwrap()),
                platform: Some(platform),
            }
        );
    }

    #[test]
    fn sloppy_clients_are_understood() {
        let sloppy = read(
            r#"{"mediaType":"a/b","digest":"HEX","size":0,"urls":null,"annotations":null,"artifactType":"",
                "platform":{"variant":""},"data":17}"#,
        )
        .unwrap();
        assert_eq!(sloppy.artifact_type, None);
        assert_eq!(sloppy.platform, Some(Platform::default()));
    }

    #[test]
    fn wrong_members_are_named() {
        let wrong = |member| DescriptorError::WrongType { member };
        for (members, error) in [
            ("[]", DescriptorError::NotAnObject),
            ("null", DescriptorError::NotAnObject),
            (
                r#"{"digest":"HEX","size":2}"#,
                DescriptorError::Missing {
                    member: "mediaType",
                },
            ),
            (
                r#"{"mediaType":"a/b","digest":null,"size":2}"#,
                DescriptorError::Missing { member: "digest" },
            ),
            (
                r#"{"mediaType":"a/b","digest":"HEX"}"#,
                DescriptorError::Missing { member: "size" },
            ),
            (
                r#"{"mediaType":"a/b","digest":"HEX","size":1,"size":2}"#,
                DescriptorError::Duplicate { member: "size" },
            ),
            (
                r#"{"mediaType":"a/b","digest":"HEX","size":1,"Size":2}"#,
                DescriptorError::LookAlike { member: "size" },
            ),
            (
                r#"{"mediaType":1,"digest":"HEX","size":2}"#,
                wrong("mediaType"),
            ),
            (
                r#"{"mediaType":"","digest":"HEX","size":2}"#,
                DescriptorError::MediaType(MediaTypeError::Empty),
            ),
            (
                r#"{"mediaType":"a/b","digest":"x","size":2}"#,
                DescriptorError::Digest(DigestError::NoSeparator),
            ),
            (
                r#"{"mediaType":"a/b","digest":"HEX","size":-1}"#,
                DescriptorError::Size,
            ),
            (
                r#"{"mediaType":"a/b","digest":"HEX","size":"1"}"#,
                DescriptorError::Size,
            ),
            (
                r#"{"mediaType":"a/b","digest":"HEX","size":1.0}"#,
                DescriptorError::Size,
            ),
            (
                r#"{"mediaType":"a/b","digest":"HEX","size":9223372036854775808}"#,
                DescriptorError::Size,
            ),
            (
                r#"{"mediaType":"a/b","digest":"HEX","size":1,"urls":[1]}"#,
                wrong("urls"),
            ),
            (
                r#"{"mediaType":"a/b","digest":"HEX","size":1,"annotations":{"a":1}}"#,
                DescriptorError::Annotations,
            ),
            (
                r#"{"mediaType":"a/b","digest":"HEX","size":1,"annotations":{"a":"","a":""}}"#,
                DescriptorError::Annotations,
            ),
            (
                r#"{"mediaType":"a/b","digest":"HEX","size":1,"platform":"linux"}"#,
                wrong("platform"),
            ),
            (
                r#"{"mediaType":"a/b","digest":"HEX","size":1,"platform":{"os":1}}"#,
                wrong("platform.os"),
            ),
            (
                r#"{"mediaType":"a/b","digest":"HEX","size":1,"artifactType":"x"}"#,
                DescriptorError::ArtifactType(MediaTypeError::NoSlash),
            ),
        ] {
            assert_eq!(read(members), Err(error), "{members}");
        }
    }

    #[test]
    fn media_type_alone_says_what_is_not_distributed() {
        for (media_type, distributable) in [
            ("application/vnd.oci.image.layer.v1.tar+gzip", true),
            (
                "application/vnd.oci.image.layer.nondistributable.v1.tar",
                false,
            ),
            (
                "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
                false,
            ),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", true),
            (
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                false,
            ),
        ] {
            let members = format!(
                r#"{{"mediaType":"{media_type}","digest":"HEX","size":1,"urls":["https://x"]}}"#
            );
            assert_eq!(
                read(&members).unwrap().is_distributable(),
                distributable,
                "{media_type}"
            );
        }
    }
}
