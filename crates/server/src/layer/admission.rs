//! How many requests are at work at a time.
//!
//! Beyond the bound a client hears "later" at once, which costs us nothing: 429, because more clients retry it
//! than 503. A request counts until its body is sent, for a slow pull holds buffers as long as it lasts.

use super::body_end::on_body_end;
use crate::v2;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use portolan_registry::Error as Refusal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Lets requests in, up to the bound.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    free: Arc<Semaphore>,
    refused: Arc<AtomicU64>,
}

impl Admission {
    /// At most `requests` at a time.
    pub(crate) fn new(requests: u32) -> Self {
        let bound = usize::try_from(requests).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(bound.min(Semaphore::MAX_PERMITS))),
            refused: Arc::default(),
        }
    }

    /// One to three seconds, in turn, so that those who were refused together do not come back together.
    fn retry_after(&self) -> Duration {
        Duration::from_secs(1 + self.refused.fetch_add(1, Ordering::Relaxed) % 3)
    }
}

/// Lets the request in or refuses it.
pub(crate) async fn admit(
    State(admission): State<Admission>,
    request: Request,
    next: Next,
) -> Response {
    let Ok(permit) = Arc::clone(&admission.free).try_acquire_owned() else {
        let retry_after = admission.retry_after();
        return v2::Error::from(Refusal::Overloaded { retry_after }).into_response();
    };
    let response = next.run(request).await;
    on_body_end(response, move |_| drop(permit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::routing::get;
    use tower::ServiceExt as _;

    #[tokio::test]
    async fn a_body_that_is_not_sent_keeps_its_place() {
        let admission = Admission::new(1);
        let router = axum::Router::new()
            .route("/", get(|| async { "body" }))
            .layer(axum::middleware::from_fn_with_state(admission, admit));
        let ask = || {
            let request = Request::builder().uri("/").body(Body::empty()).unwrap();
            router.clone().oneshot(request)
        };
        let first = ask().await.unwrap();
        assert_eq!(first.status(), StatusCode::OK);
        let second = ask().await.unwrap();
        assert_eq!(second.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(second.headers()["retry-after"], "1");
        drop(first);
        assert_eq!(ask().await.unwrap().status(), StatusCode::OK);
    }
}
