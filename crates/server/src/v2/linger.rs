//! Reads what is left of a request's body before an answer that did not need it.
//!
//! A server that answers and closes while the client is still sending resets the connection, and the
//! client then sees a broken pipe instead of the answer: a chunk out of order, for example, would not
//! be told where to go on (RFC 9112, section 9.6). So up to a bound in bytes and time the rest is read
//! and dropped. A client that waits for `100 Continue` is spared: reading would ask it to send.
//! HTTP/2 can end one request alone and does not need this.

use super::Settings;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{Version, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::time::timeout;

/// Lends the body to the handler, and reads the rest when it comes back.
///
/// Cancel safety: dropped, the body is dropped with the connection.
pub(super) async fn linger(
    State(settings): State<Settings>,
    request: Request,
    next: Next,
) -> Response {
    if request.version() == Version::HTTP_2 || request.body().is_end_stream() {
        return next.run(request).await;
    }
    let waits = request.headers().contains_key(header::EXPECT);
    let left = Left::default();
    let home = left.clone();
    let response = next
        .run(request.map(|body| {
            Lent {
                body,
                home,
                polled: false,
            }
            .into()
        }))
        .await;
    if let Some((body, polled)) = left.take()
        && (polled || !waits)
    {
        // Whether it came to the end makes no difference to the answer.
        let _ = timeout(settings.linger_time, drain(body, settings.linger_bytes)).await;
    }
    response
}

/// Reads `body` to its end, unless that is further away than `bound` bytes.
async fn drain(mut body: Body, bound: u64) {
    let mut read = 0;
    while read + body.size_hint().lower() <= bound {
        let Some(Ok(frame)) = body.frame().await else {
            return;
        };
        read += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
}

/// Where a lent body goes when it is dropped, with whether it had been read from.
#[derive(Clone, Default)]
struct Left(Arc<Mutex<Option<(Body, bool)>>>);

impl Left {
    fn take(&self) -> Option<(Body, bool)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, body: Body, polled: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((body, polled));
    }
}

/// A body that goes back when it is dropped before its end.
struct Lent {
    body: Body,
    home: Left,
    polled: bool,
}

impl From<Lent> for Body {
    fn from(lent: Lent) -> Self {
        Self::new(lent)
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.polled = true;
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            // Nothing more will come of it.
            self.body = Body::empty();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.body.is_end_stream() {
            self.home.put(std::mem::take(&mut self.body), self.polled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;
    use axum::middleware::from_fn_with_state;
    use axum::routing::post;
    use futures::stream;
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tower::ServiceExt as _;

    /// Posts `pieces` of 1 KiB to a handler that reads `wanted` of them; says how many were read in all.
    async fn read(pieces: usize, wanted: usize, expect: bool) -> usize {
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&taken);
        let body = stream::iter(0..pieces).map(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(Bytes::from_static(&[0; 1024]))
        });
        let settings = Settings {
            linger_bytes: 4 * 1024,
            linger_time: Duration::from_mins(1),
            ..Settings::default()
        };
        let handler = move |body: Body| async move {
            let mut body = body;
            for _ in 0..wanted {
                body.frame().await;
            }
        };
        let router = axum::Router::new()
            .route("/", post(handler))
            .layer(from_fn_with_state(settings, linger));
        let mut request = Request::post("/").body(Body::from_stream(body)).unwrap();
        if expect {
            request
                .headers_mut()
                .insert(header::EXPECT, "100-continue".parse().unwrap());
        }
        router.oneshot(request).await.unwrap();
        taken.load(Ordering::Relaxed)
    }

    use futures::StreamExt as _;

    #[tokio::test]
    async fn what_a_handler_left_is_read_up_to_the_bound() {
        assert_eq!(read(3, 0, false).await, 3);
        assert_eq!(read(3, 1, false).await, 3);
        assert_eq!(read(3, 4, false).await, 3);
        assert_eq!(read(100, 0, false).await, 5);
    }

    #[tokio::test]
    async fn a_client_that_waits_for_leave_is_not_given_it() {
        assert_eq!(read(3, 0, true).await, 0);
        assert_eq!(read(3, 1, true).await, 3, "it has been given already");
    }
}
