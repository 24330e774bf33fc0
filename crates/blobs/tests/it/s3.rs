//! What a bucket promises beyond the suite, on a real S3 server.

use crate::suite::{PART, bytes, fresh, part, read, suite};
use bytes::Bytes;
use futures::TryStreamExt;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use portolan_blobs::{
    BlobRead, BlobStore, Error, Hasher, Part, S3Credentials, S3Encryption, S3Endpoint, S3Settings,
    S3Store,
};
use portolan_oci::{Algorithm, Digest};
use portolan_testkit::s3_server::S3Server;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// One server for all tests, a bucket for each.
static SERVER: LazyLock<S3Server> = LazyLock::new(S3Server::start);

fn bucket() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let name = format!("bucket-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    SERVER.create_bucket(&name);
    name
}

fn settings(bucket: &str) -> S3Settings {
    S3Settings {
        bucket: bucket.to_owned(),
        prefix: "/some/where/".to_owned(),
        region: Some(S3Server::REGION.to_owned()),
        endpoint: S3Endpoint {
            url: Some(SERVER.endpoint().parse().unwrap()),
            public_url: None,
            path_style: true,
        },
        credentials: S3Credentials::Static {
            access_key: S3Server::ACCESS_KEY.to_owned(),
            secret_key: S3Server::SECRET_KEY.into(),
        },
        encryption: S3Encryption::BucketDefault,
    }
}

async fn store() -> (S3Store, String) {
    let bucket = bucket();
    (S3Store::connect(settings(&bucket)).await, bucket)
}

suite!(store());

/// A plain HTTP client, as a registry's client is one.
async fn fetch(uri: &Uri, range: Option<&str>) -> (Response<()>, Bytes) {
    let address = uri.authority().unwrap().as_str().to_owned();
    let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(connection);
    let mut request = Request::get(uri.path_and_query().unwrap().as_str());
    request = request.header(header::HOST, address);
    if let Some(range) = range {
        request = request.header(header::RANGE, range);
    }
    let answer = sender
        .send_request(request.body(Empty::<Bytes>::new()).unwrap())
        .await
        .unwrap();
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (Response::from_parts(head, ()), body)
}

#[tokio::test]
async fn a_prefix_stands_before_every_key() {
    let (store, bucket) = store().await;
    let key = fresh();
    store.put(&key, bytes(1, 10).into(), None).await.unwrap();
    assert_eq!(
        SERVER.objects(&bucket),
        [format!("some/where/{key}")].into()
    );
    store.delete(&[key]).await.unwrap();
    assert!(SERVER.objects(&bucket).is_empty());
}

#[tokio::test]
async fn an_aborted_object_leaves_nothing_in_the_bucket() {
    let (store, bucket) = store().await;
    let key = fresh();
    let id = store.begin_multipart(&key).await.unwrap();
    part(&store, (&key, &id), 1, 0, &bytes(2, PART)).await;
    assert_eq!(SERVER.unfinished(&bucket), 1);
    store.abort_multipart(&key, None).await.unwrap();
    assert_eq!(SERVER.unfinished(&bucket), 0);
}

#[tokio::test]
async fn a_part_that_is_too_small_is_a_part_mismatch() {
    let (store, _bucket) = store().await;
    let key = fresh();
    let id = store.begin_multipart(&key).await.unwrap();
    let parts = [
        part(&store, (&key, &id), 1, 0, &bytes(3, 10)).await,
        part(&store, (&key, &id), 2, 10, &bytes(4, 10)).await,
    ];
    let refused = store
        .complete_multipart(&key, &id, &parts)
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::PartMismatch), "{refused:?}");
}

#[tokio::test]
async fn a_presigned_url_is_all_a_client_needs_and_names_a_harmless_type() {
    let (store, _bucket) = store().await;
    let (key, content) = (fresh(), bytes(5, 100_000));
    store.put(&key, content.clone().into(), None).await.unwrap();
    let uri = store.presign_get(&key).await.unwrap().unwrap();
    assert!(uri.query().unwrap().contains("X-Amz-Expires=1200"), "{uri}");
    let (head, body) = fetch(&uri, None).await;
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(
        head.headers()[header::CONTENT_TYPE],
        "application/octet-stream"
    );
    assert_eq!(head.headers()[header::CONTENT_DISPOSITION], "attachment");
    assert!(body == content);
    let (head, body) = fetch(&uri, Some("bytes=10-19")).await;
    assert_eq!(head.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(head.headers()[header::CONTENT_RANGE], "bytes 10-19/100000");
    assert!(body == content[10..20]);
}

/// zstd:chunked pulls ask for several ranges at once. versitygw 1.8.0 answers the whole object
/// with 200, as AWS S3 does, which clients handle; a 416 would be a hard error for them. So a
/// redirect may stand for such a request too.
#[tokio::test]
async fn several_ranges_of_a_presigned_url_are_answered_with_the_whole_object() {
    let (store, _bucket) = store().await;
    let (key, content) = (fresh(), bytes(6, 1_000));
    store.put(&key, content.clone().into(), None).await.unwrap();
    let uri = store.presign_get(&key).await.unwrap().unwrap();
    let (head, body) = fetch(&uri, Some("bytes=0-9,100-109")).await;
    assert_eq!(head.status(), StatusCode::OK);
    assert!(body == content);
}

#[tokio::test]
async fn a_presigned_url_for_another_key_or_with_a_changed_type_is_refused() {
    let (store, _bucket) = store().await;
    let (key, other) = (fresh(), fresh());
    store.put(&key, bytes(7, 10).into(), None).await.unwrap();
    store.put(&other, bytes(8, 10).into(), None).await.unwrap();
    let uri = store.presign_get(&key).await.unwrap().unwrap().to_string();
    let tampered = [
        uri.replace(key.as_str(), other.as_str()),
        uri.replace("attachment", "inline"),
        uri.replace("X-Amz-Expires=1200", "X-Amz-Expires=604800"),
    ];
    for uri in tampered {
        let (head, _) = fetch(&uri.parse().unwrap(), None).await;
        assert_eq!(head.status(), StatusCode::FORBIDDEN, "{uri}");
    }
}

#[tokio::test]
async fn urls_are_signed_for_the_address_that_clients_use() {
    let bucket = bucket();
    let mut settings = settings(&bucket);
    settings.endpoint.public_url = Some("https://blobs.example.test".parse().unwrap());
    let store = S3Store::connect(settings).await;
    let key = fresh();
    store.put(&key, bytes(9, 10).into(), None).await.unwrap();
    let uri = store.presign_get(&key).await.unwrap().unwrap();
    assert_eq!(uri.scheme_str(), Some("https"));
    assert_eq!(uri.authority().unwrap(), "blobs.example.test");
}

#[tokio::test]
async fn a_wrong_secret_is_denied_and_never_shown() {
    let bucket = bucket();
    let mut settings = settings(&bucket);
    settings.credentials = S3Credentials::Static {
        access_key: S3Server::ACCESS_KEY.to_owned(),
        secret_key: "not-the-secret".into(),
    };
    assert!(!format!("{settings:?}").contains("not-the-secret"));
    let store = S3Store::connect(settings).await;
    assert!(!format!("{store:?}").contains("not-the-secret"));
    for refused in [
        store
            .put(&fresh(), bytes(10, 1).into(), None)
            .await
            .unwrap_err(),
        store.probe().await.unwrap_err(),
        store.get(&fresh(), None).await.unwrap_err(),
    ] {
        assert!(matches!(refused, Error::Denied(_)), "{refused:?}");
        assert!(!refused.is_unavailable());
    }
}

#[tokio::test]
async fn a_missing_bucket_fails_the_probe() {
    let store = S3Store::connect(settings("no-such-bucket")).await;
    store.probe().await.unwrap_err();
}

#[tokio::test]
async fn a_server_that_is_down_is_unavailable() {
    let bucket = bucket();
    let mut settings = settings(&bucket);
    // Bound and closed again: nobody listens there.
    let closed = std::net::TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap();
    settings.endpoint.url = Some(format!("http://{closed}").parse().unwrap());
    let store = S3Store::connect(settings).await;
    let refused = store.size(&fresh()).await.unwrap_err();
    assert!(
        matches!(refused, Error::Unavailable(_)) && refused.is_unavailable(),
        "{refused:?}"
    );
}

/// Peak memory of this process in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        << 10
}

#[tokio::test]
async fn a_large_object_goes_in_and_out_in_constant_memory() {
    const PARTS: u32 = 80;
    let (store, _bucket) = store().await;
    let key = fresh();
    let id = store.begin_multipart(&key).await.unwrap();
    let piece = bytes(11, 8 << 20);
    let mut sent = Hasher::new(Algorithm::Sha256);
    let mut parts: Vec<Part> = Vec::new();
    // The allocator's and the client's own size first, so that only growth is measured.
    parts.push(part(&store, (&key, &id), 1, 0, &piece).await);
    sent.update(&piece);
    let before = peak();
    for number in 2..=PARTS {
        let offset = piece.len() * (number as usize - 1);
        parts.push(part(&store, (&key, &id), number, offset, &piece).await);
        sent.update(&piece);
    }
    store.complete_multipart(&key, &id, &parts).await.unwrap();
    let mut stream = store.get(&key, None).await.unwrap();
    let mut received = Hasher::new(Algorithm::Sha256);
    while let Some(piece) = stream.bytes.try_next().await.unwrap() {
        received.update(&piece);
    }
    assert_eq!(received.count(), u64::from(PARTS) * (8 << 20));
    assert_eq!(received.digest(), sent.digest());
    let grown = peak().saturating_sub(before);
    // 640 MiB went in and out; other tests run beside this one.
    assert!(grown < 320 << 20, "grew by {} MiB", grown >> 20);
}

#[tokio::test]
async fn the_checksum_that_s3_verifies_is_the_digest_of_a_single_put() {
    let (store, _bucket) = store().await;
    let (key, content) = (fresh(), bytes(12, 1_000));
    // S3 knows no sha512, so it is left to the caller.
    store
        .put(
            &key,
            content.clone().into(),
            Some(&Digest::of(Algorithm::Sha512, b"x")),
        )
        .await
        .unwrap();
    assert!(read(&store, &key).await == content);
}
