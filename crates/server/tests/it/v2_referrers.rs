//! What refers to a manifest.

use crate::app::{TestApp, push, push_manifest, repository};
use portolan_oci::{Digest, media_type};
use portolan_testkit::client::{Answer, Client};
use portolan_testkit::image::{Image, ManifestFile};
use serde_json::{Value, json};

const SBOM: &str = "application/vnd.example.sbom+json";
const SIGNATURE: &str = "application/vnd.example.signature";

fn digests(answer: &Answer) -> Vec<String> {
    let index = answer.json();
    assert_eq!(answer.header("content-type"), media_type::OCI_INDEX);
    assert_eq!(
        (&index["schemaVersion"], &index["mediaType"]),
        (&json!(2), &json!(media_type::OCI_INDEX))
    );
    let manifests = index["manifests"].as_array().expect("a list").clone();
    manifests
        .iter()
        .map(|entry| entry["digest"].as_str().expect("a digest").to_owned())
        .collect()
}

/// Pushes an artifact about `subject`.
async fn attach(
    client: &Client,
    repository: &str,
    kind: &str,
    seed: u64,
    subject: &ManifestFile,
) -> ManifestFile {
    let artifact = Image::artifact(kind, seed, Some(subject));
    for blob in artifact.blobs() {
        crate::app::push_blob(client, repository, blob).await;
    }
    let digest = artifact.manifest.digest.to_string();
    push_manifest(client, repository, &digest, &artifact.manifest).await;
    artifact.manifest
}

#[tokio::test]
async fn what_nobody_refers_to_has_an_empty_index() {
    let client = TestApp::shared().await.admin();
    let repository = repository("referrers");
    let unknown = Digest::sha256(b"unknown");
    // A 404 would send clients to the tag schema, so neither is one.
    for name in [repository.clone(), format!("{repository}-missing")] {
        if name == repository {
            push(&client, &name, "tag", &Image::random(300)).await;
        }
        let answer = client
            .get(&format!("/v2/{name}/referrers/{unknown}"))
            .await
            .expect(200);
        assert_eq!(digests(&answer), Vec::<String>::new());
        assert!(!answer.has("link"));
        assert!(!answer.has("oci-filters-applied"));
    }
    for bad in [
        "sha256:short",
        "latest",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
    ] {
        let answer = client
            .get(&format!("/v2/{repository}/referrers/{bad}"))
            .await;
        answer.refused(400, "DIGEST_INVALID");
    }
}

#[tokio::test]
async fn referrers_are_described_as_the_specification_says() {
    let client = TestApp::shared().await.admin();
    let repository = repository("referrers");
    let image = Image::random(301);
    push(&client, &repository, "tag", &image).await;
    let subject = &image.manifest;
    let sbom = attach(&client, &repository, SBOM, 302, subject).await;

    // Without `artifactType`: that of an image is its config's, an index has none.
    let config = portolan_testkit::image::Blob::new(r#"{"made":"by hand"}"#);
    crate::app::push_blob(&client, &repository, &config).await;
    let old = ManifestFile::of(&json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_IMAGE,
        "config": config.descriptor("application/vnd.example.config"),
        "layers": [],
        "subject": subject.descriptor(),
    }));
    push_manifest(&client, &repository, &old.digest.to_string(), &old).await;
    let index = ManifestFile::of(&json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": [],
        "subject": subject.descriptor(),
        "annotations": { "org.example.kind": "index" },
    }));
    push_manifest(&client, &repository, &index.digest.to_string(), &index).await;

    let target = format!("/v2/{repository}/referrers/{}", subject.digest);
    let answer = client.get(&target).await.expect(200);
    let entry = |manifest: &ManifestFile, more: Value| {
        let mut entry = manifest.descriptor();
        entry
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        entry
    };
    let mut expected = vec![
        entry(
            &sbom,
            json!({ "artifactType": SBOM, "annotations": { "org.example.seed": "302" } }),
        ),
        entry(
            &old,
            json!({ "artifactType": "application/vnd.example.config" }),
        ),
        entry(
            &index,
            json!({ "annotations": { "org.example.kind": "index" } }),
        ),
    ];
    expected.sort_by_key(|entry| entry["digest"].as_str().unwrap().to_owned());
    assert_eq!(answer.json()["manifests"], json!(expected));

    client
        .delete(&format!("/v2/{repository}/manifests/{}", old.digest))
        .await
        .expect(202);
    assert_eq!(digests(&client.get(&target).await.expect(200)).len(), 2);
}

#[tokio::test]
async fn referrers_can_be_filtered_by_type() {
    let client = TestApp::shared().await.admin();
    let repository = repository("referrers");
    let image = Image::random(303);
    push(&client, &repository, "tag", &image).await;
    let sbom = attach(&client, &repository, SBOM, 304, &image.manifest).await;
    attach(&client, &repository, SIGNATURE, 305, &image.manifest).await;
    let target = format!("/v2/{repository}/referrers/{}", image.manifest.digest);
    let filtered = async |kind: &str| {
        let answer = client
            .get(&format!("{target}?artifactType={kind}"))
            .await
            .expect(200);
        assert_eq!(answer.header("oci-filters-applied"), "artifactType");
        digests(&answer)
    };
    assert_eq!(
        filtered("application/vnd.example.sbom%2Bjson").await,
        [sbom.digest.to_string()]
    );
    assert_eq!(
        filtered("application/vnd.example.other").await,
        Vec::<String>::new()
    );
    client
        .get(&format!("{target}?artifactType=none"))
        .await
        .refused(400, "UNSUPPORTED");
    let all = client
        .get(&format!("{target}?artifactType="))
        .await
        .expect(200);
    assert_eq!(digests(&all).len(), 2);
}

#[tokio::test]
async fn a_long_list_of_referrers_comes_in_pages() {
    let client = TestApp::shared().await.admin();
    let repository = repository("referrers");
    let image = Image::random(306);
    push(&client, &repository, "tag", &image).await;
    let mut attached = Vec::new();
    for seed in 307..312 {
        let artifact = attach(&client, &repository, SBOM, seed, &image.manifest).await;
        attached.push(artifact.digest.to_string());
    }
    attach(&client, &repository, SIGNATURE, 312, &image.manifest).await;
    attached.sort();
    let digest = image.manifest.digest;
    let mut target = format!(
        "/v2/{repository}/referrers/{digest}?n=2&artifactType=application/vnd.example.sbom%2Bjson"
    );
    let mut read = Vec::new();
    loop {
        let page = client.get(&target).await.expect(200);
        assert_eq!(
            page.header("oci-filters-applied"),
            "artifactType",
            "on every page"
        );
        let found = digests(&page);
        assert!(
            !found.is_empty(),
            "an empty page with a link would be a loop"
        );
        read.extend(found);
        if !page.has("link") {
            break;
        }
        let link = page.header("link");
        target = link
            .trim_start_matches('<')
            .split('>')
            .next()
            .unwrap()
            .to_owned();
        assert!(
            target.starts_with(&format!("/v2/{repository}/referrers/{digest}?")),
            "{link}"
        );
    }
    assert_eq!(read, attached);
}
