//! The outermost layers of `/v2`: what answers have, whoever made them.
//!
//! [`announce`] puts the API's version on each. [`finish`] turns a 401 into a challenge, and logs the
//! cause of a 5xx, once, under the id that the client is told instead.

use super::error::{Error, Failure, Unauthorized};
use super::{header, scope};
use crate::layer::{ChallengeError, Challenger, Origin, RequestId};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header as http_header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use portolan_registry::Error as Refusal;
use std::error::Error as _;
use std::fmt::Write as _;

/// What is left of a request when it has been answered.
struct Asked {
    method: Method,
    uri: Uri,
    origin: Option<Origin>,
    id: Option<RequestId>,
}

/// Finishes every answer; see the module.
pub(super) async fn finish(
    State(challenger): State<Challenger>,
    request: Request,
    next: Next,
) -> Response {
    let asked = Asked {
        method: request.method().clone(),
        uri: request.uri().clone(),
        origin: request.extensions().get().cloned(),
        id: request.extensions().get().cloned(),
    };
    let mut response = next.run(request).await;
    if let Some(Failure(error)) = response.extensions_mut().remove() {
        complete(&mut response, &asked, &error, &challenger);
    }
    response
}

/// Puts the API's version on every answer under `/v2`, also on those that are made before this API is
/// reached, such as "too many requests": docker takes what lacks it for something other than a registry.
pub(crate) async fn announce(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let ours = path == "/v2" || path.starts_with("/v2/");
    let mut response = next.run(request).await;
    if ours {
        let version = HeaderValue::from_static("registry/2.0");
        response.headers_mut().insert(header::API_VERSION, version);
    }
    response
}

fn complete(response: &mut Response, asked: &Asked, error: &Error, challenger: &Challenger) {
    if let (Some(reason), Some(origin)) = (error.unauthorized(), &asked.origin) {
        let scope = scope::wanted(&asked.method, &asked.uri);
        let fault = match reason {
            Unauthorized::Missing => None,
            Unauthorized::InvalidToken => Some(ChallengeError::InvalidToken),
            Unauthorized::InsufficientScope => Some(ChallengeError::InsufficientScope),
        };
        let challenge = challenger.challenge(origin, scope.as_deref(), fault);
        response
            .headers_mut()
            .insert(http_header::WWW_AUTHENTICATE, challenge);
    }
    if error.status().is_server_error() {
        let id = asked
            .id
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let (path, cause) = (asked.uri.path(), causes(error));
        if matches!(error, Error::Registry(Refusal::ReadOnly { .. })) {
            tracing::debug!(request = id, path, cause, "request {id} refused: {cause}");
        } else if error.status() == StatusCode::SERVICE_UNAVAILABLE {
            // What is away is said to be so by whoever watches it; here it is the answer to a request.
            tracing::warn!(
                request = id,
                path,
                cause,
                "request {id} must come again: {cause}"
            );
        } else {
            tracing::error!(request = id, path, cause, "request {id} failed: {cause}");
        }
        let retry = response.headers_mut().remove(http_header::RETRY_AFTER);
        *response = (error.status(), Json(error.envelope(Some(&id)))).into_response();
        if let Some(retry) = retry {
            response
                .headers_mut()
                .insert(http_header::RETRY_AFTER, retry);
        }
    }
}

/// The error and everything that led to it, outermost first.
fn causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        write!(text, ": {cause}").expect("writing to a string never fails");
        source = cause.source();
    }
    text
}
