//! To the provider and back.
//!
//! What belongs to one login lies sealed in a cookie of the browser that goes this way, so any process can end what
//! another began, and nothing is kept of those who never come back. A code is redeemed once; the provider sees to that.

use super::Sso;
use super::cookie::Cookie;
use super::error::Refusal;
use super::provider::{Provider, Told};
use super::return_to::ReturnTo;
use super::session::from;
use crate::layer::{Origin, RequestId};
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portolan_auth::oidc::{Attempt, Audience, IdToken, error_word};
use portolan_auth::{Error as AuthError, Purpose};
use portolan_registry::identity::{From, SignIn};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time for a password, a second factor, and a look for the phone that has it.
const LIFETIME: Duration = Duration::from_mins(10);

/// What lies in the cookie.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    attempt: Attempt,
    return_to: String,
    redirect_uri: String,
    /// In seconds since 1970.
    until: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct LoginQuery {
    return_to: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CallbackQuery {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

/// `GET /auth/oidc/{provider}/login?return_to=/path`
pub(super) async fn login(
    State(sso): State<Sso>,
    Path(provider): Path<String>,
    Query(query): Query<LoginQuery>,
    Extension(origin): Extension<Origin>,
) -> Result<Response, Refusal> {
    let provider = sso.provider(&provider).ok_or(Refusal::NoSuchProvider)?;
    let return_to = match query.return_to {
        Some(text) => text.parse()?,
        None => ReturnTo::default(),
    };
    let attempt = Attempt::random(&mut sso.random());
    let redirect_uri = format!("{}/auth/oidc/{}/callback", origin.base_url(), provider.name);
    let url = provider
        .issuer
        .authorization_url(&provider.client, &provider.scopes, &redirect_uri, &attempt)
        .await?;
    let begun = Begun {
        attempt,
        return_to: return_to.as_str().to_owned(),
        redirect_uri,
        until: seconds(sso.0.clock.now() + LIFETIME),
    };
    let cookie = Cookie::Login.set(&sso.seal(provider, &begun)?, LIFETIME, &origin);
    Ok(redirect(&url, [cookie]))
}

/// `GET /auth/oidc/{provider}/callback`
pub(super) async fn callback(
    State(sso): State<Sso>,
    Path(provider): Path<String>,
    Query(query): Query<CallbackQuery>,
    headers: HeaderMap,
    Extension(origin): Extension<Origin>,
    Extension(request): Extension<RequestId>,
) -> Result<Response, Refusal> {
    let provider = sso.provider(&provider).ok_or(Refusal::NoSuchProvider)?;
    let begun = Cookie::Login
        .of(&headers, &origin)
        .and_then(|cookie| sso.open(provider, cookie))
        .ok_or(Refusal::NotBegun)?;
    let state = query.state.as_deref().unwrap_or_default();
    if !is_equal(state, &begun.attempt.state) {
        return Err(Refusal::NotBegun);
    }
    let from = from(&origin, &request);
    let clear = Cookie::Login.clear(&origin);
    match sso.arrive(provider, &begun, query, &origin, from).await {
        Ok(session) => Ok(redirect(&begun.return_to, [session, clear])),
        Err(refusal) => {
            let mut response = refusal.into_response();
            response.headers_mut().append(header::SET_COOKIE, clear);
            Ok(response)
        }
    }
}

impl Sso {
    /// Somebody who comes back from a provider; returns the header that gives his browser a session.
    async fn arrive(
        &self,
        provider: &Provider,
        begun: &Begun,
        query: CallbackQuery,
        origin: &Origin,
        from: From,
    ) -> Result<HeaderValue, Refusal> {
        provider.issuer.check_answer(query.iss.as_deref()).await?;
        if let Some(error) = query.error {
            return Err(Refusal::ByProvider(error_word(&error).to_owned()));
        }
        let code = query.code.ok_or(Refusal::NotBegun)?;
        let token = {
            let _permit = self
                .0
                .exchanges
                .try_acquire()
                .map_err(|_| Refusal::Overloaded)?;
            redeem(provider, &code, begun).await?
        };
        let person = provider.person(&token, Told::All);
        let sign_in = self.identity().sign_in(&person, provider.sign_up, &from);
        match sign_in.await? {
            SignIn::As(person) => self.begin_session(&person.row, origin, from).await,
            SignIn::Refused(refusal) => {
                let (provider, subject) = (&provider.name, &person.subject);
                tracing::info!(
                    provider,
                    subject,
                    "refused `{subject}` of `{provider}`: {refusal}"
                );
                Err(refusal.into())
            }
        }
    }

    fn seal(&self, provider: &Provider, begun: &Begun) -> Result<String, Refusal> {
        let plain = serde_json::to_vec(begun).expect("texts and a number are JSON");
        let sealed =
            self.0
                .seal
                .seal(Purpose::Login, &provider.name, &plain, &mut self.random())?;
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// What was begun at this provider, if it was, and not too long ago.
    fn open(&self, provider: &Provider, cookie: &str) -> Option<Begun> {
        let sealed = URL_SAFE_NO_PAD.decode(cookie).ok()?;
        let plain = self
            .0
            .seal
            .open(Purpose::Login, &provider.name, &sealed)
            .ok()?;
        let begun: Begun = serde_json::from_slice(plain.expose_secret()).ok()?;
        (seconds(self.0.clock.now()) < begun.until).then_some(begun)
    }
}

/// The verified token that `code` is good for, with all that the provider says of its holder.
async fn redeem(provider: &Provider, code: &str, begun: &Begun) -> Result<IdToken, AuthError> {
    let issuer = &provider.issuer;
    let redeemed = issuer
        .redeem(&provider.client, code, &begun.redirect_uri, &begun.attempt)
        .await?;
    let clients = std::slice::from_ref(&provider.client.id);
    let text = redeemed.id_token.expose_secret();
    let mut token = issuer.verify(text, Audience::Clients(clients)).await?;
    token.answers(&begun.attempt.nonce)?;
    if provider.lacks_claims(&token)
        && let Some(more) = issuer.user_info(&redeemed).await?
    {
        token.complete(more)?;
    }
    Ok(token)
}

fn redirect<const N: usize>(to: &str, cookies: [HeaderValue; N]) -> Response {
    let location = HeaderValue::try_from(to).expect("a URL of visible ASCII stands in a header");
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response();
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

fn is_equal(shown: &str, expected: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(shown.as_bytes(), expected.as_bytes()).is_ok()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
