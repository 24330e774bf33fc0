//! The manifests that the conformance suite pushes, as its generator writes them.
//! <https://github.com/opencontainers/distribution-spec/blob/main/conformance/testdata.go>

use portolan_oci::{Algorithm, Digest, Manifest, media_type};
use serde_json::{Value, json};

const EXAMPLE: &str = "application/vnd.example.oci.conformance.v1";
const NONDISTRIBUTABLE: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";

fn descriptor(media_type: &str, content: &str) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::sha256(content.as_bytes()), "size": content.len() })
}

fn image(config: &Value, layers: &Value) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_IMAGE, "config": config, "layers": layers,
    })
}

fn index(manifests: &Value) -> Value {
    json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests })
}

fn with(mut document: Value, member: &str, value: Value) -> Value {
    document[member] = value;
    document
}

/// Parsed as pushed: with the `Content-Type` that the document names.
fn parse(document: &Value) -> Manifest {
    let content_type = document["mediaType"].as_str().unwrap().parse().unwrap();
    Manifest::parse(document.to_string().as_bytes(), Some(&content_type)).unwrap()
}

fn plain_image() -> Value {
    let layers = json!([
        descriptor(media_type::OCI_LAYER_GZIP, "one"),
        descriptor(media_type::OCI_LAYER_GZIP, "two"),
    ]);
    image(&descriptor(media_type::OCI_CONFIG, "config"), &layers)
}

#[test]
fn image_with_layers_and_without() {
    let manifest = parse(&plain_image());
    assert_eq!(
        (manifest.layers().len(), manifest.required_blobs().len()),
        (2, 3)
    );
    assert_eq!(manifest.size_total(), 3 + 3 + 6);
    let empty = parse(&image(
        &descriptor(media_type::OCI_CONFIG, "config"),
        &json!([]),
    ));
    assert_eq!((empty.layers().len(), empty.required_blobs().len()), (0, 1));
}

#[test]
fn index_nested_and_empty() {
    let platform = json!({ "architecture": "amd64", "os": "linux" });
    let child = with(
        descriptor(media_type::OCI_IMAGE, "child"),
        "platform",
        platform,
    );
    let manifest = parse(&index(&json!([
        child,
        descriptor(media_type::OCI_INDEX, "nested")
    ])));
    assert_eq!(manifest.children().len(), 2);
    assert_eq!(
        manifest.children()[0]
            .platform
            .as_ref()
            .unwrap()
            .architecture,
        "amd64"
    );
    assert!(manifest.required_blobs().is_empty());
    assert!(parse(&index(&json!([]))).children().is_empty());
}

#[test]
fn artifacts_say_what_they_are_for() {
    let empty = descriptor(media_type::OCI_EMPTY, "{}");
    let artifact = with(
        image(&empty, &json!([descriptor(EXAMPLE, "content")])),
        "artifactType",
        EXAMPLE.into(),
    );
    assert_eq!(
        parse(&artifact).referrer_artifact_type().unwrap().as_str(),
        EXAMPLE
    );
    // Without a layer of its own the empty one stands in: one blob, listed twice.
    let bare = with(
        image(&empty, &json!([empty])),
        "artifactType",
        EXAMPLE.into(),
    );
    assert_eq!(
        (
            parse(&bare).required_blobs().len(),
            parse(&bare).size_total()
        ),
        (1, 2)
    );
    let list = with(index(&json!([])), "artifactType", EXAMPLE.into());
    assert_eq!(
        parse(&list).referrer_artifact_type().unwrap().as_str(),
        EXAMPLE
    );
    assert_eq!(parse(&index(&json!([]))).referrer_artifact_type(), None);
}

#[test]
fn referrers_name_their_subject_and_fall_back_to_the_config() {
    let subject = json!({
        "mediaType": media_type::OCI_IMAGE, "digest": Digest::sha256(b"missing content"), "size": 123,
    });
    let annotations = json!({ "org.opencontainers.conformance": "hello conformance test" });
    let referrer = with(
        with(plain_image(), "subject", subject.clone()),
        "annotations",
        annotations,
    );
    let manifest = parse(&referrer);
    assert_eq!(
        manifest.subject().unwrap().digest,
        Digest::sha256(b"missing content")
    );
    assert_eq!(manifest.artifact_type(), None);
    assert_eq!(
        manifest.referrer_artifact_type().unwrap().as_str(),
        media_type::OCI_CONFIG
    );
    assert_eq!(
        manifest.annotations()["org.opencontainers.conformance"],
        "hello conformance test"
    );
    assert!(
        !manifest
            .required_blobs()
            .contains(&manifest.subject().unwrap().digest)
    );
    assert!(
        parse(&with(index(&json!([])), "subject", subject))
            .subject()
            .is_some()
    );
}

#[test]
fn embedded_data_and_unknown_members_are_passed_over() {
    let config = with(
        descriptor(media_type::OCI_CONFIG, "{}"),
        "data",
        "e30=".into(),
    );
    let custom = with(image(&config, &json!([])), "org.AB4XYZ", "custom".into());
    assert_eq!(
        parse(&custom).config().unwrap().digest,
        Digest::sha256(b"{}")
    );
    assert!(
        parse(&with(index(&json!([])), "org.AB4XYZ", "custom".into()))
            .children()
            .is_empty()
    );
}

#[test]
fn layers_that_nobody_uploads_are_not_required() {
    let foreign = |media_type: &str, content: &str| {
        with(
            descriptor(media_type, content),
            "urls",
            json!(["https://store.example.com/blobs/x"]),
        )
    };
    let layers = json!([
        foreign(&format!("{NONDISTRIBUTABLE}+gzip"), "1"),
        foreign(NONDISTRIBUTABLE, "2"),
        descriptor(media_type::OCI_LAYER_GZIP, "3"),
    ]);
    let manifest = parse(&image(
        &descriptor(media_type::OCI_CONFIG, "config"),
        &layers,
    ));
    let mut required = vec![Digest::sha256(b"config"), Digest::sha256(b"3")];
    required.sort();
    assert_eq!(
        (manifest.layers().len(), manifest.required_blobs()),
        (3, required)
    );
}

#[test]
fn sha512_is_a_digest_like_any_other() {
    let digest = Digest::of(Algorithm::Sha512, b"child");
    let child = json!({ "mediaType": media_type::OCI_IMAGE, "digest": digest, "size": 5 });
    assert_eq!(parse(&index(&json!([child]))).children()[0].digest, digest);
}
