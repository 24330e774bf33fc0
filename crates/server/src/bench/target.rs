//! One registry: its address, its token protocol, and a client with connections of its own.

use super::content::Content;
use crate::https;
use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A token is asked for anew this long before it ends, so that no measured request meets an expired one.
const TOKEN_MARGIN: Duration = Duration::from_secs(90);
/// The specification's default where `expires_in` is absent.
const TOKEN_DEFAULT_SECONDS: u64 = 60;
/// Redirects followed for one request; a registry needs one.
const REDIRECTS: usize = 3;
/// No single request of a benchmark may take longer.
const REQUEST_DEADLINE: Duration = Duration::from_mins(5);

/// Where the load goes, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    base: String,
    pub(crate) repository: String,
    account: Option<(String, String)>,
    /// Made once: reading the system's certificates for each of a thousand clients would take longer than the run.
    https: HttpsConnector<HttpConnector>,
    token: Arc<tokio::sync::Mutex<Option<Token>>>,
    header: Arc<Mutex<Option<(HeaderValue, Instant)>>>,
}

#[derive(Debug, Clone)]
struct Token {
    header: Option<HeaderValue>,
    renew_at: Instant,
}

/// One client: a pool of connections that nobody else uses.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    client: Client<HttpsConnector<HttpConnector>, Content>,
    target: Target,
}

/// An answer, its body already received.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: u64,
    pub(crate) body: Option<Bytes>,
}

/// What to do with an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Count it.
    Length,
    /// Count and keep it.
    Body,
}

impl Target {
    pub(crate) fn new(
        url: &str,
        repository: &str,
        account: Option<(String, String)>,
    ) -> anyhow::Result<Self> {
        let uri: Uri = url
            .parse()
            .with_context(|| format!("`{url}` is not a URL"))?;
        ensure!(
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some(),
            "`{url}` must be http://HOST[:PORT] or https://HOST[:PORT]"
        );
        Ok(Self {
            base: url.trim_end_matches('/').to_owned(),
            repository: repository.to_owned(),
            account,
            https: https::connector()?,
            token: Arc::default(),
            header: Arc::default(),
        })
    }

    /// The same registry, without credentials.
    pub(crate) fn without_account(&self) -> Self {
        Self {
            account: None,
            token: Arc::default(),
            header: Arc::default(),
            ..self.clone()
        }
    }

    pub(crate) fn connect(&self) -> Connection {
        let client = Client::builder(TokioExecutor::new()).build(self.https.clone());
        Connection {
            client,
            target: self.clone(),
        }
    }

    fn basic(&self) -> Option<HeaderValue> {
        let (name, password) = self.account.as_ref()?;
        basic(name, password)
    }
}

/// RFC 7617, never shown.
fn basic(name: &str, password: &str) -> Option<HeaderValue> {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
    let mut value = HeaderValue::try_from(format!("Basic {pair}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Connection {
    /// `/v2/<repository>/<rest>`.
    pub(crate) fn url(&self, rest: &str) -> String {
        format!("{}/v2/{}/{rest}", self.target.base, self.target.repository)
    }

    /// A `Location` as an absolute URL.
    pub(crate) fn absolute(&self, location: &str) -> String {
        if location.starts_with('/') {
            format!("{}{location}", self.target.base)
        } else {
            location.to_owned()
        }
    }

    /// Sends one request with the right credentials, follows redirects, receives the whole body.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(http::HeaderName, &str)],
        body: Content,
        keep: Keep,
    ) -> anyhow::Result<Answer> {
        let authorization = self.authorization().await?;
        let mut url = url.to_owned();
        let mut authorize = true;
        for _ in 0..=REDIRECTS {
            let mut request = Request::builder().method(method.clone()).uri(&url);
            for (name, value) in headers {
                request = request.header(name, *value);
            }
            if let Some(value) = authorization.as_ref().filter(|_| authorize) {
                request = request.header(AUTHORIZATION, value);
            }
            let request = request.body(body.clone())?;
            let answer = tokio::time::timeout(REQUEST_DEADLINE, self.receive(request, keep))
                .await
                .context("no whole answer within the deadline")??;
            if !answer.status.is_redirection() || answer.status == StatusCode::NOT_MODIFIED {
                return Ok(answer);
            }
            let location = answer
                .headers
                .get(LOCATION)
                .context("a redirect without Location")?;
            url = self.absolute(location.to_str()?);
            // Credentials stay with the registry.
            authorize = url.starts_with(&self.target.base);
        }
        bail!("more than {REDIRECTS} redirects")
    }

    async fn receive(&self, request: Request<Content>, keep: Keep) -> anyhow::Result<Answer> {
        let response = self.client.request(request).await?;
        let (head, mut incoming) = response.into_parts();
        let mut bytes = 0;
        let mut kept = Vec::new();
        while let Some(frame) = incoming.frame().await {
            if let Some(data) = frame?.data_ref() {
                bytes += data.len() as u64;
                if keep == Keep::Body {
                    kept.extend_from_slice(data);
                }
            }
        }
        let body = (keep == Keep::Body).then(|| kept.into());
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            bytes,
            body,
        })
    }

    async fn authorization(&self) -> anyhow::Result<Option<HeaderValue>> {
        if let Some((header, renew_at)) = self
            .target
            .header
            .lock()
            .expect("no holder panics")
            .as_ref()
            && Instant::now() < *renew_at
        {
            return Ok(Some(header.clone()));
        }
        let mut token = self.target.token.lock().await;
        if let Some(held) = token.as_ref().filter(|held| Instant::now() < held.renew_at) {
            return Ok(held.header.clone());
        }
        let fetched = self.fetch_token().await?;
        let held = token.insert(fetched);
        if let Some(header) = &held.header {
            *self.target.header.lock().expect("no holder panics") =
                Some((header.clone(), held.renew_at));
        }
        Ok(held.header.clone())
    }

    /// Follows the challenge of `/v2/`: a bearer token, the password itself, or nothing.
    async fn fetch_token(&self) -> anyhow::Result<Token> {
        let ping = Request::get(format!("{}/v2/", self.target.base)).body(Content::empty())?;
        let answer = self.receive(ping, Keep::Length).await?;
        let forever = Instant::now() + Duration::from_hours(24);
        if answer.status == StatusCode::OK {
            return Ok(Token {
                header: None,
                renew_at: forever,
            });
        }
        let challenge = answer
            .headers
            .get(WWW_AUTHENTICATE)
            .with_context(|| format!("/v2/ answered {} without a challenge", answer.status))?
            .to_str()?;
        if challenge.to_ascii_lowercase().starts_with("basic") {
            return Ok(Token {
                header: self.target.basic(),
                renew_at: forever,
            });
        }
        let answer = self
            .ask_for_token(&token_url(challenge, &self.target.repository)?)
            .await?;
        let body: serde_json::Value = serde_json::from_slice(&answer)?;
        let token = body["token"].as_str().or(body["access_token"].as_str());
        let token = token.context("the token endpoint's answer has no token")?;
        let seconds = body["expires_in"].as_u64().unwrap_or(TOKEN_DEFAULT_SECONDS);
        let life = Duration::from_secs(seconds);
        let renew_at = Instant::now() + life.saturating_sub(TOKEN_MARGIN).max(life / 2);
        let header = Some(HeaderValue::try_from(format!("Bearer {token}"))?);
        Ok(Token { header, renew_at })
    }

    async fn ask_for_token(&self, url: &str) -> anyhow::Result<Bytes> {
        let mut request = Request::get(url);
        if let Some(basic) = self.target.basic() {
            request = request.header(AUTHORIZATION, basic);
        }
        let answer = self
            .receive(request.body(Content::empty())?, Keep::Body)
            .await?;
        ensure!(
            answer.status == StatusCode::OK,
            "the token endpoint answered {}",
            answer.status
        );
        Ok(answer.body.unwrap_or_default())
    }

    /// One token request, not cached: the unit of the token scenario.
    pub(crate) async fn one_token(&self) -> anyhow::Result<u64> {
        let ping = Request::get(format!("{}/v2/", self.target.base)).body(Content::empty())?;
        let challenge = self.receive(ping, Keep::Length).await?;
        let Some(challenge) = challenge.headers.get(WWW_AUTHENTICATE) else {
            bail!("this registry asks for no token");
        };
        let url = token_url(challenge.to_str()?, &self.target.repository)?;
        Ok(self.ask_for_token(&url).await?.len() as u64)
    }

    /// One login that must be refused, or be told to come later.
    pub(crate) async fn wrong_login(&self, password: &str) -> anyhow::Result<u64> {
        let (name, _) = self
            .target
            .account
            .as_ref()
            .context("a name is needed to log in with")?;
        let ping = Request::get(format!("{}/v2/", self.target.base)).body(Content::empty())?;
        let challenge = self.receive(ping, Keep::Length).await?;
        let Some(challenge) = challenge.headers.get(WWW_AUTHENTICATE) else {
            bail!("this registry asks for no token");
        };
        let url = token_url(challenge.to_str()?, &self.target.repository)?;
        let header = basic(name, password).context("a name that stands in a header")?;
        let request = Request::get(url).header(AUTHORIZATION, header);
        let answer = self
            .receive(request.body(Content::empty())?, Keep::Length)
            .await?;
        ensure!(
            matches!(
                answer.status,
                StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS
            ),
            "a wrong password was answered {}",
            answer.status
        );
        Ok(answer.bytes)
    }

    /// Uploads a blob with POST and PUT, the way of containerd and oras.
    pub(crate) async fn upload(&self, digest: &str, content: Content) -> anyhow::Result<()> {
        let start = self
            .send(
                Method::POST,
                &self.url("blobs/uploads/"),
                &[(CONTENT_LENGTH, "0")],
                Content::empty(),
                Keep::Length,
            )
            .await?;
        ensure!(
            start.status == StatusCode::ACCEPTED,
            "POST answered {}",
            start.status
        );
        let location = start
            .headers
            .get(LOCATION)
            .context("POST gave no Location")?
            .to_str()?;
        let separator = if location.contains('?') { '&' } else { '?' };
        let url = format!("{}{separator}digest={digest}", self.absolute(location));
        let headers = [(CONTENT_TYPE, "application/octet-stream")];
        let done = self
            .send(Method::PUT, &url, &headers, content, Keep::Length)
            .await?;
        ensure!(
            done.status == StatusCode::CREATED,
            "PUT answered {}",
            done.status
        );
        Ok(())
    }
}

/// The URL that a bearer challenge asks to call.
fn token_url(challenge: &str, repository: &str) -> anyhow::Result<String> {
    let parameter = |name: &str| {
        let start = challenge.find(&format!("{name}=\""))? + name.len() + 2;
        let length = challenge[start..].find('"')?;
        Some(&challenge[start..start + length])
    };
    let realm = parameter("realm").context("the challenge has no realm")?;
    let service = parameter("service").unwrap_or_default();
    Ok(format!(
        "{realm}?service={service}&scope=repository:{repository}:pull,push"
    ))
}
