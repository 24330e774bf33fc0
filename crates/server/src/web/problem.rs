//! What goes wrong in the web API, as problem details (RFC 9457).

use crate::token;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use portolan_metadata::Refused;
use portolan_registry::Error as Refusal;
use serde_json::json;
use std::time::Duration;

/// Why a request to the web API is not answered with what it asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    /// Something about the request itself.
    #[error("{0}")]
    Invalid(&'static str),
    /// No password, a wrong one, or something else than a password.
    #[error("incorrect username or password")]
    Unauthenticated,
    /// The configuration has it so.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The change is wrong in itself.
    #[error(transparent)]
    Refused(Refused),
    /// Too much of it.
    #[error("too many requests")]
    TooMany {
        /// How long the client should wait.
        retry_after: Duration,
    },
    /// The installation is not set up for it.
    #[error("{0}")]
    NotSetUp(&'static str),
    /// Writes are not taken, or something is out of reach.
    #[error("temporarily unavailable")]
    Unavailable {
        /// How long the client should wait.
        retry_after: Duration,
    },
    /// Our fault. The cause is in the log.
    #[error("internal error")]
    Failed,
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Refused(refused) => Self::Refused(refused),
            Refusal::CredentialsVoid => Self::Unauthenticated,
            Refusal::Overloaded { retry_after } => Self::TooMany { retry_after },
            Refusal::ReadOnly { retry_after, .. } | Refusal::Unavailable { retry_after, .. } => {
                Self::Unavailable { retry_after }
            }
            cause => Self::failed(cause),
        }
    }
}

impl From<token::Error> for Problem {
    fn from(error: token::Error) -> Self {
        match error {
            token::Error::TooManyFailures { retry_after } => Self::TooMany { retry_after },
            token::Error::Registry(refusal) => refusal.into(),
            token::Error::Auth(cause) => cause.into(),
            _ => Self::Unauthenticated,
        }
    }
}

impl From<portolan_auth::Error> for Problem {
    fn from(cause: portolan_auth::Error) -> Self {
        match cause {
            portolan_auth::Error::Overloaded => Self::TooMany {
                // As for logins: a check takes some 20 ms.
                retry_after: Duration::from_secs(1),
            },
            portolan_auth::Error::DirectoryUnreachable { retry_after } => {
                Self::Unavailable { retry_after }
            }
            cause => Self::failed(cause),
        }
    }
}

impl Problem {
    fn failed(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        let cause = format!("{:#}", anyhow::Error::new(cause));
        tracing::error!(cause, "a request to the web API failed: {cause}");
        Self::Failed
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Refused(Refused::Missing { .. }) => StatusCode::NOT_FOUND,
            Self::Refused(_) => StatusCode::CONFLICT,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::NotSetUp(_) => StatusCode::NOT_IMPLEMENTED,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        match &self {
            Self::Unauthenticated => {
                headers.insert(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static("Basic realm=\"portolan\""),
                );
            }
            Self::TooMany { retry_after } | Self::Unavailable { retry_after } => {
                let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            _ => {}
        }
        let body = json!({
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "detail": self.to_string(),
        });
        (status, headers, body.to_string()).into_response()
    }
}
