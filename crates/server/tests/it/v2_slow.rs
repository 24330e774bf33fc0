//! Clients that stop in the middle: each is cut off, and what it held is free again.

use crate::app::{Store, TestApp, repository};
use portolan_testkit::children::eventually;
use portolan_testkit::client::raw;
use std::time::Duration;

/// Far longer than the pause that is allowed below, so that silence is the server's doing.
const PATIENCE: Duration = Duration::from_secs(30);

/// A registry whose clients may pause for a second.
async fn impatient() -> TestApp {
    TestApp::options(Store::Directory)
        .with("HTTP__BOUNDS__BODY_PAUSE", "1s")
        .start()
        .await
}

/// The head of a request whose body will not come as announced.
async fn head(app: &TestApp, name: &str, method: &str, target: &str) -> String {
    let scope = format!("repository:{name}:pull,push");
    let token = app.token(&app.admin(), &[&scope]).await;
    format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/vnd.oci.image.manifest.v1+json\r\nContent-Length: 1000\r\n\r\n"
    )
}

#[tokio::test]
async fn a_manifest_that_does_not_come_is_given_up() {
    let app = impatient().await;
    let name = repository("slow");
    let request = head(&app, &name, "PUT", &format!("/v2/{name}/manifests/tag")).await + "{\"x";
    let answer = raw(app.address(), request.as_bytes(), PATIENCE)
        .await
        .unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("\"errors\""), "{answer}");
    app.settled().await;
}

#[tokio::test]
async fn an_upload_that_stops_can_be_continued_by_its_client() {
    let app = impatient().await;
    let client = app.admin();
    let name = repository("slow");
    let begun = client
        .post(&format!("/v2/{name}/blobs/uploads/"))
        .await
        .expect(202);
    let location = begun.location();
    let request = head(&app, &name, "PATCH", location).await + "some bytes";
    let answer = raw(app.address(), request.as_bytes(), PATIENCE)
        .await
        .unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    // What was kept of it the offset tells; from there it goes on.
    eventually("the upload is nobody's", || async {
        let status = client.get(location).await.expect(204);
        let last: u64 = status
            .header("range")
            .trim_start_matches("0-")
            .parse()
            .unwrap();
        let first = if last == 0 { 0 } else { last + 1 };
        let request = client.request(http::Method::PATCH, location);
        let range = format!("{first}-{}", first + 3);
        request
            .header("content-range", range)
            .body("more")
            .send()
            .await
            .status
            == 202
    })
    .await;
    client.delete(location).await.expect(204);
    app.settled().await;
}

#[tokio::test]
async fn a_blob_that_does_not_come_leaves_nothing() {
    let app = impatient().await;
    let name = repository("slow");
    let digest = portolan_oci::Digest::sha256(b"never");
    let target = format!("/v2/{name}/blobs/uploads/?digest={digest}");
    let request = head(&app, &name, "POST", &target).await + "some bytes";
    let answer = raw(app.address(), request.as_bytes(), PATIENCE)
        .await
        .unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 4"),
        "{:?}",
        String::from_utf8_lossy(&answer)
    );
    eventually("the upload is gone", || async {
        app.count("SELECT count(*) FROM upload").await == 0
    })
    .await;
    assert_eq!(app.objects(), Vec::<String>::new());
    app.settled().await;
}
