//! What a bucket is asked on the wire, and what becomes of answers no healthy server gives.
//!
//! The server here is a script of answers, one for each request, and remembers what it was asked.

use crate::suite::{bytes, fresh};
use bytes::Bytes;
use futures::TryStreamExt;
use portolan_blobs::{
    BlobRead, BlobStore, Error, MultipartId, S3Credentials, S3Encryption, S3Endpoint, S3Settings,
    S3Store,
};
use portolan_oci::Digest;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// An answer, and whether the line breaks before its body is whole.
#[derive(Debug, Clone)]
struct Answer {
    head: String,
    body: Bytes,
    breaks_after: Option<usize>,
    /// The line breaks while the request is still being sent.
    resets: bool,
}

impl Answer {
    fn new(status: &str, body: &[u8]) -> Self {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
        Self {
            head,
            body: Bytes::copy_from_slice(body),
            breaks_after: None,
            resets: false,
        }
    }

    /// None at all.
    fn reset() -> Self {
        Self {
            resets: true,
            ..Self::new("", b"")
        }
    }
}

struct Scripted {
    store: S3Store,
    heads: Arc<Mutex<Vec<String>>>,
    _server: JoinSet<()>,
}

impl Scripted {
    /// The last answer is given for ever.
    async fn new(answers: Vec<Answer>, encryption: S3Encryption) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, answers, Arc::clone(&heads)));
        let store = S3Store::connect(S3Settings {
            bucket: "bucket".to_owned(),
            prefix: String::new(),
            region: None,
            endpoint: S3Endpoint {
                url: Some(url),
                public_url: None,
                path_style: true,
            },
            credentials: S3Credentials::Static {
                access_key: "key".to_owned(),
                secret_key: "secret".into(),
            },
            encryption,
        });
        Self {
            store: store.await,
            heads,
            _server: server,
        }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// One request on a connection at a time, and one connection at a time.
async fn serve(listener: TcpListener, answers: Vec<Answer>, heads: Arc<Mutex<Vec<String>>>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let number = heads.lock().unwrap().len();
        let answer = answers[number.min(answers.len() - 1)].clone();
        let Some(head) = read_request(&mut stream, !answer.resets).await else {
            continue;
        };
        heads.lock().unwrap().push(head);
        if answer.resets {
            // With bytes unread, closing is a reset.
            continue;
        }
        let sent = answer.breaks_after.unwrap_or(answer.body.len());
        let head = format!("{}Connection: close\r\n\r\n", answer.head);
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&answer.body[..sent]).await.unwrap();
        stream.shutdown().await.unwrap();
    }
}

/// The head of a request in lower case; its body, if it is to be read, is forgotten.
async fn read_request(stream: &mut TcpStream, whole: bool) -> Option<String> {
    let mut request = Vec::new();
    let end = loop {
        if let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    while whole && request.len() < end + length {
        stream.read_buf(&mut request).await.ok()?;
    }
    Some(head)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(": ");
    head.lines().find_map(value)
}

#[tokio::test]
async fn a_put_carries_the_digest_the_encryption_and_no_other_checksum() {
    let encryption = S3Encryption::Kms {
        key: Some("the-key".to_owned()),
    };
    let server = Scripted::new(vec![Answer::new("200 OK", b"")], encryption).await;
    let content = bytes(1, 100);
    let digest = Digest::sha256(&content);
    server
        .store
        .put(&fresh(), content.clone().into(), Some(&digest))
        .await
        .unwrap();
    server
        .store
        .put(&fresh(), content.into(), None)
        .await
        .unwrap();
    let [first, second] = server.heads().try_into().unwrap();
    assert_eq!(
        header(&first, "x-amz-server-side-encryption"),
        Some("aws:kms")
    );
    assert_eq!(
        header(&first, "x-amz-server-side-encryption-aws-kms-key-id"),
        Some("the-key")
    );
    assert!(header(&first, "x-amz-checksum-sha256").is_some());
    assert_eq!(header(&first, "content-length"), Some("100"));
    assert!(
        !second.contains("x-amz-checksum") && !second.contains("aws-chunked"),
        "{second}"
    );
    // In memory, so the signature covers it.
    assert_eq!(
        header(&second, "x-amz-content-sha256"),
        Some(digest.hex().as_str())
    );
}

#[tokio::test]
async fn a_multipart_upload_is_begun_with_the_encryption() {
    let begun =
        b"<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>";
    let server = Scripted::new(vec![Answer::new("200 OK", begun)], S3Encryption::Aes256).await;
    let id = server.store.begin_multipart(&fresh()).await.unwrap();
    assert_eq!(id.as_str(), "id");
    assert_eq!(
        header(&server.heads()[0], "x-amz-server-side-encryption"),
        Some("aes256")
    );
}

#[tokio::test]
async fn a_server_that_asks_to_slow_down_is_asked_three_times() {
    let slow = b"<Error><Code>SlowDown</Code><Message>less</Message></Error>";
    let answers = vec![Answer::new("503 Slow Down", slow)];
    let server = Scripted::new(answers, S3Encryption::BucketDefault).await;
    let refused = server
        .store
        .put(&fresh(), bytes(2, 10).into(), None)
        .await
        .unwrap_err();
    assert!(
        matches!(refused, Error::Throttled(_)) && refused.is_unavailable(),
        "{refused:?}"
    );
    assert_eq!(server.heads().len(), 3);
}

#[tokio::test]
async fn a_server_that_recovers_is_not_noticed() {
    let broken = Answer::new("500 Internal Server Error", b"");
    let answers = vec![broken, Answer::new("200 OK", b"")];
    let server = Scripted::new(answers, S3Encryption::BucketDefault).await;
    server
        .store
        .put(&fresh(), bytes(3, 10).into(), None)
        .await
        .unwrap();
    assert_eq!(server.heads().len(), 2);
}

#[tokio::test]
async fn a_refusal_is_not_tried_again() {
    let denied = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
    let answers = vec![Answer::new("403 Forbidden", denied)];
    let server = Scripted::new(answers, S3Encryption::BucketDefault).await;
    let refused = server.store.size(&fresh()).await.unwrap_err();
    assert!(matches!(refused, Error::Denied(_)), "{refused:?}");
    assert_eq!(server.heads().len(), 1);
}

#[tokio::test]
async fn a_full_store_is_full() {
    let full = b"<Error><Code>XMinioStorageFull</Code><Message>full</Message></Error>";
    let answers = vec![Answer::new("507 Insufficient Storage", full)];
    let server = Scripted::new(answers, S3Encryption::BucketDefault).await;
    let refused = server
        .store
        .put(&fresh(), bytes(4, 10).into(), None)
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::Full(_)), "{refused:?}");
}

#[tokio::test]
async fn a_download_that_breaks_is_taken_up_where_it_broke() {
    let content = bytes(5, 1_000);
    let mut first = Answer::new("200 OK", &content);
    first.breaks_after = Some(300);
    let mut second = Answer::new("206 Partial Content", &content[300..]);
    second.breaks_after = Some(0);
    let answers = vec![
        first,
        second,
        Answer::new("206 Partial Content", &content[300..]),
    ];
    let server = Scripted::new(answers, S3Encryption::BucketDefault).await;
    let stream = server.store.get(&fresh(), None).await.unwrap();
    assert_eq!(stream.size, 1_000);
    let pieces: Vec<Bytes> = stream.bytes.try_collect().await.unwrap();
    assert!(pieces.concat() == content);
    let ranges: Vec<_> = server
        .heads()
        .iter()
        .map(|head| header(head, "range").map(str::to_owned))
        .collect();
    let left = Some("bytes=300-999".to_owned());
    assert_eq!(ranges, [None, left.clone(), left]);
}

#[tokio::test]
async fn a_download_that_always_breaks_ends_in_an_error() {
    let mut answer = Answer::new("206 Partial Content", &bytes(6, 1_000));
    answer.breaks_after = Some(0);
    let server = Scripted::new(vec![answer], S3Encryption::BucketDefault).await;
    let stream = server.store.get(&fresh(), Some(0..=999)).await.unwrap();
    let broken = stream.bytes.try_collect::<Vec<Bytes>>().await.unwrap_err();
    assert!(matches!(broken, Error::Unavailable(_)), "{broken:?}");
    assert_eq!(server.heads().len(), 4);
}

#[tokio::test]
async fn a_part_whose_refusal_was_lost_with_the_line_is_refused_for_its_reason() {
    let gone = b"<Error><Code>NoSuchUpload</Code><Message>gone</Message></Error>";
    let mut answers = vec![Answer::reset(); 3];
    answers.push(Answer::new("404 Not Found", gone));
    let server = Scripted::new(answers, S3Encryption::BucketDefault).await;
    let (key, id) = (fresh(), MultipartId::new("id".to_owned()));
    let content = bytes(7, 5 << 20);
    let refused = server
        .store
        .put_part(&key, &id, 1, 0, content.into())
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::MultipartUnknown), "{refused:?}");
    assert_eq!(server.heads().len(), 4);
}

#[tokio::test]
async fn a_part_whose_upload_is_there_is_unavailable_when_the_line_breaks() {
    let parts = b"<ListPartsResult></ListPartsResult>";
    let mut answers = vec![Answer::reset(); 3];
    answers.push(Answer::new("200 OK", parts));
    let server = Scripted::new(answers, S3Encryption::BucketDefault).await;
    let (key, id) = (fresh(), MultipartId::new("id".to_owned()));
    let content = bytes(8, 5 << 20);
    let refused = server
        .store
        .put_part(&key, &id, 1, 0, content.into())
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::Unavailable(_)), "{refused:?}");
}
