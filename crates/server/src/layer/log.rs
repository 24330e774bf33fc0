//! A line per request, for those that an operator looks for.
//!
//! Pulls are counted, not written, unless all requests are: a line each would cost as much as serving them. The query of a URL is left out,
//! since signed URLs and tokens live there. Causes of failures are written where errors become answers, with the
//! same request id.

use super::body_end::{BodyEnd, on_body_end};
use super::{Origin, RequestId};
use crate::config::LogRequests;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use portolan_auth::Subject;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Of what an answer is about, where that is content.
const DIGEST: &str = "docker-content-digest";

/// A request that took longer than this is worth a line, whatever it was.
const SLOW: Duration = Duration::from_secs(5);

/// Who made the request, once that is known; an extension of requests that get a line.
#[derive(Debug, Clone, Default)]
pub(super) struct Named(Arc<OnceLock<Subject>>);

impl Named {
    /// It was this account.
    pub(super) fn is(&self, name: &Subject) {
        // It is said once for each request.
        let _ = self.0.set(name.clone());
    }
}

/// What is remembered of a request until its answer has been sent.
struct Line {
    method: Method,
    path: String,
    id: Option<RequestId>,
    origin: Option<Origin>,
    agent: Option<HeaderValue>,
    named: Option<Named>,
    digest: Option<HeaderValue>,
    started: Instant,
}

/// Writes the line when the answer has been sent.
pub(crate) async fn write(
    State(which): State<LogRequests>,
    mut request: Request,
    next: Next,
) -> Response {
    if which == LogRequests::None {
        return next.run(request).await;
    }
    let changes = !(request.method() == Method::GET || request.method() == Method::HEAD);
    let named = (changes || which == LogRequests::All).then(|| {
        let named = Named::default();
        request.extensions_mut().insert(named.clone());
        named
    });
    let mut line = Line {
        method: request.method().clone(),
        // The name was folded into one segment for the router.
        path: request.uri().path().replace("%2F", "/").replace("%25", "%"),
        id: request.extensions().get().cloned(),
        origin: request.extensions().get().cloned(),
        agent: request.headers().get(header::USER_AGENT).cloned(),
        named,
        digest: None,
        started: Instant::now(),
    };
    let response = next.run(request).await;
    let status = response.status();
    if line.named.is_some() {
        line.digest = response.headers().get(DIGEST).cloned();
    }
    on_body_end(response, move |end| line.finish(which, status, end))
}

impl Line {
    fn finish(self, which: LogRequests, status: StatusCode, end: BodyEnd) {
        let took = self.started.elapsed();
        if which == LogRequests::Changes && !self.is_worth_it(status, end, took) {
            return;
        }
        let (method, path, status) = (self.method.as_str(), &*self.path, status.as_u16());
        let id = self.id.as_ref().map(RequestId::as_str);
        let client = self
            .origin
            .as_ref()
            .map(|origin| tracing::field::display(origin.client));
        let agent = self.agent.as_ref().and_then(|agent| agent.to_str().ok());
        let account = self.named.as_ref().and_then(|named| named.0.get());
        let digest = self.digest.as_ref().and_then(|digest| digest.to_str().ok());
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            target: "portolan::request",
            method,
            path,
            status,
            milliseconds,
            bytes = end.bytes,
            whole = end.whole,
            client,
            agent,
            account = account.map(Subject::as_str),
            repository = repository(path),
            digest,
            request = id,
            "{method} {path} {status}"
        );
    }

    /// A change, a failure, or slow. A 401 is how every client begins and a 404 how it asks whether a blob is
    /// there already: no failures.
    fn is_worth_it(&self, status: StatusCode, end: BodyEnd, took: Duration) -> bool {
        let reads = self.method == Method::GET || self.method == Method::HEAD;
        let usual = status.is_success()
            || status.is_redirection()
            || status == StatusCode::UNAUTHORIZED
            || status == StatusCode::NOT_FOUND;
        let cut_off = !end.whole && self.method != Method::HEAD;
        !(reads && usual) || cut_off || took > SLOW
    }
}

/// The repository that a path of `/v2` names.
fn repository(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/v2/")?;
    // The last one: names may hold these words too.
    let ends = ["/manifests/", "/blobs/", "/tags/list", "/referrers/"];
    let end = ends.iter().filter_map(|end| rest.rfind(end)).max()?;
    Some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::repository;

    #[test]
    fn the_repository_of_a_path_is_what_stands_before_the_last_word_of_the_api() {
        for (path, name) in [
            ("/v2/a/b/manifests/latest", Some("a/b")),
            ("/v2/a/blobs/uploads/", Some("a")),
            ("/v2/a/blobs/x/manifests/y", Some("a/blobs/x")),
            ("/v2/a/tags/list", Some("a")),
            ("/v2/_catalog", None),
            ("/v2/auth", None),
        ] {
            assert_eq!(repository(path), name, "{path}");
        }
    }
}
