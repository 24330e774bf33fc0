//! How other servers are asked: over TLS with the system's certificates, within bounds.

use crate::https;
use axum::http::{HeaderValue, Method, Request, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use portolan_auth::oidc::{Ask, Fetch, FetchFuture, Shown, Told, Unanswered};
use secrecy::ExposeSecret as _;
use std::time::Duration;

/// Providers answer in milliseconds; somebody waits for this.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest documents, key sets with certificates, have some 100 KiB.
const BODY_MAX: usize = 1024 * 1024;

/// Asks over HTTP. Redirects are not followed: where one leads nobody has said that it may be asked.
#[derive(Debug)]
pub(super) struct HttpFetch {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl HttpFetch {
    pub(super) fn new() -> anyhow::Result<Self> {
        let client = Client::builder(TokioExecutor::new()).build(https::connector()?);
        Ok(Self { client })
    }

    async fn ask(&self, ask: Ask) -> anyhow::Result<Told> {
        let request = request(&ask)?;
        let (head, body) = self.client.request(request).await?.into_parts();
        let body = Limited::new(body, BODY_MAX).collect().await;
        let body =
            body.map_err(|cause| anyhow::anyhow!("the answer could not be read: {cause}"))?;
        Ok(Told {
            status: head.status.as_u16(),
            body: body.to_bytes().into(),
        })
    }
}

fn request(ask: &Ask) -> anyhow::Result<Request<Full<Bytes>>> {
    let mut request = Request::builder()
        .uri(ask.url.as_str())
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "portolan");
    let authorization = match &ask.shown {
        Shown::Nothing => None,
        Shown::Basic { name, password } => {
            let pair = STANDARD.encode(format!("{name}:{}", password.expose_secret()));
            Some(format!("Basic {pair}"))
        }
        Shown::Bearer(token) => Some(format!("Bearer {}", token.expose_secret())),
    };
    if let Some(authorization) = authorization {
        let mut value = HeaderValue::try_from(authorization)?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    let body = match &ask.form {
        None => Full::default(),
        Some(form) => {
            request = request
                .method(Method::POST)
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            Full::new(Bytes::from(form.expose_secret().to_owned()))
        }
    };
    Ok(request.body(body)?)
}

impl Fetch for HttpFetch {
    fn fetch(&self, ask: Ask) -> FetchFuture<'_> {
        Box::pin(async move {
            let url = ask.url.clone();
            let cause = match tokio::time::timeout(PATIENCE, self.ask(ask)).await {
                Ok(Ok(told)) => return Ok(told),
                Ok(Err(cause)) => format!("{cause:#}"),
                Err(_) => "nothing answers in time".to_owned(),
            };
            tracing::warn!(%url, cause, "`{url}` does not answer: {cause}");
            Err(Unanswered)
        })
    }
}
