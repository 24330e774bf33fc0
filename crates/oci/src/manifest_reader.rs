//! From pushed bytes to a [`Manifest`].

use serde_json::value::RawValue;

use crate::descriptor::{BadAnnotations, read_annotations};
use crate::json::{self, Stopped, WrongType};
use crate::media_type::{DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED};
use crate::{Descriptor, Manifest, ManifestError, ManifestKind, MediaType, Place};

pub(crate) fn read(
    payload: &[u8],
    content_type: Option<&MediaType>,
) -> Result<Manifest, ManifestError> {
    let document = json::check(text(payload)?)?;
    let [
        schema_version,
        media_type,
        artifact_type,
        config,
        layers,
        manifests,
        subject,
        annotations,
        fs_layers,
    ] = json::pick(
        document,
        &[
            "schemaVersion",
            "mediaType",
            "artifactType",
            "config",
            "layers",
            "manifests",
            "subject",
            "annotations",
            "fsLayers",
        ],
    )?;
    check_schema_version(schema_version)?;
    let kind = decide_kind(content_type, media_type)?;

    // The members that belong to another form. Neither an empty list nor an empty object makes them
    // harmless; `null` does, which every reader takes for absent.
    let foreign = if kind.is_index() {
        [
            ("config", config),
            ("layers", layers),
            ("fsLayers", fs_layers),
        ]
    } else {
        [
            ("manifests", manifests),
            ("fsLayers", fs_layers),
            ("fsLayers", None),
        ]
    };
    for (member, value) in foreign {
        if json::present(value).is_some() {
            return Err(ManifestError::Unexpected { kind, member });
        }
    }

    let mut manifest = Manifest {
        kind,
        artifact_type: None,
        config: None,
        layers: Vec::new(),
        children: Vec::new(),
        subject: None,
        // Docker's forms define no annotations, but builders write them there as well.
        annotations: read_annotations(annotations)
            .map_err(|BadAnnotations| ManifestError::Annotations)?,
    };
    if kind.is_index() {
        let listed = read_list(manifests, "manifests", Place::Child)?;
        (manifest.layers, manifest.children) =
            listed.into_iter().partition(Descriptor::is_blob_in_index);
    } else {
        let config = json::present(config).ok_or(ManifestError::Missing { member: "config" })?;
        manifest.config = Some(read_descriptor(config, Place::Config)?);
        manifest.layers = read_list(layers, "layers", Place::Layer)?;
    }
    // Docker's forms know neither: there they are unknown members like any other. A client that puts a
    // subject into one gets no `OCI-Subject` and falls back to the referrers tag.
    if kind.is_oci() {
        manifest.artifact_type = read_artifact_type(artifact_type)?;
        manifest.subject = json::present(subject)
            .map(|value| read_descriptor(value, Place::Subject))
            .transpose()?;
    }
    Ok(manifest)
}

fn text(payload: &[u8]) -> Result<&str, ManifestError> {
    if payload.len() > Manifest::MAX_LENGTH {
        return Err(ManifestError::TooLong {
            length: payload.len(),
        });
    }
    if payload.starts_with(b"\xef\xbb\xbf") {
        return Err(ManifestError::ByteOrderMark);
    }
    std::str::from_utf8(payload).map_err(|error| ManifestError::NotUtf8 {
        valid_up_to: error.valid_up_to(),
    })
}

/// "This REQUIRED property … MUST be `2`."
/// <https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md#image-manifest-property-descriptions>
fn check_schema_version(value: Option<&RawValue>) -> Result<(), ManifestError> {
    let value = json::present(value).ok_or(ManifestError::Missing {
        member: "schemaVersion",
    })?;
    match json::unsigned(value) {
        Ok(2) => Ok(()),
        Ok(1) => Err(ManifestError::SchemaOne),
        Ok(_) | Err(WrongType) => Err(ManifestError::SchemaVersion),
    }
}

/// What the document is. "If a manifest includes a `mediaType` field, clients MUST set the `Content-Type`
/// header to the value specified by the `mediaType` field."
/// <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests>
///
/// An OCI manifest may leave its `mediaType` out, or empty as Go's older types did; then the header
/// alone decides. A Docker manifest may not. Nothing is guessed from the members.
fn decide_kind(
    content_type: Option<&MediaType>,
    member: Option<&RawValue>,
) -> Result<ManifestKind, ManifestError> {
    let member = match json::present(member) {
        Some(value) => {
            let text = json::string(value).map_err(|WrongType| ManifestError::WrongType {
                member: "mediaType",
            })?;
            if text.is_empty() {
                None
            } else {
                Some(text.parse().map_err(ManifestError::MediaType)?)
            }
        }
        None => None,
    };
    let media_type: &MediaType = content_type
        .or(member.as_ref())
        .ok_or(ManifestError::NoMediaType)?;
    if matches!(media_type.as_str(), DOCKER_SCHEMA1 | DOCKER_SCHEMA1_SIGNED) {
        return Err(ManifestError::SchemaOne);
    }
    let kind = ManifestKind::from_media_type(media_type).ok_or_else(|| {
        ManifestError::UnsupportedMediaType {
            media_type: media_type.clone(),
        }
    })?;
    match &member {
        Some(member) if member != media_type => Err(ManifestError::MediaTypeMismatch {
            content_type: media_type.clone(),
            member: member.clone(),
        }),
        None if !kind.is_oci() => Err(ManifestError::Missing {
            member: "mediaType",
        }),
        _ => Ok(kind),
    }
}

/// An empty one counts as absent ("empty or missing", distribution-spec, pushing manifests with subject).
///
/// The image specification also wants one wherever the config is the empty one. Clients that forget it
/// harm nobody, so it is not asked for.
fn read_artifact_type(value: Option<&RawValue>) -> Result<Option<MediaType>, ManifestError> {
    let Some(value) = json::present(value) else {
        return Ok(None);
    };
    let text = json::string(value).map_err(|WrongType| ManifestError::WrongType {
        member: "artifactType",
    })?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(ManifestError::ArtifactType)
}

/// Reads `layers` or `manifests`. The member must be there, the list may be empty (the schema wants one
/// layer, the text only says SHOULD, and the conformance suite pushes none). `null` is an empty list: it
/// is how Go writes a slice that was never made, and clients in Go push it.
fn read_list(
    value: Option<&RawValue>,
    member: &'static str,
    place: fn(usize) -> Place,
) -> Result<Vec<Descriptor>, ManifestError> {
    let mut list = Vec::new();
    let value = value.ok_or(ManifestError::Missing { member })?;
    let Some(value) = json::present(Some(value)) else {
        return Ok(list);
    };
    let walked = json::each_element(value, |element| {
        if list.len() == Manifest::MAX_ENTRIES {
            return Err(ManifestError::TooManyEntries { member });
        }
        list.push(read_descriptor(element, place(list.len()))?);
        Ok(())
    });
    match walked {
        Ok(()) => Ok(list),
        Err(Stopped::WrongType) => Err(ManifestError::WrongType { member }),
        Err(Stopped::By(reason)) => Err(reason),
    }
}

fn read_descriptor(value: &RawValue, place: Place) -> Result<Descriptor, ManifestError> {
    Descriptor::read(value).map_err(|reason| ManifestError::Descriptor { place, reason })
}
