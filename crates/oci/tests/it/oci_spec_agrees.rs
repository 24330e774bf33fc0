//! What the `oci-spec` crate builds is read as it was built: another reader of the same specification,
//! so that ours is not only checked against itself.

use std::collections::{BTreeSet, HashMap};

use oci_spec::image as spec;
use portolan_oci::{Algorithm, Descriptor, Digest, Manifest, ManifestKind, MediaType};
use proptest::collection::{hash_map, vec};
use proptest::option;
use proptest::prelude::*;

use crate::fuzz;

fn digests() -> impl Strategy<Value = Digest> {
    (any::<u64>(), any::<bool>()).prop_map(|(seed, long)| {
        let algorithm = if long {
            Algorithm::Sha512
        } else {
            Algorithm::Sha256
        };
        Digest::of(algorithm, &seed.to_le_bytes())
    })
}

fn media_types() -> impl Strategy<Value = spec::MediaType> {
    prop_oneof![
        Just(spec::MediaType::ImageLayer),
        Just(spec::MediaType::ImageLayerGzip),
        Just(spec::MediaType::ImageLayerZstd),
        Just(spec::MediaType::ImageLayerNonDistributable),
        Just(spec::MediaType::ImageLayerNonDistributableGzip),
        Just(spec::MediaType::ImageConfig),
        Just(spec::MediaType::EmptyJSON),
        "application/vnd\\.example\\.[a-z]{1,9}(\\+json)?".prop_map(spec::MediaType::Other),
    ]
}

fn annotations() -> impl Strategy<Value = HashMap<String, String>> {
    hash_map(any::<String>(), any::<String>(), 0..4)
}

/// Without `os.version` and `os.features`: oci-spec 0.10 writes them with an underscore.
fn platforms() -> impl Strategy<Value = spec::Platform> {
    option::of("v[0-9]").prop_map(|variant| {
        let mut platform = spec::Platform::default();
        platform.set_variant(variant);
        platform
    })
}

fn descriptors() -> impl Strategy<Value = spec::Descriptor> {
    let size = 0..u64::from(u32::MAX);
    let urls = option::of(vec("https://[a-z]{1,9}\\.example/[ -~]{0,9}", 0..3));
    (
        media_types(),
        digests(),
        size,
        urls,
        option::of(annotations()),
        option::of(platforms()),
    )
        .prop_map(|(media_type, digest, size, urls, annotations, platform)| {
            let digest: spec::Digest = digest.to_string().parse().unwrap();
            let mut descriptor = spec::Descriptor::new(media_type, size, digest);
            descriptor.set_urls(urls);
            descriptor.set_annotations(annotations);
            descriptor.set_platform(platform);
            descriptor
        })
}

fn artifact_types() -> impl Strategy<Value = Option<spec::MediaType>> {
    option::of(media_types())
}

fn assert_same(ours: &Descriptor, theirs: &spec::Descriptor) {
    assert_eq!(ours.media_type.as_str(), theirs.media_type().to_string());
    assert_eq!(ours.digest.to_string(), theirs.digest().to_string());
    assert_eq!(ours.size, theirs.size());
    assert_eq!(ours.urls, theirs.urls().clone().unwrap_or_default());
    assert_annotations(&ours.annotations, theirs.annotations().as_ref());
    let (Some(ours), Some(theirs)) = (&ours.platform, theirs.platform()) else {
        assert_eq!(ours.platform.is_some(), theirs.platform().is_some());
        return;
    };
    assert_eq!(ours.architecture, theirs.architecture().to_string());
    assert_eq!(ours.os, theirs.os().to_string());
    assert_eq!(&ours.variant, theirs.variant());
}

fn assert_annotations(
    ours: &std::collections::BTreeMap<String, String>,
    theirs: Option<&HashMap<String, String>>,
) {
    assert_eq!(
        *ours,
        theirs.cloned().unwrap_or_default().into_iter().collect()
    );
}

fn assert_all_same(ours: &[Descriptor], theirs: &[spec::Descriptor]) {
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_same(ours, theirs);
    }
}

#[test]
fn images_are_read_as_built() {
    let parts = (
        descriptors(),
        vec(descriptors(), 0..5),
        option::of(descriptors()),
        artifact_types(),
        option::of(annotations()),
        any::<bool>(),
    );
    fuzz::check(
        &parts,
        |(config, layers, subject, artifact_type, annotations, names_itself)| {
            let mut image = spec::ImageManifestBuilder::default()
                .schema_version(2_u32)
                .config(config.clone())
                .layers(layers.clone())
                .build()
                .unwrap();
            image.set_media_type(names_itself.then_some(spec::MediaType::ImageManifest));
            image.set_subject(subject.clone());
            image
                .set_artifact_type(artifact_type.clone())
                .set_annotations(annotations.clone());
            let payload = image.to_string_pretty().unwrap();

            let content_type: MediaType =
                spec::MediaType::ImageManifest.to_string().parse().unwrap();
            let manifest = Manifest::parse(payload.as_bytes(), Some(&content_type)).unwrap();
            assert_eq!(manifest.kind(), ManifestKind::OciImage);
            assert_same(manifest.config().unwrap(), &config);
            assert_all_same(manifest.layers(), &layers);
            assert!(manifest.children().is_empty());
            assert_eq!(manifest.subject().is_some(), subject.is_some());
            if let Some((ours, theirs)) = manifest.subject().zip(subject.as_ref()) {
                assert_same(ours, theirs);
            }
            let declared = artifact_type.map(|artifact_type| artifact_type.to_string());
            assert_eq!(manifest.artifact_type().map(ToString::to_string), declared);
            assert_eq!(
                manifest.referrer_artifact_type().map(ToString::to_string),
                declared.or(Some(config.media_type().to_string()))
            );
            assert_annotations(manifest.annotations(), annotations.as_ref());

            let blobs = std::iter::once(&config).chain(&layers);
            let required: BTreeSet<String> = blobs
                .filter(|blob| !blob.media_type().to_string().contains("nondistributable"))
                .map(|blob| blob.digest().to_string())
                .collect();
            let found: Vec<Digest> = manifest.required_blobs();
            assert!(found.is_sorted());
            assert_eq!(found.len(), required.len());
            assert_eq!(
                found
                    .iter()
                    .map(ToString::to_string)
                    .collect::<BTreeSet<_>>(),
                required
            );
        },
    );
}

#[test]
fn indexes_are_read_as_built() {
    let children = descriptors().prop_map(|mut child| {
        child.set_media_type(spec::MediaType::ImageManifest);
        child
    });
    let parts = (
        vec(children, 0..5),
        option::of(descriptors()),
        artifact_types(),
        option::of(annotations()),
    );
    fuzz::check(&parts, |(children, subject, artifact_type, annotations)| {
        let mut index = spec::ImageIndex::default();
        index.set_schema_version(2);
        index.set_media_type(Some(spec::MediaType::ImageIndex));
        index
            .set_manifests(children.clone())
            .set_subject(subject.clone());
        index
            .set_artifact_type(artifact_type.clone())
            .set_annotations(annotations.clone());
        let payload = index.to_string().unwrap();

        let manifest = Manifest::parse(payload.as_bytes(), None).unwrap();
        assert_eq!(manifest.kind(), ManifestKind::OciIndex);
        assert_all_same(manifest.children(), &children);
        assert_eq!(
            (manifest.config(), manifest.layers()),
            (None, [].as_slice())
        );
        assert_eq!(manifest.subject().is_some(), subject.is_some());
        let declared = artifact_type.map(|artifact_type| artifact_type.to_string());
        assert_eq!(manifest.artifact_type().map(ToString::to_string), declared);
        assert_eq!(
            manifest.referrer_artifact_type().map(ToString::to_string),
            declared
        );
        assert_annotations(manifest.annotations(), annotations.as_ref());
        assert_eq!(
            (manifest.required_blobs(), manifest.size_total()),
            (Vec::new(), 0)
        );
    });
}
