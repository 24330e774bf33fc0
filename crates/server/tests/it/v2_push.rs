//! Pushing manifests: what is stored, what it answers, and what is refused.

use crate::app::{TestApp, push, push_blob, push_manifest, put_manifest, repository};
use bytes::Bytes;
use http::Method;
use portolan_oci::{Digest, media_type};
use portolan_testkit::client::{Answer, Client};
use portolan_testkit::image::{Blob, Image, ManifestFile};
use serde_json::json;

#[tokio::test]
async fn a_push_says_where_the_manifest_is() {
    let client = TestApp::shared().await.admin();
    let repository = repository("push");
    let image = Image::random(100);
    push(&client, &repository, "first", &image).await;
    for reference in ["first", "second", &image.manifest.digest.to_string()] {
        let put = push_manifest(&client, &repository, reference, &image.manifest).await;
        assert_eq!(
            put.location(),
            format!("/v2/{repository}/manifests/{}", image.manifest.digest)
        );
        assert_eq!(put.digest(), image.manifest.digest);
        assert_eq!(
            put.header("docker-distribution-api-version"),
            "registry/2.0"
        );
        assert!(!put.has("oci-subject"));
        assert!(!put.has("oci-tag"));
        assert!(put.body.is_empty());
        client.get(put.location()).await.expect(200);
    }
}

#[tokio::test]
async fn a_push_by_digest_can_set_many_tags() {
    let client = TestApp::shared().await.admin();
    let repository = repository("push");
    let image = Image::random(101);
    for blob in image.blobs() {
        push_blob(&client, &repository, blob).await;
    }
    let tags: Vec<String> = (0..20).map(|number| format!("1.{number}")).collect();
    let query = tags
        .iter()
        .map(|tag| format!("tag={tag}"))
        .collect::<Vec<_>>()
        .join("&");
    let digest = image.manifest.digest;
    let target = format!("/v2/{repository}/manifests/{digest}?{query}");
    let put = put_manifest(&client, &target, &image.manifest)
        .await
        .expect(201);
    let mut set: Vec<&str> = put
        .lines("oci-tag")
        .iter()
        .flat_map(|line| line.split(", "))
        .collect();
    set.sort_unstable();
    let mut expected: Vec<&str> = tags.iter().map(String::as_str).collect();
    expected.sort_unstable();
    assert_eq!(set, expected);
    for tag in &tags {
        let head = client
            .head(&format!("/v2/{repository}/manifests/{tag}"))
            .await
            .expect(200);
        assert_eq!(head.digest(), digest);
    }
    // All or nothing.
    let target = format!("/v2/{repository}/manifests/{digest}?tag=good&tag=not%20good");
    put_manifest(&client, &target, &image.manifest)
        .await
        .refused(400, "TAG_INVALID");
    client
        .get(&format!("/v2/{repository}/manifests/good"))
        .await
        .refused(404, "MANIFEST_UNKNOWN");
    let flood = "tag=x&".repeat(101);
    let target = format!("/v2/{repository}/manifests/{digest}?{flood}");
    put_manifest(&client, &target, &image.manifest)
        .await
        .refused(414, "TAG_INVALID");
}

#[tokio::test]
async fn a_subject_is_acknowledged_even_if_it_is_missing() {
    let client = TestApp::shared().await.admin();
    let repository = repository("push");
    let missing = Image::random(102).manifest;
    let artifact = Image::artifact("application/vnd.example.sbom", 103, Some(&missing));
    for blob in artifact.blobs() {
        push_blob(&client, &repository, blob).await;
    }
    for reference in ["sbom", &artifact.manifest.digest.to_string()] {
        let put = push_manifest(&client, &repository, reference, &artifact.manifest).await;
        assert_eq!(put.header("oci-subject"), missing.digest.to_string());
    }
}

/// A PUT or DELETE of a tag under a condition.
async fn under(
    client: &Client,
    target: &str,
    condition: (&'static str, String),
    manifest: Option<&ManifestFile>,
) -> Answer {
    let method = if manifest.is_some() {
        Method::PUT
    } else {
        Method::DELETE
    };
    let mut request = client
        .request(method, target)
        .header(condition.0, condition.1);
    if let Some(manifest) = manifest {
        request = request
            .header("content-type", &manifest.media_type)
            .body(manifest.payload.clone());
    }
    request.send().await
}

#[tokio::test]
async fn a_tag_moves_only_from_where_the_client_saw_it() {
    let client = TestApp::shared().await.admin();
    let repository = repository("push");
    let (old, new) = (Image::random(104), Image::random(105));
    push(&client, &repository, "old", &old).await;
    push(&client, &repository, "new", &new).await;
    let (old, new) = (&old.manifest, &new.manifest);
    let target = format!("/v2/{repository}/manifests/tag");
    let etag = |manifest: &ManifestFile| format!("\"{}\"", manifest.digest);
    let points_at = async || client.head(&target).await.expect(200).digest();

    // Nothing there: there is nothing to match.
    for condition in ["*".to_owned(), etag(old)] {
        let answer = under(&client, &target, ("if-match", condition), Some(old)).await;
        answer.refused(412, "PRECONDITION_FAILED");
    }
    // Create only.
    let create = || ("if-none-match", "*".to_owned());
    under(&client, &target, create(), Some(old))
        .await
        .expect(201);
    under(&client, &target, create(), Some(new))
        .await
        .refused(412, "PRECONDITION_FAILED");
    assert_eq!(points_at().await, old.digest);
    // Compare and swap.
    let answer = under(&client, &target, ("if-match", etag(new)), Some(new)).await;
    let refused = answer.refused(412, "PRECONDITION_FAILED");
    assert_eq!(
        refused.json()["errors"][0]["detail"]["current"],
        old.digest.to_string()
    );
    under(&client, &target, ("if-match", etag(old)), Some(new))
        .await
        .expect(201);
    assert_eq!(points_at().await, new.digest);
    // A condition that is not evaluated is not ignored.
    under(&client, &target, ("if-none-match", etag(old)), Some(old))
        .await
        .refused(400, "UNSUPPORTED");
    assert_eq!(points_at().await, new.digest);
    // The same for deletes.
    let answer = under(&client, &target, ("if-match", etag(old)), None).await;
    answer.refused(412, "PRECONDITION_FAILED");
    under(&client, &target, ("if-match", etag(new)), None)
        .await
        .expect(202);
    client.get(&target).await.refused(404, "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn of_many_who_swap_a_tag_at_once_one_wins() {
    let client = TestApp::shared().await.admin();
    let repository = repository("push");
    let base = Image::random(106);
    push(&client, &repository, "tag", &base).await;
    let target = format!("/v2/{repository}/manifests/tag");
    let mut images = Vec::new();
    for seed in 107..115 {
        let image = Image::random(seed);
        push(&client, &repository, "other", &image).await;
        images.push(image);
    }
    let swaps = images.iter().map(|image| {
        let etag = format!("\"{}\"", base.manifest.digest);
        under(&client, &target, ("if-match", etag), Some(&image.manifest))
    });
    let answers = futures::future::join_all(swaps).await;
    let won = answers.iter().filter(|answer| answer.status == 201).count();
    let lost = answers.iter().filter(|answer| answer.status == 412).count();
    assert_eq!((won, lost), (1, images.len() - 1));
}

#[tokio::test]
async fn a_manifest_needs_its_blobs() {
    let client = TestApp::shared().await.admin();
    let repository = repository("push");
    let image = Image::random(116);
    let target = format!("/v2/{repository}/manifests/tag");
    push_blob(&client, &repository, &image.config).await;
    let answer = put_manifest(&client, &target, &image.manifest).await;
    let answer = answer.refused(400, "MANIFEST_BLOB_UNKNOWN").json();
    let mut named: Vec<String> = answer["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["detail"]["digest"].as_str().unwrap().to_owned())
        .collect();
    named.sort();
    let mut missing: Vec<String> = image
        .layers
        .iter()
        .map(|layer| layer.digest.to_string())
        .collect();
    missing.sort();
    assert_eq!(named, missing);
    client.get(&target).await.refused(404, "MANIFEST_UNKNOWN");
    // In another repository they do not count.
    let other = crate::app::repository("push");
    push(&client, &other, "tag", &image).await;
    put_manifest(&client, &target, &image.manifest)
        .await
        .refused(400, "MANIFEST_BLOB_UNKNOWN");
}

#[tokio::test]
async fn layers_that_may_not_be_distributed_need_not_be_here() {
    let client = TestApp::shared().await.admin();
    let repository = repository("push");
    let config = Blob::new(r#"{"os":"windows"}"#);
    push_blob(&client, &repository, &config).await;
    for media_type in [
        media_type::DOCKER_FOREIGN_LAYER_GZIP,
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    ] {
        let foreign = Blob::random(117, 100).descriptor(media_type);
        let manifest = ManifestFile::of(&json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_IMAGE,
            "config": config.descriptor(media_type::OCI_CONFIG),
            "layers": [foreign],
        }));
        push_manifest(&client, &repository, "windows", &manifest).await;
    }
}

#[tokio::test]
async fn an_index_without_all_its_manifests_is_taken_with_a_warning() {
    let client = TestApp::shared().await.admin();
    let repository = repository("push");
    let (here, missing) = (Image::random(118), Image::random(119));
    push(&client, &repository, "here", &here).await;
    let index = ManifestFile::index(&[here.manifest, missing.manifest]);
    let put = push_manifest(&client, &repository, "sparse", &index).await;
    assert_eq!(
        put.header("warning"),
        "299 - \"1 of the index's 2 manifests are not in this repository\""
    );
}

#[tokio::test]
async fn the_type_comes_from_the_header_without_its_parameters() {
    let client = TestApp::shared().await.admin();
    let repository = repository("push");
    let image = Image::random(120);
    push(&client, &repository, "tag", &image).await;
    let put = |content_type: &str| {
        let target = format!("/v2/{repository}/manifests/typed");
        let payload = image.manifest.payload.clone();
        let (client, content_type) = (client.clone(), content_type.to_owned());
        async move {
            let request = client
                .request(Method::PUT, &target)
                .header("content-type", content_type);
            request.body(payload).send().await
        }
    };
    put(&format!("{}; charset=utf-8", media_type::OCI_IMAGE))
        .await
        .expect(201);
    let got = client
        .get(&format!("/v2/{repository}/manifests/typed"))
        .await
        .expect(200);
    assert_eq!(got.header("content-type"), media_type::OCI_IMAGE);
    put(media_type::OCI_INDEX)
        .await
        .refused(400, "MANIFEST_INVALID");
    put("no type").await.refused(400, "MANIFEST_INVALID");
}

/// An image manifest padded to exactly `size` bytes.
fn padded(image: &Image, size: usize) -> ManifestFile {
    let mut payload = image.manifest.payload.to_vec();
    let end = payload
        .iter()
        .rposition(|byte| *byte == b'}')
        .expect("an object");
    let spaces = vec![b' '; size - payload.len()];
    payload.splice(end..end, spaces);
    ManifestFile::new(&image.manifest.media_type, payload)
}

#[tokio::test]
async fn manifests_are_taken_up_to_the_limit() {
    const LIMIT: usize = 4 << 20;
    let client = TestApp::shared().await.admin();
    let repository = repository("push");
    let image = Image::random(121);
    push(&client, &repository, "small", &image).await;

    let largest = padded(&image, LIMIT);
    push_manifest(&client, &repository, "large", &largest).await;
    let got = client
        .get(&format!("/v2/{repository}/manifests/large"))
        .await
        .expect(200);
    assert!(
        got.body == largest.payload,
        "4 MiB come back as they were pushed"
    );

    let target = format!("/v2/{repository}/manifests/too-large");
    let too_large = padded(&image, LIMIT + 1);
    put_manifest(&client, &target, &too_large)
        .await
        .refused(413, "MANIFEST_INVALID");
    // Without an announced length it is found out on the way.
    let pieces: Vec<std::io::Result<Bytes>> = too_large
        .payload
        .chunks(64 << 10)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    let request = client
        .request(Method::PUT, &target)
        .header("content-type", &too_large.media_type);
    request
        .pieces(pieces)
        .send()
        .await
        .refused(413, "MANIFEST_INVALID");
    client.get(&target).await.refused(404, "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn a_manifest_must_be_what_its_digest_says() {
    let client = TestApp::shared().await.admin();
    let repository = repository("push");
    let image = Image::random(122);
    push(&client, &repository, "tag", &image).await;
    let other = Digest::sha256(b"other");
    let target = format!("/v2/{repository}/manifests/{other}");
    put_manifest(&client, &target, &image.manifest)
        .await
        .refused(400, "DIGEST_INVALID");
    client.get(&target).await.refused(404, "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn a_push_is_seen_by_the_next_request() {
    let client = TestApp::shared().await.admin();
    let repository = repository("push");
    let images: Vec<Image> = (123..128).map(Image::random).collect();
    for image in &images {
        push(&client, &repository, "moving", image).await;
        let head = client
            .head(&format!("/v2/{repository}/manifests/moving"))
            .await
            .expect(200);
        assert_eq!(head.digest(), image.manifest.digest);
    }
}

#[tokio::test]
async fn the_first_push_makes_a_private_repository() {
    let app = TestApp::shared().await;
    let repository = repository("push");
    let image = Image::random(128);
    push(&app.admin(), &repository, "tag", &image).await;
    let target = format!("/v2/{repository}/manifests/tag");
    app.anonymous()
        .get(&target)
        .await
        .refused(401, "UNAUTHORIZED");
    app.publish(&repository);
    app.anonymous().get(&target).await.expect(200);
}
