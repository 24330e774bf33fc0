//! `/api/v1/recovery`: a new password for whoever reads the account's mail.

use super::mailroom::{Asked, Mailroom};
use super::problem::Problem;
use super::{actor, body, choosable};
use crate::layer::{Origin, RequestId};
use crate::token::Auth;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use portolan_auth::hash_secret;
use portolan_metadata::accounts::EmailAddress;
use portolan_metadata::credentials::SecretHash;
use secrecy::SecretString;
use serde::Deserialize;

/// Whose password is forgotten.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Forgotten {
    email: String,
}

/// `POST /api/v1/recovery`: the same answer, in the same time, whether or not somebody has the address.
pub(super) async fn ask(
    State(auth): State<Auth>,
    State(mailroom): State<Mailroom>,
    Extension(origin): Extension<Origin>,
    Extension(request): Extension<RequestId>,
    forgotten: Result<Json<Forgotten>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    let address: EmailAddress = body(forgotten)?
        .email
        .parse()
        .map_err(|_| Problem::Invalid("this is no address of mail"))?;
    if !mailroom.is_set_up() {
        return Err(Problem::NotSetUp("this registry sends no mail"));
    }
    if let Some(retry_after) = auth.asked_too_often(origin.client) {
        return Err(Problem::TooMany { retry_after });
    }
    let actor = actor(None, "anonymous", "recovery", &origin, &request);
    mailroom.ask(Asked { address, actor })?;
    Ok(StatusCode::ACCEPTED)
}

/// What the mail said, and a new password.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Confirmation {
    token: SecretString,
    password: SecretString,
}

/// `POST /api/v1/recovery/confirm`: sets the password; all tokens of the account end.
pub(super) async fn confirm(
    State(auth): State<Auth>,
    Extension(origin): Extension<Origin>,
    Extension(request): Extension<RequestId>,
    confirmation: Result<Json<Confirmation>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    let Confirmation { token, password } = body(confirmation)?;
    let password = choosable(password)?;
    let secret = SecretHash::new(hash_secret(&token));
    let identity = auth.identity();
    // Before the hash, which costs something.
    if !identity.may_recover(&secret).await? {
        return Err(auth.refuse(origin.client).into());
    }
    let hash = auth.hash(password).await?;
    let who = |name: &portolan_metadata::accounts::AccountName| {
        actor(None, name.as_str(), "recovery", &origin, &request)
    };
    let name = identity.finish_recovery(who, &secret, &hash).await?;
    auth.is_known(name.as_str(), origin.client);
    Ok(StatusCode::NO_CONTENT)
}
