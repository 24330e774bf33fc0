//! A line per request, for those that an operator looks for.
//!
//! Pulls are counted, not written: a line each would cost as much as serving them. The query of a URL is left out,
//! since signed URLs and tokens live there. Causes of failures are written where errors become answers, with the
//! same request id.

use super::body_end::{BodyEnd, on_body_end};
use super::{Origin, RequestId};
use crate::config::LogRequests;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use std::time::{Duration, Instant};

/// A request that took longer than this is worth a line, whatever it was.
const SLOW: Duration = Duration::from_secs(5);

/// What is remembered of a request until its answer has been sent.
struct Line {
    method: Method,
    path: String,
    id: Option<RequestId>,
    origin: Option<Origin>,
    agent: Option<HeaderValue>,
    started: Instant,
}

/// Writes the line when the answer has been sent.
pub(crate) async fn write(
    State(which): State<LogRequests>,
    request: Request,
    next: Next,
) -> Response {
    if which == LogRequests::None {
        return next.run(request).await;
    }
    let line = Line {
        method: request.method().clone(),
        // The name was folded into one segment for the router.
        path: request.uri().path().replace("%2F", "/").replace("%25", "%"),
        id: request.extensions().get().cloned(),
        origin: request.extensions().get().cloned(),
        agent: request.headers().get(header::USER_AGENT).cloned(),
        started: Instant::now(),
    };
    let response = next.run(request).await;
    let status = response.status();
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
