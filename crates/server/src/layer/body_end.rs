//! Runs something when the body of a response has been sent, or given up.
//!
//! A request is not over with the head of its answer: a pull is mostly body. Permits, counters and the log line
//! therefore wait for the end.

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BodyEnd {
    /// Bytes that were sent.
    pub(super) bytes: u64,
    /// Whether that was all of it.
    pub(super) whole: bool,
}

/// Calls `end` once, when the body of `response` has ended or is dropped.
pub(super) fn on_body_end(
    response: Response,
    end: impl FnOnce(BodyEnd) + Send + 'static,
) -> Response {
    response.map(|body| {
        let whole = body.is_end_stream();
        Body::new(Watched {
            body,
            end: Some(Box::new(end)),
            so_far: BodyEnd { bytes: 0, whole },
        })
    })
}

struct Watched {
    body: Body,
    end: Option<Box<dyn FnOnce(BodyEnd) + Send>>,
    so_far: BodyEnd,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(None) => self.so_far.whole = true,
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                self.so_far.bytes += u64::try_from(length).unwrap_or(u64::MAX);
                // A sender that knows the length stops here and never sees the end.
                self.so_far.whole = self.body.is_end_stream();
            }
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
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

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end(self.so_far);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use std::sync::{Arc, Mutex};

    fn watched(body: Body) -> (Response, Arc<Mutex<Option<BodyEnd>>>) {
        let seen = Arc::new(Mutex::new(None));
        let into = Arc::clone(&seen);
        let response = on_body_end(Response::new(body), move |end| {
            *into.lock().unwrap() = Some(end);
        });
        (response, seen)
    }

    #[tokio::test]
    async fn a_read_body_is_whole() {
        let (response, seen) = watched(Body::from("hello"));
        assert_eq!(
            response.into_body().collect().await.unwrap().to_bytes(),
            "hello"
        );
        assert_eq!(
            *seen.lock().unwrap(),
            Some(BodyEnd {
                bytes: 5,
                whole: true
            })
        );
    }

    #[tokio::test]
    async fn a_dropped_body_is_not() {
        let (response, seen) = watched(Body::from("hello"));
        drop(response);
        assert_eq!(
            *seen.lock().unwrap(),
            Some(BodyEnd {
                bytes: 0,
                whole: false
            })
        );
    }

    #[tokio::test]
    async fn no_body_is_whole_and_the_length_stays_known() {
        let (response, seen) = watched(Body::empty());
        assert_eq!(response.body().size_hint().exact(), Some(0));
        drop(response);
        assert_eq!(
            *seen.lock().unwrap(),
            Some(BodyEnd {
                bytes: 0,
                whole: true
            })
        );
    }
}
