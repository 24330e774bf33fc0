//! Pulling manifests and blobs: what comes back, and with which headers.

use crate::app::{Store, TestApp, push, push_blob, push_manifest, repository};
use http::Method;
use portolan_oci::{Algorithm, media_type};
use portolan_testkit::client::{Answer, Client, raw};
use portolan_testkit::image::{Blob, Image, ManifestFile};
use std::time::Duration;

const IMMUTABLE: &str = "private, max-age=31536000, immutable";

/// What every answer about a manifest has, with and without a body.
#[track_caller]
fn describes(answer: &Answer, manifest: &ManifestFile, cache: &str) {
    assert_eq!(
        answer.header("content-type"),
        manifest.media_type,
        "exactly, without a charset"
    );
    assert_eq!(
        answer.header("content-length"),
        manifest.payload.len().to_string()
    );
    assert_eq!(answer.digest(), manifest.digest);
    assert_eq!(answer.header("etag"), format!("\"{}\"", manifest.digest));
    assert_eq!(answer.header("cache-control"), cache);
    assert!(answer.header("last-modified").ends_with(" GMT"));
    assert_eq!(
        answer.header("docker-distribution-api-version"),
        "registry/2.0"
    );
}

#[tokio::test]
async fn manifests_come_back_as_they_were_pushed() {
    let client = TestApp::shared().await.admin();
    let repository = repository("pull");
    let images = [
        Image::random(1),
        Image::docker(2),
        Image::artifact("application/vnd.example.sbom", 3, None),
    ];
    let mut manifests = Vec::new();
    for image in &images {
        push(&client, &repository, "one", image).await;
        manifests.push(image.manifest.clone());
    }
    let lists = [
        ManifestFile::index(&manifests[..1]),
        ManifestFile::docker_list(&manifests[1..2]),
        // An index of an index.
        ManifestFile::index(&[ManifestFile::index(&manifests[..1])]),
    ];
    for list in &lists {
        push_manifest(&client, &repository, "list", list).await;
        manifests.push(list.clone());
    }
    for manifest in &manifests {
        push_manifest(&client, &repository, "tag", manifest).await;
        let by_digest = format!("/v2/{repository}/manifests/{}", manifest.digest);
        let by_tag = format!("/v2/{repository}/manifests/tag");
        for (target, cache) in [(by_digest, IMMUTABLE), (by_tag, "no-store")] {
            let got = client.get(&target).await.expect(200);
            describes(&got, manifest, cache);
            assert_eq!(got.body, manifest.payload);
            let head = client.head(&target).await.expect(200);
            describes(&head, manifest, cache);
            assert!(head.body.is_empty());
        }
    }
}

#[tokio::test]
async fn a_client_that_has_the_content_is_told_so() {
    let client = TestApp::shared().await.admin();
    let repository = repository("pull");
    let image = Image::random(4);
    push(&client, &repository, "tag", &image).await;
    let targets = [
        (
            format!("/v2/{repository}/manifests/tag"),
            image.manifest.digest,
        ),
        (
            format!("/v2/{repository}/manifests/{}", image.manifest.digest),
            image.manifest.digest,
        ),
        (
            format!("/v2/{repository}/blobs/{}", image.config.digest),
            image.config.digest,
        ),
    ];
    for (target, digest) in &targets {
        for method in [Method::GET, Method::HEAD] {
            let ask = |etag: String| {
                client
                    .request(method.clone(), target)
                    .header("if-none-match", etag)
                    .send()
            };
            for known in [
                format!("\"{digest}\""),
                format!("\"x\", W/\"{digest}\""),
                "*".into(),
            ] {
                let answer = ask(known).await.expect(304);
                assert_eq!(answer.digest(), *digest);
                assert_eq!(answer.header("etag"), format!("\"{digest}\""));
                assert!(answer.body.is_empty());
            }
            ask(format!("\"{}\"", portolan_oci::Digest::sha256(b"other")))
                .await
                .expect(200);
        }
    }
}

#[tokio::test]
async fn blobs_come_back_with_the_headers_that_clients_need() {
    let client = TestApp::shared().await.admin();
    let repository = repository("pull");
    // Inline in the row, small enough for memory, and streamed.
    for blob in [
        Blob::new("{}"),
        Blob::random(5, 32 << 10),
        Blob::random(6, 300 << 10),
    ] {
        push_blob(&client, &repository, &blob).await;
        let target = format!("/v2/{repository}/blobs/{}", blob.digest);
        let head = client.head(&target).await.expect(200);
        let got = client.get(&target).await.expect(200);
        assert!(head.body.is_empty());
        assert_eq!(got.body, blob.content);
        for answer in [head, got] {
            assert_eq!(
                answer.header("content-length"),
                blob.content.len().to_string()
            );
            assert_eq!(answer.header("content-type"), "application/octet-stream");
            assert_eq!(answer.header("accept-ranges"), "bytes");
            assert_eq!(answer.header("etag"), format!("\"{}\"", blob.digest));
            assert_eq!(answer.header("cache-control"), IMMUTABLE);
            assert_eq!(answer.digest(), blob.digest);
            assert!(answer.has("last-modified"));
        }
    }
}

/// Every part of a blob that can be asked for, wherever its bytes come from.
async fn ranges(client: &Client, target: &str, blob: &Blob) {
    let size = blob.content.len();
    let end = size - 1;
    let ask = |range: String| {
        client
            .request(Method::GET, target)
            .header("range", range)
            .send()
    };
    for (range, first, last) in [
        ("bytes=500-1499".to_owned(), 500, 1499),
        ("bytes=0-0".to_owned(), 0, 0),
        ("bytes=500-".to_owned(), 500, end),
        ("bytes=-500".to_owned(), size - 500, end),
        (format!("bytes={}-{}", size - 10, size * 2), size - 10, end),
        (format!("bytes={end}-99999999999999999999999"), end, end),
    ] {
        let answer = ask(range).await.expect(206);
        assert_eq!(
            answer.header("content-range"),
            format!("bytes {first}-{last}/{size}")
        );
        assert_eq!(
            answer.header("content-length"),
            (last - first + 1).to_string()
        );
        assert_eq!(answer.body, blob.content.slice(first..=last));
        assert_eq!(answer.digest(), blob.digest, "of the whole");
    }
    for range in [
        format!("bytes={size}-"),
        "bytes=500-0".into(),
        "bytes=-0".into(),
    ] {
        let answer = ask(range).await.refused(416, "UNSUPPORTED");
        assert_eq!(answer.header("content-range"), format!("bytes */{size}"));
    }
    // Several at once are answered with the whole: podman's zstd:chunked takes that, and no 416.
    for range in [
        "bytes=0-9,100-199",
        "bytes=0-9, 100-199, -5",
        "items=0-9",
        "bytes=x",
    ] {
        let answer = ask(range.into()).await.expect(200);
        assert_eq!(answer.body, blob.content);
    }
}

#[tokio::test]
async fn parts_of_blobs_can_be_asked_for() {
    let client = TestApp::shared().await.admin();
    let repository = repository("pull");
    for blob in [
        Blob::random(7, 2000),
        Blob::random(8, 32 << 10),
        Blob::random(9, 300 << 10),
    ] {
        push_blob(&client, &repository, &blob).await;
        let target = format!("/v2/{repository}/blobs/{}", blob.digest);
        ranges(&client, &target, &blob).await;
        let part = |validator: String| {
            let request = client
                .request(Method::GET, &target)
                .header("range", "bytes=0-9");
            request.header("if-range", validator).send()
        };
        part(format!("\"{}\"", blob.digest)).await.expect(206);
        part(format!("W/\"{}\"", blob.digest)).await.expect(200);
        part("\"other\"".to_owned()).await.expect(200);
    }
}

#[tokio::test]
async fn nothing_is_compressed() {
    let client = TestApp::shared().await.admin();
    let repository = repository("pull");
    let image = Image::random(10);
    push(&client, &repository, "tag", &image).await;
    for target in [
        format!("/v2/{repository}/blobs/{}", image.config.digest),
        format!("/v2/{repository}/manifests/tag"),
        format!("/v2/{repository}/tags/list"),
    ] {
        let request = client.request(Method::GET, &target);
        let answer = request
            .header("accept-encoding", "zstd, gzip, deflate")
            .send()
            .await
            .expect(200);
        assert!(!answer.has("content-encoding"), "{target}");
        assert_eq!(
            answer.header("content-length"),
            answer.body.len().to_string()
        );
    }
}

#[tokio::test]
async fn names_may_be_nested_or_look_like_endpoints() {
    let client = TestApp::shared().await.admin();
    let image = Image::random(11);
    let base = repository("nested");
    for name in [
        format!("{base}/a/b-c/d__e/f.g"),
        format!("{base}/blobs/uploads"),
        format!("{base}/tags/list"),
        format!("{base}/manifests/latest"),
        format!("{base}/referrers"),
        format!("{base}/auth"),
    ] {
        push(&client, &name, "latest", &image).await;
        let got = client
            .get(&format!("/v2/{name}/manifests/latest"))
            .await
            .expect(200);
        assert_eq!(got.body, image.manifest.payload, "{name}");
        let tags = client
            .get(&format!("/v2/{name}/tags/list"))
            .await
            .expect(200)
            .json();
        assert_eq!(tags["name"], name);
        assert_eq!(tags["tags"][0], "latest");
    }
}

#[tokio::test]
async fn a_name_without_a_namespace_means_the_library() {
    let client = TestApp::shared().await.admin();
    let short = format!("alpine{}", crate::app::unique());
    let image = Image::random(12);
    push(&client, &short, "3", &image).await;
    for name in [short.clone(), format!("library/{short}")] {
        let got = client
            .get(&format!("/v2/{name}/manifests/3"))
            .await
            .expect(200);
        assert_eq!(got.body, image.manifest.payload);
        let tags = client
            .get(&format!("/v2/{name}/tags/list"))
            .await
            .expect(200)
            .json();
        assert_eq!(tags["name"], name, "answers echo the name as asked");
    }
    let put = push_manifest(&client, &short, "4", &image.manifest).await;
    assert_eq!(
        put.location(),
        format!("/v2/{short}/manifests/{}", image.manifest.digest)
    );
}

#[tokio::test]
async fn unknown_parameters_are_left_alone() {
    let client = TestApp::shared().await.admin();
    let repository = repository("pull");
    let image = Image::random(13);
    push(&client, &repository, "tag", &image).await;
    for target in [
        format!("/v2/{repository}/manifests/tag?ns=docker.io"),
        format!(
            "/v2/{repository}/blobs/{}?ns=docker.io&x=%ff",
            image.config.digest
        ),
        format!("/v2/{repository}/tags/list?ns=docker.io"),
        "/v2/?ns=docker.io".to_owned(),
    ] {
        client.get(&target).await.expect(200);
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_by_its_own_code() {
    let client = TestApp::shared().await.admin();
    let repository = repository("pull");
    push(&client, &repository, "tag", &Image::random(14)).await;
    let digest = portolan_oci::Digest::sha256(b"nothing");
    for (target, code) in [
        (
            format!("/v2/{repository}/manifests/other"),
            "MANIFEST_UNKNOWN",
        ),
        (
            format!("/v2/{repository}/manifests/{digest}"),
            "MANIFEST_UNKNOWN",
        ),
        (format!("/v2/{repository}/blobs/{digest}"), "BLOB_UNKNOWN"),
        (
            format!("/v2/{repository}-other/manifests/tag"),
            "NAME_UNKNOWN",
        ),
        (
            format!("/v2/{repository}-other/manifests/{digest}"),
            "NAME_UNKNOWN",
        ),
        (
            format!("/v2/{repository}-other/blobs/{digest}"),
            "NAME_UNKNOWN",
        ),
        (format!("/v2/{repository}-other/tags/list"), "NAME_UNKNOWN"),
    ] {
        client.get(&target).await.refused(404, code);
        assert!(client.head(&target).await.expect(404).body.is_empty());
    }
}

#[tokio::test]
async fn content_may_be_named_by_sha512() {
    let client = TestApp::shared().await.admin();
    let repository = repository("pull");
    let blob = Blob::hashed(Algorithm::Sha512, "by sha512");
    push_blob(&client, &repository, &blob).await;
    let got = client
        .get(&format!("/v2/{repository}/blobs/{}", blob.digest))
        .await
        .expect(200);
    assert_eq!((got.digest(), got.body), (blob.digest, blob.content));

    let image = Image::random(15);
    push(&client, &repository, "tag", &image).await;
    let manifest = image.manifest.hashed(Algorithm::Sha512);
    let digest = manifest.digest.to_string();
    let put = push_manifest(&client, &repository, &digest, &manifest).await;
    assert_eq!(put.digest(), manifest.digest);
    let got = client
        .get(&format!("/v2/{repository}/manifests/{digest}"))
        .await
        .expect(200);
    assert_eq!(
        (got.digest(), got.body),
        (manifest.digest, manifest.payload)
    );
}

#[tokio::test]
async fn the_base_says_whether_the_credentials_are_good() {
    let app = TestApp::shared().await;
    for target in ["/v2/", "/v2"] {
        app.admin().get(target).await.expect(200);
        app.anonymous()
            .get(target)
            .await
            .refused(401, "UNAUTHORIZED");
        app.anonymous()
            .basic("admin", "wrong")
            .get(target)
            .await
            .refused(401, "UNAUTHORIZED");
        // `docker login` ends with a token that asks for nothing.
        let token = app.token(&app.admin(), &[]).await;
        app.anonymous().bearer(&token).get(target).await.expect(200);
    }
}

#[tokio::test]
async fn a_client_that_waits_for_leave_to_send_gets_it() {
    let app = TestApp::shared().await;
    let repository = repository("pull");
    let blob = Blob::new("sent after the server said so");
    let token = app
        .token(
            &app.admin(),
            &[&format!("repository:{repository}:pull,push")],
        )
        .await;
    let head = format!(
        "POST /v2/{repository}/blobs/uploads/?digest={} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        blob.digest,
        blob.content.len()
    );
    let request = [head.as_bytes(), &blob.content].concat();
    let answer = raw(app.address(), &request, Duration::from_secs(10))
        .await
        .unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(
        answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201"),
        "{answer}"
    );
}

#[tokio::test]
async fn large_blobs_are_fetched_from_the_store_directly() {
    let app = TestApp::shared_s3().await;
    let client = app.admin();
    let repository = repository("pull");
    let (small, large) = (Blob::random(16, 64 << 10), Blob::random(17, (64 << 10) + 1));
    for blob in [&small, &large] {
        push_blob(&client, &repository, blob).await;
    }
    // A config is answered here: a bot that reads a thousand of them saves a thousand round trips.
    let target = format!("/v2/{repository}/blobs/{}", small.digest);
    assert_eq!(client.get(&target).await.expect(200).body, small.content);

    let target = format!("/v2/{repository}/blobs/{}", large.digest);
    let moved = client.get(&target).await.expect(307);
    assert_eq!(moved.digest(), large.digest);
    assert_eq!(moved.header("cache-control"), "no-store");
    let url = moved.header("location");
    let lives = url
        .split("X-Amz-Expires=")
        .nth(1)
        .and_then(|rest| rest.split('&').next());
    let lives: u64 = lives
        .expect("a signed URL")
        .parse()
        .expect("a number of seconds");
    assert!(lives >= 20 * 60, "a slow start takes longer than {lives} s");
    let got = client.anonymous().get(url).await.expect(200);
    assert_eq!(got.body, large.content);
    assert_eq!(got.header("content-type"), media_type::OCTET_STREAM);
    let part = client
        .anonymous()
        .request(Method::GET, url)
        .header("range", "bytes=10-19");
    assert_eq!(
        part.send().await.expect(206).body,
        large.content.slice(10..20)
    );

    // A URL signed for GET fails on HEAD, so HEAD is answered here.
    let head = client.head(&target).await.expect(200);
    assert_eq!(
        head.header("content-length"),
        large.content.len().to_string()
    );
    // A range that cannot be served is refused here, several at once are streamed by us.
    let ask = |range: &str| {
        client
            .request(Method::GET, &target)
            .header("range", range)
            .send()
    };
    ask("bytes=99999999-").await.refused(416, "UNSUPPORTED");
    assert_eq!(ask("bytes=0-9,20-29").await.expect(200).body, large.content);
}

#[tokio::test]
async fn blobs_of_a_bucket_are_streamed_where_that_is_configured() {
    let app = TestApp::options(Store::S3)
        .with("STORAGE__REDIRECT", false)
        .start()
        .await;
    let client = app.admin();
    let blob = Blob::random(18, 300 << 10);
    push_blob(&client, "a/b", &blob).await;
    let target = format!("/v2/a/b/blobs/{}", blob.digest);
    assert_eq!(client.get(&target).await.expect(200).body, blob.content);
    ranges(&client, &target, &blob).await;
    app.settled().await;
}
