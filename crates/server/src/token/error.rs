//! What can go wrong with credentials, and how it is answered.

use crate::v2;
use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use portolan_auth::TokenFault;
use portolan_oci::ErrorCode;
use serde_json::json;
use std::time::Duration;

/// Why there is no token, or no caller.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A name nobody has, a wrong password, or a header that cannot be read; never told apart.
    #[error("incorrect username or password")]
    CredentialsWrong,
    /// Too many of them, and what was shown now was not looked at, or was wrong too.
    #[error("too many failed logins")]
    TooManyFailures {
        /// How long the client should wait.
        retry_after: Duration,
    },
    /// A bearer token that is no good.
    #[error("the token is not valid")]
    TokenInvalid(#[source] TokenFault),
    /// No credentials, and nothing asked for.
    #[error("authentication required")]
    Anonymous,
    /// A form that is not understood.
    #[error("{0}")]
    BadRequest(&'static str),
    /// Neither GET nor POST.
    #[error("the token endpoint takes GET and POST")]
    MethodUnknown,
    /// Passwords or keys.
    #[error(transparent)]
    Auth(portolan_auth::Error),
    /// The database.
    #[error(transparent)]
    Registry(portolan_registry::Error),
}

/// Why the token service cannot start.
#[derive(Debug, thiserror::Error)]
#[error("the token service cannot start")]
pub(crate) struct StartError(#[from] portolan_auth::Error);

impl From<portolan_auth::Error> for Error {
    fn from(cause: portolan_auth::Error) -> Self {
        match cause {
            portolan_auth::Error::Token(fault) => Self::TokenInvalid(fault),
            other => Self::Auth(other),
        }
    }
}

impl From<portolan_pg::Error> for Error {
    fn from(cause: portolan_pg::Error) -> Self {
        Self::Registry(cause.into())
    }
}

/// For requests to `/v2`, where [`v2::Error`] makes the answer and its challenge.
impl From<Error> for v2::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::TokenInvalid(_) => Self::TokenInvalid,
            Error::TooManyFailures { retry_after } => {
                Self::Registry(portolan_registry::Error::Overloaded { retry_after })
            }
            Error::Auth(cause) => Self::Auth(cause),
            Error::Registry(cause) => Self::Registry(cause),
            // The last two are of the token endpoint and never reach this; both say "log in".
            Error::CredentialsWrong
            | Error::Anonymous
            | Error::BadRequest(_)
            | Error::MethodUnknown => Self::CredentialsInvalid,
        }
    }
}

/// For the token endpoint itself.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let text = self.to_string();
        match self {
            Self::CredentialsWrong | Self::TokenInvalid(_) | Self::Anonymous => {
                // Of this endpoint, which takes Basic; `/v2` itself asks for a token.
                let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"portolan\"")];
                (
                    challenge,
                    refusal(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, &text),
                )
                    .into_response()
            }
            Self::BadRequest(_) => {
                refusal(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, &text).into_response()
            }
            Self::MethodUnknown => {
                let allowed = [(header::ALLOW, "GET, HEAD, POST")];
                (
                    allowed,
                    refusal(
                        StatusCode::METHOD_NOT_ALLOWED,
                        ErrorCode::Unsupported,
                        &text,
                    ),
                )
                    .into_response()
            }
            failure @ (Self::TooManyFailures { .. } | Self::Auth(_) | Self::Registry(_)) => {
                v2::Error::from(failure).into_response()
            }
        }
    }
}

fn refusal(status: StatusCode, code: ErrorCode, message: &str) -> impl IntoResponse + use<> {
    let body = json!({ "errors": [{ "code": code.as_str(), "message": message }] });
    (status, Json(body))
}
