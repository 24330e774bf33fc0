//! The body of a successful token request.

use crate::v2::Marked;
use axum::Json;
use axum::response::{IntoResponse, Response};
use portolan_auth::SignedToken;
use portolan_registry::Freshness;
use secrecy::ExposeSecret as _;
use serde::Serialize;

/// A token, in the form both dialects share.
///
/// There is no `issued_at`: clients would add `expires_in` to it and compare with their own clock, so that a
/// fast clock makes every token look expired. There is no `refresh_token`: docker would keep it instead of
/// the password.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) token: SignedToken,
    /// What was granted, for the OAuth form only.
    pub(super) scope: Option<String>,
    /// How current it is who somebody is and what he may.
    pub(super) freshness: Freshness,
}

#[derive(Serialize)]
struct Body<'a> {
    /// Watchtower reads this one,
    token: &'a str,
    /// containerd and oras that one after a POST.
    access_token: &'a str,
    /// Always there: containerd takes a missing one for "never expires", the others for a minute.
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let text = self.token.text.expose_secret();
        let body = Json(Body {
            token: text,
            access_token: text,
            expires_in: self.token.expires_in.as_secs(),
            scope: self.scope.as_deref(),
        });
        (Marked(self.freshness), body).into_response()
    }
}
