//! The public halves of the signing keys, for others who want to verify our tokens: a JWK set (RFC 7517 section 5).

use super::{Auth, Error};
use crate::wire::App;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use portolan_auth::PublicKey;
use serde::Serialize;

/// A new key is published two minutes before it signs, so whoever asks once a minute knows it in time.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=60");
/// RFC 7517 section 8.5.1.
const JWK_SET: HeaderValue = HeaderValue::from_static("application/jwk-set+json");

/// Beside the token endpoint, and where programs look that know nothing but the host.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/v2/auth/jwks", get(keys))
        .route("/.well-known/jwks.json", get(keys))
}

#[derive(Debug, Serialize)]
struct KeySet {
    keys: Vec<PublicKey>,
}

async fn keys(State(auth): State<Auth>) -> Result<Response, Error> {
    let keys = auth.0.keyring.public().await?;
    let headers = [
        (header::CONTENT_TYPE, JWK_SET),
        (header::CACHE_CONTROL, CACHE),
    ];
    Ok((headers, Json(KeySet { keys })).into_response())
}
