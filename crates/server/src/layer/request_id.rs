//! A name for each request, so that what a client saw and what the log says can be put together.

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Read from the request, and sent with every answer.
const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Longest name taken over from a client. Those of the usual proxies have 16 to 64 characters.
const LONGEST: usize = 128;

/// The name of a request; a request extension.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The client's own name for it, if that is harmless in logs and headers.
    fn given(request: &Request) -> Option<Self> {
        let value = request.headers().get(&HEADER)?;
        let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
        let fits = !value.is_empty() && value.len() <= LONGEST;
        (fits && value.as_bytes().iter().all(harmless)).then(|| Self(value.clone()))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Makes names: a random part that is the process's own, and a number.
#[derive(Debug, Clone)]
pub(crate) struct RequestIds(Arc<(u64, AtomicU64)>);

impl RequestIds {
    /// For a process that drew `process`.
    pub(crate) fn new(process: u64) -> Self {
        Self(Arc::new((process, AtomicU64::new(0))))
    }

    fn next(&self) -> RequestId {
        let (process, count) = &*self.0;
        let number = count.fetch_add(1, Ordering::Relaxed);
        let text = format!("{process:016x}-{number:x}");
        RequestId(HeaderValue::from_str(&text).expect("hexadecimal digits stand in a header"))
    }
}

/// Names the request, and says the name in the answer.
pub(crate) async fn name(
    State(ids): State<RequestIds>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = RequestId::given(&request).unwrap_or_else(|| ids.next());
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).await;
    response.headers_mut().insert(HEADER, id.0);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn given(value: &[u8]) -> Option<String> {
        let request = Request::builder()
            .header(HEADER, value)
            .body(Body::empty())
            .unwrap();
        RequestId::given(&request).map(|id| id.to_string())
    }

    #[test]
    fn a_harmless_name_is_taken_over() {
        let name = "7f9c2d4e-1b3a.4c5d:req/1+2=@x_y";
        assert_eq!(given(name.as_bytes()).as_deref(), Some(name));
    }

    #[test]
    fn any_other_is_replaced() {
        for value in [
            &b""[..],
            b"a b",
            b"a\tb",
            b"\"",
            b"a,b",
            &[0xe9],
            &[b'x'; 129],
        ] {
            assert_eq!(given(value), None, "{value:?}");
        }
    }

    #[test]
    fn names_differ() {
        let ids = RequestIds::new(7);
        assert_ne!(ids.next().as_str(), ids.next().as_str());
    }
}
