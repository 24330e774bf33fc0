//! Hostile and broken requests, as tables: the right code, the right envelope, and nothing kept of them.

use crate::app::{TestApp, push_blob};
use crate::untouched::Fixture;
use http::Method;
use portolan_oci::media_type;
use portolan_testkit::client::raw;
use portolan_testkit::image::{Blob, ManifestFile};
use serde_json::{Value, json};
use std::time::Duration;

/// Sends bytes that no client library would, and reads the status and the first code.
async fn status_of(app: &TestApp, request: &[u8]) -> (u16, Option<String>) {
    let answer = raw(app.address(), request, Duration::from_secs(20))
        .await
        .expect("an answer");
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no answer: {text:?}"));
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let start = body.find('{').unwrap_or(body.len());
    let envelope: Option<Value> = serde_json::Deserializer::from_str(&body[start..])
        .into_iter()
        .next()
        .and_then(Result::ok);
    let code =
        envelope.and_then(|envelope| Some(envelope["errors"][0]["code"].as_str()?.to_owned()));
    (status, code)
}

#[tokio::test]
async fn names_that_cannot_be_are_refused() {
    let fixture = Fixture::new().await;
    let token = fixture.app.token(&fixture.client, &[]).await;
    let long = "a/".repeat(127) + "ab";
    assert_eq!(long.len(), 256);
    let deep = "a/".repeat(5000) + "b";
    for name in [
        "..",
        "a/../b",
        "../../etc/passwd",
        "%2e%2e",
        "a/%2e%2e/b",
        "a%2Fb",
        "a%252Fb",
        "a//b",
        "/a",
        "a/",
        "A/b",
        "a/B",
        "a_/b",
        "_a",
        "a-",
        ".a",
        "a..b",
        "a___b",
        "a b",
        "a%00b",
        "a%20b",
        "a+b",
        "a:b",
        "a@b",
        "\u{e9}",
        "a/\u{1F980}",
        "%C3%A9",
        "%ff",
        "a\\b",
        "a;b",
        "*",
        "~a",
        "a?/",
        long.as_str(),
        deep.as_str(),
    ] {
        for (method, rest) in [
            ("GET", "manifests/tag".to_owned()),
            ("PUT", "manifests/tag".to_owned()),
            ("DELETE", "manifests/tag".to_owned()),
            ("HEAD", format!("blobs/{}", fixture.image.config.digest)),
            ("POST", "blobs/uploads/".to_owned()),
            ("GET", "tags/list".to_owned()),
            (
                "GET",
                format!("referrers/{}", fixture.image.manifest.digest),
            ),
        ] {
            let request = format!(
                "{method} /v2/{name}/{rest} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                 Authorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
            );
            let (status, code) = status_of(&fixture.app, request.as_bytes()).await;
            // What is not even a path is refused by HTTP itself; what is none of this API's is not found.
            let code = code.as_deref();
            let refused = match status {
                400 => code == Some("NAME_INVALID") || code.is_none(),
                404 => code == Some("UNSUPPORTED") || method == "HEAD",
                _ => false,
            };
            assert!(refused, "{method} {name:.40}/{rest}: {status} {code:?}");
        }
    }
    fixture.nothing_was_kept().await;
}

#[tokio::test]
async fn names_are_refused_by_their_own_code() {
    let fixture = Fixture::new().await;
    for name in [
        "a/../b", "%2e%2e", "a%2Fb", "a//b", "A/b", "a%00b", "a___b", "a/b%20",
    ] {
        for target in [
            format!("/v2/{name}/manifests/tag"),
            format!("/v2/{name}/tags/list"),
        ] {
            fixture
                .client
                .get(&target)
                .await
                .refused(400, "NAME_INVALID");
        }
    }
    fixture.nothing_was_kept().await;
}

#[tokio::test]
async fn digests_and_tags_that_cannot_be_are_refused() {
    let fixture = Fixture::new().await;
    let client = &fixture.client;
    let hex = "a".repeat(64);
    for digest in [
        "sha256:",
        "sha256:abc",
        "sha256",
        &format!("sha1:{}", "a".repeat(40)),
        &format!("md5:{}", "a".repeat(32)),
        &format!("sha256:{}", hex.to_uppercase()),
        &format!("sha256:{hex}a"),
        &format!("sha512:{hex}"),
        &format!("sha256%3A{hex}"),
        &format!("sha256%253A{hex}"),
        &format!("SHA256:{hex}"),
        &format!("blake3:{hex}"),
        &format!("sha256:{}g", &hex[1..]),
        &format!("sha256:{hex}%00"),
    ] {
        let blob = format!("/v2/a/b/blobs/{digest}");
        client.get(&blob).await.refused(400, "DIGEST_INVALID");
        client.head(&blob).await.expect(400);
        client.delete(&blob).await.refused(400, "DIGEST_INVALID");
        client
            .get(&format!("/v2/a/b/referrers/{digest}"))
            .await
            .refused(400, "DIGEST_INVALID");
        let manifest = format!("/v2/a/b/manifests/{digest}");
        if digest.contains(':') {
            client.get(&manifest).await.refused(400, "DIGEST_INVALID");
            client
                .delete(&manifest)
                .await
                .refused(400, "DIGEST_INVALID");
            client
                .put(&manifest, "{}")
                .await
                .refused(400, "DIGEST_INVALID");
        }
    }
    let long = "a".repeat(129);
    for tag in [
        ".a",
        "-a",
        "a%20b",
        "a%2Fb",
        "a+b",
        "%C3%A9",
        "a%00",
        "a@b",
        "a~",
        long.as_str(),
    ] {
        let target = format!("/v2/a/b/manifests/{tag}");
        client.get(&target).await.refused(400, "TAG_INVALID");
        client
            .put(&target, fixture.image.manifest.payload.clone())
            .await
            .refused(400, "TAG_INVALID");
        client.delete(&target).await.refused(400, "TAG_INVALID");
    }
    for id in [
        "x",
        "..",
        "%00",
        "00000000-0000-0000-0000-00000000000",
        "' OR 1=1",
    ] {
        let id = id.replace(' ', "%20");
        let target = format!("/v2/a/b/blobs/uploads/{id}");
        client
            .get(&target)
            .await
            .refused(404, "BLOB_UPLOAD_UNKNOWN");
        client
            .patch(&target, "x")
            .await
            .refused(404, "BLOB_UPLOAD_UNKNOWN");
        client
            .delete(&target)
            .await
            .refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
    fixture.nothing_was_kept().await;
}

#[tokio::test]
async fn bodies_that_are_not_what_was_announced_are_refused() {
    let fixture = Fixture::new().await;
    let token = fixture
        .app
        .token(&fixture.client, &["repository:a/b:pull,push"])
        .await;
    let payload = &fixture.image.manifest.payload;
    let blob = Blob::random(801, 1000);
    let head = |method: &str, target: &str, more: &str| {
        format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\nContent-Type: {}\r\n{more}\r\n\r\n",
            media_type::OCI_IMAGE
        )
    };
    let put = |more: &str, body: &[u8]| {
        [head("PUT", "/v2/a/b/manifests/lie", more).as_bytes(), body].concat()
    };
    // Longer than announced: the rest is another request, and no good one.
    let longer = put(&format!("Content-Length: {}", payload.len() - 10), payload);
    assert_eq!(
        status_of(&fixture.app, &longer).await,
        (400, Some("MANIFEST_INVALID".into()))
    );
    // Announced beyond the limit.
    let huge = put("Content-Length: 4194305", &vec![b' '; 4_194_305]);
    assert_eq!(
        status_of(&fixture.app, &huge).await,
        (413, Some("MANIFEST_INVALID".into()))
    );
    let beyond = put("Content-Length: 18446744073709551615", b"");
    let refused = status_of(&fixture.app, &beyond).await;
    // hyper's own number for "no length", which it takes for too large a head.
    assert!(matches!(refused.0, 400 | 413 | 431), "{refused:?}");
    for lengths in [
        "Content-Length: -1",
        "Content-Length: x",
        "Content-Length: 5\r\nContent-Length: 6",
    ] {
        assert_eq!(
            status_of(&fixture.app, &put(lengths, payload)).await.0,
            400,
            "{lengths}"
        );
    }
    // Smuggling: two ways to say the length.
    let both = put(
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"0\r\n\r\n",
    );
    assert_eq!(status_of(&fixture.app, &both).await.0, 400);
    let broken = put("Transfer-Encoding: chunked", b"zz\r\nnot a chunk");
    assert_eq!(status_of(&fixture.app, &broken).await.0, 400);
    // A body that ends early is no blob.
    let target = format!("/v2/a/b/blobs/uploads/?digest={}", blob.digest);
    let mut stream = tokio::net::TcpStream::connect(fixture.app.address())
        .await
        .unwrap();
    let request = [
        head("POST", &target, "Content-Length: 1000").as_bytes(),
        &blob.content[..500],
    ]
    .concat();
    tokio::io::AsyncWriteExt::write_all(&mut stream, &request)
        .await
        .unwrap();
    drop(stream);
    let found = format!("/v2/a/b/blobs/{}", blob.digest);
    fixture
        .client
        .get(&found)
        .await
        .refused(404, "BLOB_UNKNOWN");
    portolan_testkit::children::eventually("the broken push has left nothing", || async {
        fixture.app.count("SELECT count(*) FROM upload").await == 0
    })
    .await;
    fixture.nothing_was_kept().await;
}

#[tokio::test]
async fn lists_do_not_believe_what_they_are_asked() {
    let fixture = Fixture::new().await;
    let client = &fixture.client;
    let digest = fixture.image.manifest.digest;
    for list in [
        "/v2/a/b/tags/list",
        "/v2/_catalog",
        &format!("/v2/a/b/referrers/{digest}"),
    ] {
        for n in ["-1", "x", "1e9", "0x10", "", "%00", "1;DROP%20TABLE%20tag"] {
            client
                .get(&format!("{list}?n={n}"))
                .await
                .refused(400, "PAGINATION_NUMBER_INVALID");
        }
        for n in ["1000000000", "18446744073709551615", "18446744073709551616"] {
            client.get(&format!("{list}?n={n}")).await.expect(200);
        }
    }
    let long = "z".repeat(30_000);
    for last in [
        "%00",
        "a%00b",
        "'",
        "%27%20OR%201=1--",
        "%ff%fe",
        "\u{e9}",
        "..",
        long.as_str(),
    ] {
        let last = last.replace('\u{e9}', "%C3%A9");
        for list in ["/v2/a/b/tags/list", "/v2/_catalog"] {
            client.get(&format!("{list}?last={last}")).await.expect(200);
        }
        let referrers = format!("/v2/a/b/referrers/{digest}?last={last}");
        client.get(&referrers).await.refused(400, "DIGEST_INVALID");
    }
    fixture.nothing_was_kept().await;
}

#[tokio::test]
async fn a_host_cannot_be_slipped_into_what_clients_follow() {
    let fixture = Fixture::new().await;
    for (headers, expected) in [
        (
            "Host: evil.example\r\nX-Forwarded-Host: worse.example",
            "http://evil.example/v2/auth",
        ),
        (
            "Host: localhost\r\nX-Forwarded-Host: worse.example\r\nX-Forwarded-Proto: https",
            "http://localhost/v2/auth",
        ),
        (
            "Host: localhost\r\nForwarded: host=worse.example",
            "http://localhost/v2/auth",
        ),
    ] {
        let request =
            format!("GET /v2/a/b/tags/list HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n");
        let answer = raw(
            fixture.app.address(),
            request.as_bytes(),
            Duration::from_secs(10),
        )
        .await
        .unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        assert!(
            answer.contains(&format!("realm=\"{expected}\"")),
            "{answer}"
        );
    }
    for host in ["a\"b", "a b", "a,b", "u@h", "h/x", ""] {
        let request = format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(
            status_of(&fixture.app, request.as_bytes()).await.0,
            400,
            "{host:?}"
        );
    }
    // Locations have no host at all.
    let request = fixture
        .client
        .request(Method::POST, "/v2/a/b/blobs/uploads/");
    let upload = request
        .header("x-forwarded-host", "worse.example")
        .send()
        .await
        .expect(202);
    fixture.client.delete(upload.location()).await.expect(204);
    fixture.nothing_was_kept().await;
}

#[tokio::test]
async fn foreign_urls_in_a_manifest_are_never_fetched() {
    let fixture = Fixture::new().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let client = &fixture.client;
    let config = Blob::new(r#"{"os":"windows"}"#);
    push_blob(client, "foreign/urls", &config).await;
    let mut layer = Blob::random(802, 100).descriptor(media_type::DOCKER_FOREIGN_LAYER_GZIP);
    layer["urls"] = json!([format!("http://{}/layer", listener.local_addr().unwrap())]);
    let manifest = ManifestFile::of(&json!({
        "schemaVersion": 2,
        "mediaType": media_type::DOCKER_IMAGE,
        "config": config.descriptor(media_type::DOCKER_CONFIG),
        "layers": [layer],
    }));
    crate::app::push_manifest(client, "foreign/urls", "tag", &manifest).await;
    client
        .get("/v2/foreign/urls/manifests/tag")
        .await
        .expect(200);
    assert!(listener.accept().is_err(), "nobody asked for the layer");
    fixture.app.settled().await;
}
