//! A client for tests: says exactly what it is told to and shows exactly what came back.
//!
//! It follows no redirect, retries nothing and adds no header but `Authorization`. What hyper would
//! refuse to send goes through [`raw`].

use base64::Engine as _;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use portolan_oci::Digest;
use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest wait for an answer: far above any that a test expects, so that one which hangs says so.
const PATIENCE: Duration = Duration::from_mins(1);

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Speaks to one server, with the same credentials always.
#[derive(Debug, Clone)]
pub struct Client {
    http: hyper_util::client::legacy::Client<HttpConnector, Body>,
    address: SocketAddr,
    authorization: Option<HeaderValue>,
}

impl Client {
    /// Without credentials.
    pub fn new(address: SocketAddr) -> Self {
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http();
        Self {
            http,
            address,
            authorization: None,
        }
    }

    /// The same with a name and a password.
    #[must_use]
    pub fn basic(&self, name: &str, password: &str) -> Self {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
        self.authorized(&format!("Basic {pair}"))
    }

    /// The same with a token.
    #[must_use]
    pub fn bearer(&self, token: &str) -> Self {
        self.authorized(&format!("Bearer {token}"))
    }

    /// The same credentials at another server.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Self {
        Self {
            address,
            ..self.clone()
        }
    }

    /// The same without credentials.
    #[must_use]
    pub fn anonymous(&self) -> Self {
        Self {
            authorization: None,
            ..self.clone()
        }
    }

    fn authorized(&self, value: &str) -> Self {
        let value = HeaderValue::try_from(value).expect("credentials that fit a header");
        Self {
            authorization: Some(value),
            ..self.clone()
        }
    }

    /// Where it sends to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts a request; `target` is a path with its query, or an absolute URL of this server.
    pub fn request(&self, method: Method, target: &str) -> Asking {
        let uri = match target.strip_prefix('/') {
            Some(_) => format!("http://{}{target}", self.address),
            None => target.to_owned(),
        };
        let mut request = Request::new(
            Full::default()
                .map_err(|never| match never {})
                .boxed_unsync(),
        );
        *request.method_mut() = method;
        *request.uri_mut() = uri.parse::<Uri>().expect("a target that is an address");
        if let Some(authorization) = &self.authorization {
            request
                .headers_mut()
                .insert(AUTHORIZATION, authorization.clone());
        }
        Asking {
            client: self.clone(),
            request,
        }
    }

    /// `GET`
    pub async fn get(&self, target: &str) -> Answer {
        self.request(Method::GET, target).send().await
    }

    /// `GET`, asked again for as long as the answer is "later": a client that must know, at a machine that is busy.
    pub async fn get_patiently(&self, target: &str) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(target).await;
            if answer.status != 429 || Instant::now() > deadline {
                return answer;
            }
        }
    }

    /// `HEAD`
    pub async fn head(&self, target: &str) -> Answer {
        self.request(Method::HEAD, target).send().await
    }

    /// `DELETE`
    pub async fn delete(&self, target: &str) -> Answer {
        self.request(Method::DELETE, target).send().await
    }

    /// `POST` without a body
    pub async fn post(&self, target: &str) -> Answer {
        self.request(Method::POST, target).send().await
    }

    /// `PUT`
    pub async fn put(&self, target: &str, body: impl Into<Bytes>) -> Answer {
        self.request(Method::PUT, target).body(body).send().await
    }

    /// `PATCH`
    pub async fn patch(&self, target: &str, body: impl Into<Bytes>) -> Answer {
        self.request(Method::PATCH, target).body(body).send().await
    }
}

/// A request that is being put together.
#[derive(Debug)]
#[must_use = "a request is sent by `send`"]
pub struct Asking {
    client: Client,
    request: Request<Body>,
}

impl Asking {
    /// Adds a header line.
    pub fn header(mut self, name: impl TryInto<HeaderName>, value: impl AsRef<[u8]>) -> Self {
        let Ok(name) = name.try_into() else {
            panic!("not the name of a header")
        };
        let value = HeaderValue::from_bytes(value.as_ref()).expect("a value that fits a header");
        self.request.headers_mut().append(name, value);
        self
    }

    /// A body of known length.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        *self.request.body_mut() = Full::new(body.into())
            .map_err(|never| match never {})
            .boxed_unsync();
        self
    }

    /// A body in pieces whose length is not announced; an `Err` breaks the connection there.
    pub fn pieces(
        mut self,
        pieces: impl IntoIterator<Item = io::Result<Bytes>, IntoIter: Send + 'static>,
    ) -> Self {
        let frames = pieces.into_iter().map(|piece| piece.map(Frame::data));
        *self.request.body_mut() = StreamBody::new(futures::stream::iter(frames)).boxed_unsync();
        self
    }

    /// Sends it and reads the whole answer.
    pub async fn send(self) -> Answer {
        self.try_send().await.expect("an answer")
    }

    /// As [`send`](Self::send), where the connection may break.
    ///
    /// # Errors
    /// What broke: the connection, the protocol, or a body cut short.
    pub async fn try_send(self) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let asked = format!("{} {}", self.request.method(), self.request.uri());
        let reading = async {
            let (head, body) = self.client.http.request(self.request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Answer {
                asked,
                status: head.status,
                headers: head.headers,
                body,
            })
        };
        tokio::time::timeout(PATIENCE, reading).await?
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What was asked, for messages.
    asked: String,
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// What was asked: the method and the whole address.
    pub fn asked(&self) -> &str {
        &self.asked
    }

    /// Checks the status; on a mismatch shows the body, which says why.
    #[track_caller]
    #[expect(
        clippy::return_self_not_must_use,
        reason = "an assertion; the answer is often of no further interest"
    )]
    pub fn expect(self, status: u16) -> Self {
        let Self {
            asked,
            status: found,
            headers,
            body,
        } = &self;
        assert!(
            found.as_u16() == status,
            "{asked}: expected {status}, got {found}\n{headers:#?}\n{}",
            String::from_utf8_lossy(body)
        );
        self
    }

    /// Checks the status and the code of a refusal, and that the envelope is the specification's.
    #[track_caller]
    #[expect(
        clippy::return_self_not_must_use,
        reason = "an assertion; the answer is often of no further interest"
    )]
    pub fn refused(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(
            answer.header("content-type"),
            "application/json",
            "{}",
            answer.asked
        );
        let envelope = answer.json();
        let entry = &envelope["errors"][0];
        assert_eq!(entry["code"], code, "{}: {envelope}", answer.asked);
        assert!(entry["message"].is_string(), "{}: {envelope}", answer.asked);
        answer
    }

    /// A header that must be there, once.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let lines = self.lines(name);
        assert_eq!(
            lines.len(),
            1,
            "{}: `{name}` in {:#?}",
            self.asked,
            self.headers
        );
        lines[0]
    }

    /// Whether a header is there.
    pub fn has(&self, name: &str) -> bool {
        self.headers.contains_key(name)
    }

    /// Every line of a header.
    pub fn lines(&self, name: &str) -> Vec<&str> {
        let lines = self.headers.get_all(name);
        lines
            .iter()
            .map(|line| line.to_str().expect("a header of visible ASCII"))
            .collect()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{}: no JSON: {error}: {:?}", self.asked, self.body))
    }

    /// `Docker-Content-Digest`
    #[track_caller]
    pub fn digest(&self) -> Digest {
        self.header("docker-content-digest")
            .parse()
            .expect("a digest")
    }

    /// `Location`, which must have no scheme and host: proxies rewrite neither.
    #[track_caller]
    pub fn location(&self) -> &str {
        let location = self.header("location");
        assert!(
            location.starts_with("/v2/"),
            "{}: `Location: {location}`",
            self.asked
        );
        location
    }

    /// `Location` with a parameter added, as clients add `digest`.
    #[track_caller]
    pub fn location_with(&self, parameter: &str) -> String {
        let location = self.location();
        let separator = if location.contains('?') { '&' } else { '?' };
        format!("{location}{separator}{parameter}")
    }
}

/// Sends these bytes as they are and reads until the server closes, or has been silent for `silence`.
///
/// # Errors
/// What the connection says, but for a reset after something was read: a server that refuses early may
/// close before everything was sent.
pub async fn raw(address: SocketAddr, bytes: &[u8], silence: Duration) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let _ = stream.write_all(bytes).await;
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match tokio::time::timeout(silence, stream.read(&mut buffer)).await {
            Err(_) | Ok(Ok(0)) => return Ok(read),
            Ok(Ok(length)) => read.extend_from_slice(&buffer[..length]),
            Ok(Err(_)) if !read.is_empty() => return Ok(read),
            Ok(Err(error)) => return Err(error),
        }
    }
}
