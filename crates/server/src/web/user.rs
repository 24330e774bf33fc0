//! `/api/v1/user/`: one's own account.

use super::problem::Problem;
use super::{actor, body, choosable};
use crate::config::SignUp;
use crate::layer::{Origin, RequestId};
use crate::token::{Auth, Authorization};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use portolan_auth::Method;
use portolan_metadata::Refused;
use portolan_metadata::accounts::{AccountName, EmailAddress, NewUser, StoredPassword};
use portolan_registry::Error as Refusal;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

/// What somebody who signs up says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    username: String,
    password: SecretString,
    email: Option<String>,
}

/// `POST`: signs up.
pub(super) async fn sign_up(
    State(auth): State<Auth>,
    State(policy): State<SignUp>,
    Extension(origin): Extension<Origin>,
    Extension(request): Extension<RequestId>,
    wanted: Result<Json<Wanted>, JsonRejection>,
) -> Result<Response, Problem> {
    if policy == SignUp::Closed {
        return Err(Problem::Forbidden("accounts are made by administrators"));
    }
    let wanted = body(wanted)?;
    let name: AccountName = wanted.username.parse().map_err(|_| {
        Problem::Invalid(
            "a username is lower-case letters and digits, with `.`, `_` or dashes between them",
        )
    })?;
    if name.is_robot() {
        return Err(Problem::Invalid("this is the name of a robot"));
    }
    if name.is_reserved() {
        return Err(Problem::Refused(Refused::NameTaken));
    }
    let email: Option<EmailAddress> = wanted
        .email
        .map(|text| text.parse())
        .transpose()
        .map_err(|_| Problem::Invalid("this is no address of mail"))?;
    let password = choosable(wanted.password)?;
    if let Some(retry_after) = auth.asked_too_often(origin.client) {
        return Err(Problem::TooMany { retry_after });
    }
    let hash = auth.hash(password).await?;
    let new = NewUser {
        name,
        password_hash: StoredPassword::new(hash.as_str()),
        superuser: false,
    };
    let who = actor(None, new.name.as_str(), "sign-up", &origin, &request);
    let identity = auth.identity();
    match identity.create_user(&who, &new, email.as_ref()).await {
        // Whose it is nobody hears; the account has no address then.
        Err(Refusal::Refused(Refused::EmailTaken)) => {
            identity.create_user(&who, &new, None).await?;
        }
        made => {
            made?;
        }
    }
    let made = Json(json!({ "username": new.name.as_str() }));
    Ok((StatusCode::CREATED, made).into_response())
}

/// A new password.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    password: SecretString,
}

/// `PUT`: changes one's own password; all tokens of the account end.
pub(super) async fn change(
    State(auth): State<Auth>,
    Extension(origin): Extension<Origin>,
    Extension(request): Extension<RequestId>,
    headers: HeaderMap,
    change: Result<Json<Change>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    let Authorization::Basic(login) = Authorization::of(&headers)? else {
        return Err(Problem::Unauthenticated);
    };
    let account = auth.check(login, origin.client).await?;
    if account.method() == Method::Ldap {
        return Err(Problem::Forbidden(
            "your password is the directory's, and is changed there",
        ));
    }
    // Whoever found a token shall not have the account.
    if account.method() != Method::Password {
        return Err(Problem::Unauthenticated);
    }
    let hash = auth.hash(choosable(body(change)?.password)?).await?;
    let (id, name) = (account.id(), account.name());
    let who = actor(Some(id), name.as_str(), "password", &origin, &request);
    auth.identity()
        .change_password(&who, id, account.generation(), &hash)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
