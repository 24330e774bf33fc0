//! Uploading blobs: every way that clients have, and what happens when they go wrong.

use crate::app::{Store, TestApp, push_blob, repository};
use bytes::Bytes;
use http::Method;
use portolan_oci::{Algorithm, Digest};
use portolan_testkit::children::eventually;
use portolan_testkit::client::{Answer, Client};
use portolan_testkit::image::Blob;
use std::io;

/// Begins an upload.
async fn begin(client: &Client, repository: &str) -> Answer {
    let answer = client
        .post(&format!("/v2/{repository}/blobs/uploads/"))
        .await
        .expect(202);
    let id = answer.header("docker-upload-uuid");
    assert_eq!(
        answer.location(),
        format!("/v2/{repository}/blobs/uploads/{id}")
    );
    assert_eq!(answer.header("range"), "0-0");
    assert_eq!(answer.header("content-length"), "0");
    assert_eq!(answer.header("oci-chunk-min-length"), (5 << 20).to_string());
    answer
}

/// Sends a chunk with its `Content-Range`.
async fn chunk(client: &Client, location: &str, blob: &Blob, first: usize, last: usize) -> Answer {
    client
        .request(Method::PATCH, location)
        .header("content-range", format!("{first}-{last}"))
        .header("content-type", "application/octet-stream")
        .body(blob.content.slice(first..=last))
        .send()
        .await
}

/// Ends an upload that has everything.
async fn finish(client: &Client, upload: &Answer, blob: &Blob, rest: impl Into<Bytes>) -> Answer {
    let target = upload.location_with(&format!("digest={}", blob.digest));
    client.put(&target, rest).await
}

/// Checks the answer of a finished upload, and that the blob is there.
async fn is_stored(client: &Client, repository: &str, answer: Answer, blob: &Blob) {
    let answer = answer.expect(201);
    assert_eq!(
        answer.location(),
        format!("/v2/{repository}/blobs/{}", blob.digest)
    );
    assert_eq!(answer.digest(), blob.digest);
    let got = client.get(answer.location()).await.expect(200);
    assert!(
        got.body == blob.content,
        "the blob comes back as it went in"
    );
}

#[tokio::test]
async fn a_blob_can_be_pushed_in_one_request() {
    let client = TestApp::shared().await.admin();
    let repository = repository("upload");
    for slash in ["/", ""] {
        let blob = Blob::random(600 + slash.len() as u64, 1000);
        let target = format!(
            "/v2/{repository}/blobs/uploads{slash}?digest={}",
            blob.digest
        );
        let request = client
            .request(Method::POST, &target)
            .body(blob.content.clone());
        is_stored(&client, &repository, request.send().await, &blob).await;
    }
}

#[tokio::test]
async fn a_blob_can_be_pushed_by_post_and_put() {
    let client = TestApp::shared().await.admin();
    let repository = repository("upload");
    let blob = Blob::random(602, 1000);
    let upload = begin(&client, &repository).await;
    let answer = finish(&client, &upload, &blob, blob.content.clone()).await;
    is_stored(&client, &repository, answer, &blob).await;
}

#[tokio::test]
async fn a_blob_can_be_streamed() {
    let client = TestApp::shared().await.admin();
    let repository = repository("upload");
    let blob = Blob::random(603, 1 << 20);
    let upload = begin(&client, &repository).await;
    // Without a length and without `Content-Range`, as docker does.
    let pieces: Vec<io::Result<Bytes>> = blob
        .content
        .chunks(10_000)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    let request = client
        .request(Method::PATCH, upload.location())
        .pieces(pieces);
    let upload = request.send().await.expect(202);
    // docker reads `%d-%d`.
    assert_eq!(
        upload.header("range"),
        format!("0-{}", blob.content.len() - 1)
    );
    assert_eq!(upload.header("content-length"), "0");
    let answer = finish(&client, &upload, &blob, "").await;
    is_stored(&client, &repository, answer, &blob).await;
}

#[tokio::test]
async fn a_blob_can_be_pushed_in_chunks() {
    let client = TestApp::shared().await.admin();
    let repository = repository("upload");
    for last_by_put in [false, true] {
        let blob = Blob::random(604 + u64::from(last_by_put), 2500);
        let mut upload = begin(&client, &repository).await;
        for (first, last) in [(0, 999), (1000, 1999), (2000, 2499)] {
            if last_by_put && first == 2000 {
                break;
            }
            upload = chunk(&client, upload.location(), &blob, first, last)
                .await
                .expect(202);
            assert_eq!(upload.header("range"), format!("0-{last}"));
        }
        let answer = if last_by_put {
            let target = upload.location_with(&format!("digest={}", blob.digest));
            let request = client
                .request(Method::PUT, &target)
                .header("content-range", "2000-2499");
            request.body(blob.content.slice(2000..)).send().await
        } else {
            finish(&client, &upload, &blob, "").await
        };
        is_stored(&client, &repository, answer, &blob).await;
    }
}

#[tokio::test]
async fn a_chunk_out_of_order_is_refused_and_the_upload_goes_on() {
    let client = TestApp::shared().await.admin();
    let repository = repository("upload");
    let blob = Blob::random(606, 3000);
    let upload = begin(&client, &repository).await;
    let location = upload.location().to_owned();
    chunk(&client, &location, &blob, 0, 999).await.expect(202);
    // Ahead, again, overlapping, backward, unreadable, and too large for any number.
    for range in [
        "2000-2999",
        "0-999",
        "500-1499",
        "1999-1000",
        "1000",
        "-",
        "a-b",
        "1000-",
        "1000-18446744073709551615",
        "99999999999999999999-99999999999999999999",
    ] {
        let request = client
            .request(Method::PATCH, &location)
            .header("content-range", range);
        let refused = request.body(blob.content.slice(1000..2000)).send().await;
        let refused = refused.refused(416, "BLOB_UPLOAD_INVALID");
        assert_eq!(refused.header("range"), "0-999", "{range}");
        assert_eq!(refused.location(), location);
        let status = client.get(&location).await.expect(204);
        assert_eq!(
            (status.header("range"), status.location()),
            ("0-999", location.as_str())
        );
    }
    let target = format!("{location}?digest={}", blob.digest);
    let request = client
        .request(Method::PUT, &target)
        .header("content-range", "2000-2999");
    let refused = request.body(blob.content.slice(2000..)).send().await;
    refused.refused(416, "BLOB_UPLOAD_INVALID");
    // A range that says another length than the body has.
    let request = client
        .request(Method::PATCH, &location)
        .header("content-range", "1000-1999");
    request
        .body(blob.content.slice(1000..1500))
        .send()
        .await
        .refused(400, "SIZE_INVALID");

    let offset = client.get(&location).await.expect(204);
    let received: usize = offset
        .header("range")
        .strip_prefix("0-")
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(received, 999, "what was refused is not part of the upload");
    chunk(&client, &location, &blob, 1000, 2999)
        .await
        .expect(202);
    let answer = client.put(&target, "").await;
    is_stored(&client, &repository, answer, &blob).await;
}

#[tokio::test]
async fn an_upload_can_be_looked_at_and_given_up() {
    let client = TestApp::shared().await.admin();
    let repository = repository("upload");
    let upload = begin(&client, &repository).await;
    let location = upload.location();
    let status = client.get(location).await.expect(204);
    assert_eq!(
        (status.header("range"), status.location()),
        ("0-0", location)
    );
    client.patch(location, "some bytes").await.expect(202);
    assert_eq!(
        client.get(location).await.expect(204).header("range"),
        "0-9"
    );
    client.delete(location).await.expect(204);
    for answer in [
        client.get(location).await,
        client.delete(location).await,
        client.patch(location, "more").await,
        client
            .put(&format!("{location}?digest={}", Digest::sha256(b"")), "")
            .await,
    ] {
        answer.refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
}

#[tokio::test]
async fn a_finished_upload_is_over() {
    let client = TestApp::shared().await.admin();
    let repository = repository("upload");
    let blob = Blob::random(607, 100);
    let upload = begin(&client, &repository).await;
    finish(&client, &upload, &blob, blob.content.clone())
        .await
        .expect(201);
    client
        .patch(upload.location(), "more")
        .await
        .refused(404, "BLOB_UPLOAD_UNKNOWN");
    let again = finish(&client, &upload, &blob, blob.content.clone()).await;
    again.refused(404, "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn content_that_is_not_what_its_digest_says_is_refused() {
    let client = TestApp::shared().await.admin();
    let repository = repository("upload");
    push_blob(&client, &repository, &Blob::new("something else")).await;
    let blob = Blob::random(608, 1000);
    let other = Blob::random(609, 1000);
    // At once, with the PUT, and after a PATCH.
    let target = format!("/v2/{repository}/blobs/uploads/?digest={}", other.digest);
    let request = client
        .request(Method::POST, &target)
        .body(blob.content.clone());
    request.send().await.refused(400, "DIGEST_INVALID");
    let upload = begin(&client, &repository).await;
    let answer = finish(&client, &upload, &other, blob.content.clone()).await;
    answer.refused(400, "DIGEST_INVALID");
    let upload = begin(&client, &repository).await;
    client
        .patch(upload.location(), blob.content.clone())
        .await
        .expect(202);
    finish(&client, &upload, &other, "")
        .await
        .refused(400, "DIGEST_INVALID");
    // The upload is as it was, and can still become what it is.
    assert_eq!(
        client
            .get(upload.location())
            .await
            .expect(204)
            .header("range"),
        "0-999"
    );
    finish(&client, &upload, &other, "")
        .await
        .refused(400, "DIGEST_INVALID");
    finish(&client, &upload, &blob, "").await.expect(201);
    client
        .delete(&format!("/v2/{repository}/blobs/{}", blob.digest))
        .await
        .expect(202);
    client
        .get(&format!("/v2/{repository}/blobs/{}", other.digest))
        .await
        .refused(404, "BLOB_UNKNOWN");
    // Nobody gets the bytes under their right name either, but by pushing them.
    let digest = blob.digest;
    client
        .get(&format!("/v2/{repository}/blobs/{digest}"))
        .await
        .refused(404, "BLOB_UNKNOWN");
    push_blob(&client, &repository, &blob).await;
}

#[tokio::test]
async fn a_digest_that_cannot_be_one_is_refused() {
    let client = TestApp::shared().await.admin();
    let repository = repository("upload");
    let upload = begin(&client, &repository).await;
    let hex = "a".repeat(64);
    for digest in [
        "",
        "sha256",
        "sha256:",
        "sha256:abc",
        &format!("sha1:{}", "a".repeat(40)),
        &format!("md5:{}", "a".repeat(32)),
        &format!("sha256:{}", hex.to_uppercase()),
        &format!("SHA256:{hex}"),
        &format!("sha256:{hex}0"),
        &format!("sha512:{hex}"),
        &format!("sha256%253A{hex}"),
        &format!("sha256:{hex}%00"),
    ] {
        let put = upload.location_with(&format!("digest={digest}"));
        client.put(&put, "x").await.refused(400, "DIGEST_INVALID");
        let post = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let request = client.request(Method::POST, &post).body("x");
        request.send().await.refused(400, "DIGEST_INVALID");
    }
    client
        .put(upload.location(), "x")
        .await
        .refused(400, "DIGEST_INVALID");
    assert_eq!(
        client
            .get(upload.location())
            .await
            .expect(204)
            .header("range"),
        "0-0"
    );
}

#[tokio::test]
async fn any_way_works_with_sha512() {
    let client = TestApp::shared().await.admin();
    let repository = repository("upload");
    let blob = |seed| Blob::hashed(Algorithm::Sha512, Blob::random(seed, 3000).content);
    // Announced.
    let announced = format!("/v2/{repository}/blobs/uploads/?digest-algorithm=sha512");
    let upload = client.post(&announced).await.expect(202);
    let one = blob(610);
    chunk(&client, upload.location(), &one, 0, 1499)
        .await
        .expect(202);
    chunk(&client, upload.location(), &one, 1500, 2999)
        .await
        .expect(202);
    let answer = finish(&client, &upload, &one, "").await;
    is_stored(&client, &repository, answer, &one).await;
    // Not announced: whole by PUT, streamed, in one request.
    let two = blob(611);
    let upload = begin(&client, &repository).await;
    let answer = finish(&client, &upload, &two, two.content.clone()).await;
    is_stored(&client, &repository, answer, &two).await;
    let three = blob(612);
    let upload = begin(&client, &repository).await;
    client
        .patch(upload.location(), three.content.clone())
        .await
        .expect(202);
    let answer = finish(&client, &upload, &three, "").await;
    is_stored(&client, &repository, answer, &three).await;
    push_blob(&client, &repository, &blob(613)).await;

    for algorithm in ["sha1", "md5", "SHA512", ""] {
        let target = format!("/v2/{repository}/blobs/uploads/?digest-algorithm={algorithm}");
        client.post(&target).await.refused(400, "DIGEST_INVALID");
    }
}

#[tokio::test]
async fn nothing_is_a_blob_too() {
    let client = TestApp::shared().await.admin();
    let repository = repository("upload");
    let empty = Blob::new("");
    push_blob(&client, &repository, &empty).await;
    let upload = begin(&client, &repository).await;
    let answer = finish(&client, &upload, &empty, "").await;
    is_stored(&client, &repository, answer, &empty).await;
    let head = client
        .head(&format!("/v2/{repository}/blobs/{}", empty.digest))
        .await
        .expect(200);
    assert_eq!(head.header("content-length"), "0");
}

#[tokio::test]
async fn the_same_blob_can_be_pushed_again_and_elsewhere() {
    let client = TestApp::shared().await.admin();
    let blob = Blob::random(614, 5000);
    let repositories = [repository("upload"), repository("upload")];
    let pushes = (0..8).map(|number| push_blob(&client, &repositories[number % 2], &blob));
    futures::future::join_all(pushes).await;
    for repository in &repositories {
        let got = client
            .get(&format!("/v2/{repository}/blobs/{}", blob.digest))
            .await
            .expect(200);
        assert_eq!(got.body, blob.content);
    }
}

#[tokio::test]
async fn an_upload_belongs_to_who_began_it_and_where() {
    let app = TestApp::shared().await;
    let name = format!("owner{}", crate::app::unique());
    let (admin, owner) = (app.admin(), app.user(&name));
    let (repository, other) = (format!("{name}/a"), format!("{name}/b"));
    let upload = begin(&owner, &repository).await;
    let id = upload.header("docker-upload-uuid");
    let elsewhere = format!("/v2/{other}/blobs/uploads/{id}");
    for (client, target) in [(&admin, upload.location()), (&owner, elsewhere.as_str())] {
        client.get(target).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
        client
            .patch(target, "x")
            .await
            .refused(404, "BLOB_UPLOAD_UNKNOWN");
        client
            .delete(target)
            .await
            .refused(404, "BLOB_UPLOAD_UNKNOWN");
        let put = format!("{target}?digest={}", Digest::sha256(b"x"));
        client
            .put(&put, "x")
            .await
            .refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
    owner.patch(upload.location(), "x").await.expect(202);
}

#[tokio::test]
async fn of_two_writers_at_once_one_is_told_to_wait() {
    let client = TestApp::shared().await.admin();
    let repository = repository("upload");
    let blob = Blob::random(615, 1 << 20);
    let upload = begin(&client, &repository).await;
    let location = upload.location().to_owned();
    let writers = (0..4).map(|_| chunk(&client, &location, &blob, 0, blob.content.len() - 1));
    let answers = futures::future::join_all(writers).await;
    let mut stored = 0;
    for answer in answers {
        match answer.status.as_u16() {
            202 => stored += 1,
            // Still at work, or done already.
            409 | 416 => {
                let answer = answer.clone();
                let refused = answer.status.as_u16();
                let answer = answer.refused(refused, "BLOB_UPLOAD_INVALID");
                assert_eq!(answer.location(), location);
                assert!(answer.has("range"));
            }
            _ => {
                answer.expect(202);
            }
        }
    }
    assert_eq!(stored, 1);
    let answer = finish(&client, &upload, &blob, "").await;
    is_stored(&client, &repository, answer, &blob).await;
}

#[tokio::test]
async fn a_broken_connection_keeps_what_has_come_and_the_offset_tells_it() {
    let client = TestApp::shared().await.admin();
    let repository = repository("upload");
    let blob = Blob::random(616, 3 << 20);
    let upload = begin(&client, &repository).await;
    let location = upload.location().to_owned();
    let mut pieces: Vec<io::Result<Bytes>> = blob.content[..2 << 20]
        .chunks(64 << 10)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    pieces.push(Err(io::ErrorKind::ConnectionAborted.into()));
    let broken = client
        .request(Method::PATCH, &location)
        .pieces(pieces)
        .try_send()
        .await;
    assert!(broken.is_err());
    // The server hears of it when it reads; until then the upload is busy.
    let mut received = 0;
    eventually("the upload can be continued", || {
        let (client, location, blob) = (&client, &location, &blob);
        async move {
            let status = client.get(location).await.expect(204);
            let last: usize = status
                .header("range")
                .strip_prefix("0-")
                .unwrap()
                .parse()
                .unwrap();
            let first = if last == 0 { 0 } else { last + 1 };
            let answer = chunk(client, location, blob, first, blob.content.len() - 1).await;
            answer.status == 202
        }
    })
    .await;
    received += client
        .get(&location)
        .await
        .expect(204)
        .header("range")
        .len();
    assert!(received > 0);
    let answer = finish(&client, &upload, &blob, "").await;
    is_stored(&client, &repository, answer, &blob).await;
}

#[tokio::test]
async fn an_upload_goes_on_in_another_process() {
    let app = TestApp::start().await;
    let other = app.another();
    let (here, there) = (app.admin(), other.admin());
    let blob = Blob::random(617, 20 << 20);
    let size = blob.content.len();
    let upload = begin(&here, "a/b").await;
    let location = upload.location();
    let half = 9 << 20;
    chunk(&here, location, &blob, 0, half - 1).await.expect(202);
    assert_eq!(
        there.get(location).await.expect(204).header("range"),
        format!("0-{}", half - 1)
    );
    chunk(&there, location, &blob, half, size - 2)
        .await
        .expect(202);
    chunk(&here, location, &blob, size - 1, size - 1)
        .await
        .expect(202);
    let answer = finish(&there, &upload, &blob, "").await;
    is_stored(&here, "a/b", answer, &blob).await;
    app.settled().await;
}

#[tokio::test]
async fn beginning_an_upload_does_not_touch_the_store() {
    let app = TestApp::options(Store::S3).start().await;
    let client = app.admin();
    let asked = |app: &TestApp| {
        let requests = app.store_requests();
        requests
            .iter()
            .filter(|request| !request.starts_with("HEAD /?") && *request != "HEAD ")
            .count()
    };
    let before = asked(&app);
    // kaniko and crane find out so whether they may push.
    let upload = begin(&client, "a/b").await;
    client.delete(upload.location()).await.expect(204);
    assert_eq!(asked(&app), before);
    // A small layer is one call, whichever way it comes.
    push_blob(&client, "a/b", &Blob::random(618, 1 << 20)).await;
    assert_eq!(asked(&app), before + 1, "{:#?}", app.store_requests());
    let blob = Blob::random(619, 1 << 20);
    let upload = begin(&client, "a/b").await;
    finish(&client, &upload, &blob, blob.content.clone())
        .await
        .expect(201);
    assert_eq!(asked(&app), before + 2, "{:#?}", app.store_requests());
    app.settled().await;
}
