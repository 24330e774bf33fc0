//! Why a browser does not get what it came for, and how that is shown.

use super::page;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use portolan_auth::Error as AuthError;
use portolan_registry::Error as RegistryError;
use portolan_registry::identity::SignInRefusal;

/// A refusal or a failure.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// None is configured that is called so.
    #[error("there is no such provider")]
    NoSuchProvider,
    /// Another server's, or none.
    #[error("`return_to` must be a path of this registry")]
    ReturnTo,
    /// Nobody has been sent by this browser, or too long ago, or it has come back already.
    #[error("this login was not begun in this browser, or too long ago; please begin again")]
    NotBegun,
    /// The provider has not let him in.
    #[error("the provider did not log you in: {0}")]
    ByProvider(
        /// Its word for why.
        String,
    ),
    /// He is nobody here.
    #[error(transparent)]
    Person(#[from] SignInRefusal),
    /// Its token is no good, or the provider does not answer.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// More logins wait for providers than may.
    #[error("too many logins at once; please try again")]
    Overloaded,
    /// A form that was not made for this session.
    #[error("this form is too old; please go back and try again")]
    Form,
    /// No session.
    #[error("please sign in")]
    SignedOut,
    /// The database.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchProvider => StatusCode::NOT_FOUND,
            Self::ReturnTo | Self::NotBegun | Self::Form => StatusCode::BAD_REQUEST,
            Self::ByProvider(_)
            | Self::Person(_)
            | Self::Auth(AuthError::IdToken(_) | AuthError::CodeRefused(_)) => {
                StatusCode::FORBIDDEN
            }
            Self::Auth(AuthError::IssuerUnreachable(_) | AuthError::IssuerBroken { .. }) => {
                StatusCode::BAD_GATEWAY
            }
            Self::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            Self::SignedOut => StatusCode::UNAUTHORIZED,
            Self::Registry(
                RegistryError::Unavailable { .. }
                | RegistryError::Overloaded { .. }
                | RegistryError::ReadOnly { .. },
            ) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Auth(_) | Self::Registry(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What a person is told; of a failure of ours and of the provider's no more than that there was one.
    fn text(&self) -> String {
        match self {
            Self::Auth(AuthError::IdToken(_) | AuthError::CodeRefused(_)) => {
                "the provider's answer is not valid; please begin again".to_owned()
            }
            Self::Auth(AuthError::IssuerUnreachable(_) | AuthError::IssuerBroken { .. }) => {
                "the provider cannot be asked at the moment".to_owned()
            }
            Self::Registry(RegistryError::ReadOnly { .. }) => {
                "this registry is in read-only mode: nobody can sign in at the moment".to_owned()
            }
            Self::Auth(_) | Self::Registry(_) => "this did not work; please try again".to_owned(),
            other => other.to_string(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        match &self {
            Self::Auth(_) | Self::Registry(_) | Self::ByProvider(_) => {
                let cause = &self;
                tracing::warn!(%cause, "a login at a browser ended: {cause}");
            }
            other => tracing::debug!(cause = %other, "a login at a browser ended: {other}"),
        }
        (status, page::message(&self.text())).into_response()
    }
}
