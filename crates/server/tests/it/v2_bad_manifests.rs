//! Manifests that break their specification, as tables: refused by one code, and nothing kept of them.

use crate::app::{push_manifest, put_manifest};
use crate::untouched::Fixture;
use bytes::Bytes;
use portolan_oci::{Digest, media_type};
use portolan_testkit::image::{Image, ManifestFile};
use serde_json::{Value, json};

/// Texts that are no JSON, or that no two readers would read alike.
fn broken_texts(image: &Image) -> Vec<(&'static str, Bytes)> {
    let good = std::str::from_utf8(&image.manifest.payload).expect("it is JSON");
    let first = |text: &str| Bytes::from(good.replacen('{', &format!("{{{text},"), 1));
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut invalid = first("\"x\":\"?\"").to_vec();
    *invalid
        .iter_mut()
        .find(|byte| **byte == b'?')
        .expect("it is there") = 0xff;
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let huge = good.replacen("\"size\": ", "\"size\": 99999999999999999999", 1);
    vec![
        ("empty", Bytes::new()),
        ("null", "null".into()),
        ("a list", "[]".into()),
        ("a text", "\"manifest\"".into()),
        ("no JSON", "manifest".into()),
        ("cut", good[..good.len() - 3].to_owned().into()),
        ("trailing garbage", format!("{good}x").into()),
        ("a second document", format!("{good}{good}").into()),
        ("a byte order mark", format!("\u{feff}{good}").into()),
        ("UTF-16", utf16.into()),
        ("invalid UTF-8", invalid.into()),
        ("nothing but brackets", "[".repeat(100_000).into()),
        ("depth of 100,000", first(&format!("\"x\":{nested}"))),
        ("duplicate key", first("\"schemaVersion\":2")),
        ("duplicate key, escaped", first("\"schema\\u0056ersion\":2")),
        ("size beyond 64 bits", huge.into()),
    ]
}

/// Documents whose members are not what they must be: a path into a good manifest and what stands there.
fn broken_members(image: &Image) -> Vec<(&'static str, Value)> {
    let layers = vec![image.layers[0].descriptor(media_type::OCI_LAYER_GZIP); 20_000];
    vec![
        ("/schemaVersion", json!(1)),
        ("/schemaVersion", json!(3)),
        ("/schemaVersion", json!("2")),
        ("/schemaVersion", Value::Null),
        ("/mediaType", json!(media_type::DOCKER_IMAGE)),
        ("/mediaType", json!("application/x")),
        ("/mediaType", json!(7)),
        ("/config", json!([])),
        ("/config", Value::Null),
        ("/config/size", json!(1e30)),
        ("/config/size", json!(-1)),
        ("/config/size", json!(1.5)),
        ("/config/digest", json!(format!("md5:{}", "a".repeat(32)))),
        (
            "/config/digest",
            json!(image.config.digest.to_string().to_uppercase()),
        ),
        ("/config/digest", json!("sha256:\0")),
        ("/layers", json!({})),
        ("/layers", json!(layers)),
        // What one client takes for an image and another for an index (CVE-2021-41190).
        ("/manifests", json!([])),
        ("/subject", json!("sha256:x")),
        ("/annotations", json!(["a"])),
        ("/annotations", json!({ "a": 1 })),
    ]
}

/// A manifest with one member replaced.
fn with(image: &Image, path: &str, value: Value) -> Bytes {
    let mut document: Value = serde_json::from_slice(&image.manifest.payload).expect("it is JSON");
    match document.pointer_mut(path) {
        Some(member) => *member = value,
        None => document[&path[1..]] = value,
    }
    document.to_string().into()
}

/// Pushes it under a tag and under its digest; neither must be taken.
async fn is_refused(fixture: &Fixture, what: &str, payload: Bytes) {
    let digest = Digest::sha256(&payload).to_string();
    for reference in ["broken", &digest] {
        let target = format!("/v2/a/b/manifests/{reference}");
        let manifest = ManifestFile::new(media_type::OCI_IMAGE, payload.clone());
        let answer = put_manifest(&fixture.client, &target, &manifest).await;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 400, "{what}: {body}");
        assert!(
            body.contains(r#""code":"MANIFEST_INVALID""#),
            "{what}: {body}"
        );
    }
}

#[tokio::test]
async fn texts_that_are_no_manifest_are_refused() {
    let fixture = Fixture::new().await;
    for (what, payload) in broken_texts(&fixture.image) {
        is_refused(&fixture, what, payload).await;
    }
    fixture.nothing_was_kept().await;
}

#[tokio::test]
async fn manifests_with_members_that_cannot_be_are_refused() {
    let fixture = Fixture::new().await;
    for (path, value) in broken_members(&fixture.image) {
        let shown: String = format!("{path} = {value}").chars().take(100).collect();
        is_refused(&fixture, &shown, with(&fixture.image, path, value)).await;
    }
    fixture.nothing_was_kept().await;
}

#[tokio::test]
async fn types_that_are_no_manifests_are_refused() {
    let fixture = Fixture::new().await;
    for content_type in [
        "application/json",
        "text/plain",
        media_type::DOCKER_SCHEMA1,
        media_type::DOCKER_SCHEMA1_SIGNED,
        media_type::OCI_INDEX,
    ] {
        let payload = fixture.image.manifest.payload.clone();
        let manifest = ManifestFile::new(content_type, payload);
        let answer = put_manifest(&fixture.client, "/v2/a/b/manifests/x", &manifest).await;
        answer.refused(400, "MANIFEST_INVALID");
    }
    fixture.nothing_was_kept().await;
}

#[tokio::test]
async fn indexes_may_be_nested_deeply() {
    let fixture = Fixture::new().await;
    let client = fixture.app.admin();
    let mut top = fixture.image.manifest.clone();
    for _ in 0..100 {
        let index = ManifestFile::index(std::slice::from_ref(&top));
        push_manifest(&client, "a/b", &index.digest.to_string(), &index).await;
        top = index;
    }
    let target = format!("/v2/a/b/manifests/{}", top.digest);
    assert_eq!(client.get(&target).await.expect(200).body, top.payload);
    client.delete(&target).await.expect(202);
    fixture.app.settled().await;
}
