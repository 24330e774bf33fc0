//! `GET /v2/`: whether this is a registry, and whether the credentials are good.

use super::Error;
use axum::Extension;
use axum::http::StatusCode;
use portolan_registry::{Caller, Credentials, Error as Refusal};

/// 200 for everybody who showed something valid, even a token without any right: `docker login` ends so.
/// Without credentials 401, because the challenge here is how clients find the token service.
pub(super) async fn get(Extension(caller): Extension<Caller>) -> Result<StatusCode, Error> {
    match caller.credentials {
        Credentials::None => Err(Refusal::Unauthenticated.into()),
        Credentials::Password | Credentials::Token(_) => Ok(StatusCode::OK),
    }
}
