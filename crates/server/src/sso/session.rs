//! The session of a browser: a secret in a cookie.

use super::Sso;
use super::cookie::Cookie;
use super::error::Refusal;
use crate::layer::{Origin, RequestId};
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portolan_auth::Method;
use portolan_registry::identity::{Actor, From, PersonRow, SessionHash, SessionRow};
use rand::Rng as _;
use sha2::{Digest as _, Sha256};
use std::time::Duration;

/// A working day and a half: nobody logs in twice a day.
const LIFETIME: Duration = Duration::from_hours(12);

/// A session that is going on.
#[derive(Debug)]
pub(super) struct Session {
    /// Whose it is.
    pub(super) row: SessionRow,
    secret: Secret,
}

/// What the cookie holds: 256 random bits.
struct Secret([u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    fn read(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    fn hash(&self) -> SessionHash {
        Sha256::digest(self.0).into()
    }
}

/// Who comes, for the audit log.
pub(super) fn from(origin: &Origin, request: &RequestId) -> From {
    From {
        address: Some(origin.client),
        request: Some(request.as_str().to_owned()),
        method: Method::Oidc,
    }
}

impl Sso {
    /// Begins a session; the header hands it to the browser.
    pub(super) async fn begin_session(
        &self,
        person: &PersonRow,
        origin: &Origin,
        from: From,
    ) -> Result<HeaderValue, Refusal> {
        let mut bytes = [0; 32];
        self.random().fill_bytes(&mut bytes);
        let secret = Secret(bytes);
        let actor = Actor {
            account: Some(person.account),
            credential: None,
            name: person.name.to_string(),
            method: from.method.as_str(),
            address: from.address,
            request: from.request,
        };
        self.identity()
            .begin_session(&actor, person, LIFETIME, &secret.hash())
            .await?;
        let text = URL_SAFE_NO_PAD.encode(secret.0);
        Ok(Cookie::Session.set(&text, LIFETIME, origin))
    }

    /// The session that a browser shows, if it is still going on.
    pub(super) async fn session(
        &self,
        headers: &HeaderMap,
        origin: &Origin,
    ) -> Result<Option<Session>, Refusal> {
        let Some(secret) = Cookie::Session.of(headers, origin).and_then(Secret::read) else {
            return Ok(None);
        };
        let row = self.identity().session(&secret.hash()).await?;
        Ok(row.map(|row| Session { row, secret }))
    }
}

impl Session {
    /// What finds it.
    pub(super) fn hash(&self) -> SessionHash {
        self.secret.hash()
    }

    /// Stands in our own forms, and no other page can know it: follows from the secret and does not tell it.
    pub(super) fn form_token(&self) -> String {
        let hash = Sha256::new()
            .chain_update("portolan form\0")
            .chain_update(self.secret.0)
            .finalize();
        URL_SAFE_NO_PAD.encode(hash)
    }

    /// Fails unless a form was made for this session.
    pub(super) fn check_form(&self, token: &str) -> Result<(), Refusal> {
        let expected = self.form_token();
        aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_bytes(), token.as_bytes())
            .map_err(|_| Refusal::Form)
    }

    /// Who does what is done with it.
    pub(super) fn actor(&self, from: From) -> Actor {
        Actor {
            account: Some(self.row.account),
            credential: None,
            name: self.row.name.to_string(),
            method: Method::Session.as_str(),
            address: from.address,
            request: from.request,
        }
    }
}
