//! The page that says who is signed in, and what can be done there.

use super::Sso;
use super::cookie::Cookie;
use super::error::Refusal;
use super::page::{escaped, page};
use super::return_to::ReturnTo;
use super::session::{Session, from};
use crate::layer::{Origin, RequestId};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Form};
use portolan_registry::identity::TokenToMake;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use std::fmt::Write as _;

/// The hidden field of every form.
#[derive(Debug, Deserialize)]
pub(super) struct Posted {
    form_token: String,
}

/// `GET /auth/done`
pub(super) async fn show(
    State(sso): State<Sso>,
    headers: HeaderMap,
    Extension(origin): Extension<Origin>,
) -> Result<Response, Refusal> {
    Ok(match sso.session(&headers, &origin).await? {
        Some(session) => page(&signed_in(&session)).into_response(),
        None => (StatusCode::UNAUTHORIZED, page(&signed_out(&sso))).into_response(),
    })
}

fn signed_in(session: &Session) -> String {
    let name = escaped(session.row.name.as_str());
    let token = session.form_token();
    format!(
        "<h1>Signed in as {name}</h1>\n\
         <form method=\"post\" action=\"/auth/token\">\
         <input type=\"hidden\" name=\"form_token\" value=\"{token}\">\
         <button>Make a token for docker login</button></form>\n\
         <form method=\"post\" action=\"/auth/sign-out\">\
         <input type=\"hidden\" name=\"form_token\" value=\"{token}\">\
         <button>Sign out</button></form>\n"
    )
}

fn signed_out(sso: &Sso) -> String {
    let mut body = "<h1>Sign in</h1>\n".to_owned();
    for provider in sso.providers() {
        let (name, title) = (escaped(&provider.name), escaped(&provider.title));
        let line = writeln!(
            body,
            "<p><a href=\"/auth/oidc/{name}/login\">Sign in with {title}</a></p>"
        );
        line.expect("writing to a string never fails");
    }
    if sso.providers().next().is_none() {
        body.push_str("<p>No provider of single sign-on is configured.</p>\n");
    }
    body
}

/// What tokens that are made here are called in the list of them.
const TITLE: &str = "made at the browser";

/// `POST /auth/token`
pub(super) async fn make_token(
    State(sso): State<Sso>,
    headers: HeaderMap,
    Extension(origin): Extension<Origin>,
    Extension(request): Extension<RequestId>,
    Form(posted): Form<Posted>,
) -> Result<Response, Refusal> {
    let session = sso.session(&headers, &origin).await?;
    let session = session.ok_or(Refusal::SignedOut)?;
    session.check_form(&posted.form_token)?;
    let actor = session.actor(from(&origin, &request));
    let token = TokenToMake {
        title: TITLE.to_owned(),
        expires_at: None,
        max_role: None,
    };
    let (_, secret) = sso
        .identity()
        .create_token(&actor, &session.row.name, token, &mut sso.random())
        .await?;
    let name = escaped(session.row.name.as_str());
    let registry = escaped(&origin.authority);
    let secret = escaped(secret.text().expose_secret());
    Ok(page(&format!(
        "<h1>A new token of {name}</h1>\n<p>It is shown this once:</p>\n\
         <pre>docker login --username {name} --password {secret} {registry}</pre>\n\
         <p><a href=\"/auth/done\">Go on</a></p>\n"
    ))
    .into_response())
}

/// `POST /auth/sign-out`
pub(super) async fn sign_out(
    State(sso): State<Sso>,
    headers: HeaderMap,
    Extension(origin): Extension<Origin>,
    Extension(request): Extension<RequestId>,
    Form(posted): Form<Posted>,
) -> Result<Response, Refusal> {
    let session = sso.session(&headers, &origin).await?;
    let session = session.ok_or(Refusal::SignedOut)?;
    session.check_form(&posted.form_token)?;
    let actor = session.actor(from(&origin, &request));
    sso.identity()
        .end_session(&actor, &session.row, &session.hash())
        .await?;
    let cleared = [
        (header::LOCATION, ReturnTo::DONE.parse().expect("a path")),
        (header::SET_COOKIE, Cookie::Session.clear(&origin)),
    ];
    Ok((StatusCode::SEE_OTHER, cleared).into_response())
}
