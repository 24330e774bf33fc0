//! The same over HTTP/2, which containerd, podman and proxies speak: many requests on one connection.

use crate::app::{TestApp, repository};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portolan_testkit::image::{Blob, Image};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// One connection with the token of a repository.
struct Connection {
    requests: SendRequest<Full<Bytes>>,
    token: String,
    base: String,
    _driver: JoinSet<()>,
}

impl Connection {
    async fn open(app: &TestApp, name: &str) -> Self {
        let scope = format!("repository:{name}:pull,push");
        let token = app.token(&app.admin(), &[&scope]).await;
        let stream = TcpStream::connect(app.address())
            .await
            .expect("a connection");
        let (requests, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // The requests see how it ended.
            let _ = connection.await;
        });
        Self {
            requests,
            token,
            base: format!("http://{}", app.address()),
            _driver: driver,
        }
    }

    async fn send(&self, method: Method, target: &str, body: Bytes) -> Response<Bytes> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{target}", self.base))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/vnd.oci.image.manifest.v1+json")
            .body(Full::new(body))
            .expect("a request");
        let sent = self
            .requests
            .clone()
            .send_request(request)
            .await
            .expect("an answer");
        let (head, body) = sent.into_parts();
        Response::from_parts(head, body.collect().await.expect("a body").to_bytes())
    }
}

#[tokio::test]
async fn an_image_is_pushed_and_pulled_over_one_connection() {
    let app = TestApp::shared().await;
    let name = repository("http2");
    let connection = Connection::open(app, &name).await;
    let image = Image::random(900);
    let pushes = image.blobs().map(|blob| {
        let target = format!("/v2/{name}/blobs/uploads/?digest={}", blob.digest);
        let connection = &connection;
        async move {
            connection
                .send(Method::POST, &target, blob.content.clone())
                .await
        }
    });
    for answer in futures::future::join_all(pushes).await {
        assert_eq!(answer.status(), StatusCode::CREATED, "{answer:?}");
    }
    let target = format!("/v2/{name}/manifests/tag");
    let put = connection
        .send(Method::PUT, &target, image.manifest.payload.clone())
        .await;
    assert_eq!(put.status(), StatusCode::CREATED, "{put:?}");
    let got = connection.send(Method::GET, &target, Bytes::new()).await;
    assert_eq!(got.version(), http::Version::HTTP_2);
    assert_eq!(got.body(), &image.manifest.payload);
    assert_eq!(
        got.headers()["docker-distribution-api-version"],
        "registry/2.0"
    );
    let head = connection.send(Method::HEAD, &target, Bytes::new()).await;
    assert_eq!(
        head.headers()["content-length"],
        image.manifest.payload.len().to_string()
    );
}

#[tokio::test]
async fn a_refused_body_ends_its_own_request_only() {
    let app = TestApp::shared().await;
    let name = repository("http2");
    let connection = Connection::open(app, &name).await;
    let begun = connection
        .send(
            Method::POST,
            &format!("/v2/{name}/blobs/uploads/"),
            Bytes::new(),
        )
        .await;
    assert_eq!(begun.status(), StatusCode::ACCEPTED);
    let large = Blob::random(901, 6 << 20).content;
    let refused = connection
        .send(
            Method::PUT,
            &format!("/v2/{name}/manifests/tag"),
            large.clone(),
        )
        .await;
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let elsewhere = format!("/v2/{name}/blobs/uploads/{}", uuid::Uuid::nil());
    let refused = connection
        .send(Method::PATCH, &elsewhere, large.clone())
        .await;
    assert_eq!(refused.status(), StatusCode::NOT_FOUND);
    let location = begun.headers()["location"].to_str().unwrap();
    let taken = connection.send(Method::PATCH, location, large).await;
    assert_eq!(taken.status(), StatusCode::ACCEPTED, "{taken:?}");
    let given_up = connection
        .send(Method::DELETE, location, Bytes::new())
        .await;
    assert_eq!(given_up.status(), StatusCode::NO_CONTENT);
}
