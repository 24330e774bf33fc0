//! Deletes: visible to the next request, and never of what something else needs.

use crate::app::{TestApp, push, push_blob, push_manifest, repository};
use portolan_oci::Digest;
use portolan_testkit::image::{Image, ManifestFile};

#[tokio::test]
async fn a_tag_goes_and_its_manifest_stays() {
    let client = TestApp::shared().await.admin();
    let repository = repository("delete");
    let image = Image::random(400);
    push(&client, &repository, "gone", &image).await;
    push_manifest(&client, &repository, "kept", &image.manifest).await;
    let tag = format!("/v2/{repository}/manifests/gone");
    client.delete(&tag).await.expect(202);
    client.get(&tag).await.refused(404, "MANIFEST_UNKNOWN");
    client.delete(&tag).await.refused(404, "MANIFEST_UNKNOWN");
    client
        .get(&format!("/v2/{repository}/manifests/kept"))
        .await
        .expect(200);
    client
        .get(&format!(
            "/v2/{repository}/manifests/{}",
            image.manifest.digest
        ))
        .await
        .expect(200);
}

#[tokio::test]
async fn a_manifest_goes_with_its_tags() {
    let client = TestApp::shared().await.admin();
    let repository = repository("delete");
    let (image, other) = (Image::random(401), Image::random(402));
    push(&client, &repository, "a", &image).await;
    push_manifest(&client, &repository, "b", &image.manifest).await;
    push(&client, &repository, "c", &other).await;
    let by_digest = format!("/v2/{repository}/manifests/{}", image.manifest.digest);
    client.delete(&by_digest).await.expect(202);
    for reference in ["a", "b", &image.manifest.digest.to_string()] {
        let target = format!("/v2/{repository}/manifests/{reference}");
        client.get(&target).await.refused(404, "MANIFEST_UNKNOWN");
        client.head(&target).await.expect(404);
    }
    client
        .delete(&by_digest)
        .await
        .refused(404, "MANIFEST_UNKNOWN");
    let tags = client
        .get(&format!("/v2/{repository}/tags/list"))
        .await
        .expect(200)
        .json();
    assert_eq!(tags["tags"], serde_json::json!(["c"]));
    // Its blobs outlive it for a while, so that it can be pushed again as it is.
    push_manifest(&client, &repository, "again", &image.manifest).await;
}

#[tokio::test]
async fn a_manifest_of_an_index_can_be_deleted_by_wish() {
    let client = TestApp::shared().await.admin();
    let repository = repository("delete");
    let image = Image::random(403);
    push(&client, &repository, "child", &image).await;
    let index = ManifestFile::index(std::slice::from_ref(&image.manifest));
    push_manifest(&client, &repository, "index", &index).await;
    let child = format!("/v2/{repository}/manifests/{}", image.manifest.digest);
    client.delete(&child).await.expect(202);
    client.get(&child).await.refused(404, "MANIFEST_UNKNOWN");
    client
        .get(&format!("/v2/{repository}/manifests/index"))
        .await
        .expect(200);
}

#[tokio::test]
async fn a_blob_goes_from_one_repository_only() {
    let client = TestApp::shared().await.admin();
    let (here, there) = (repository("delete"), repository("delete"));
    let blob = portolan_testkit::image::Blob::random(404, 100);
    push_blob(&client, &here, &blob).await;
    push_blob(&client, &there, &blob).await;
    let target = format!("/v2/{here}/blobs/{}", blob.digest);
    client.delete(&target).await.expect(202);
    client.get(&target).await.refused(404, "BLOB_UNKNOWN");
    client.head(&target).await.expect(404);
    client.delete(&target).await.refused(404, "BLOB_UNKNOWN");
    client
        .get(&format!("/v2/{there}/blobs/{}", blob.digest))
        .await
        .expect(200);
}

#[tokio::test]
async fn a_blob_that_a_manifest_names_is_not_deleted() {
    let client = TestApp::shared().await.admin();
    let repository = repository("delete");
    let image = Image::random(405);
    push(&client, &repository, "tag", &image).await;
    let target = format!("/v2/{repository}/blobs/{}", image.config.digest);
    let refused = client.delete(&target).await.refused(405, "DENIED");
    assert_eq!(refused.header("allow"), "GET, HEAD");
    assert_eq!(
        client.get(&target).await.expect(200).body,
        image.config.content
    );
    client
        .delete(&format!(
            "/v2/{repository}/manifests/{}",
            image.manifest.digest
        ))
        .await
        .expect(202);
    client.delete(&target).await.expect(202);
    client.get(&target).await.refused(404, "BLOB_UNKNOWN");
}

#[tokio::test]
async fn what_is_not_there_cannot_be_deleted() {
    let client = TestApp::shared().await.admin();
    let repository = repository("delete");
    let digest = Digest::sha256(b"nothing");
    let targets = [
        format!("manifests/{digest}"),
        "manifests/tag".to_owned(),
        format!("blobs/{digest}"),
    ];
    for target in &targets {
        let answer = client.delete(&format!("/v2/{repository}/{target}")).await;
        answer.refused(404, "NAME_UNKNOWN");
    }
}
