//! The web API, as far as it is built: people look after their own accounts.
//!
//! | request | what it does |
//! |---|---|
//! | `POST /api/v1/user/` | signs up, where `accounts.sign_up` is `open` |
//! | `PUT /api/v1/user/` | changes one's own password, which comes by Basic |
//! | `POST /api/v1/recovery` | sends a mail to the address, if somebody has it |
//! | `POST /api/v1/recovery/confirm` | sets a new password with what the mail said |
//!
//! Bodies are JSON, errors are problems (RFC 9457). Nothing of it tells whether there is an account of some address.

mod mailroom;
mod problem;
mod recovery;
mod user;

pub(crate) use mailroom::Mailroom;

use crate::layer::{Origin, RequestId};
use crate::wire::App;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderValue, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::post;
use portolan_metadata::AccountId;
use portolan_registry::identity::Actor;
use problem::Problem;
use secrecy::{ExposeSecret as _, SecretString};

/// Names, addresses and passwords are short.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// NIST SP 800-63B section 3.1.1.2 has 8 as the least.
const PASSWORD_CHARACTERS_MIN: usize = 8;
/// Longer ones are never right at a login.
const PASSWORD_BYTES_MAX: usize = 1024;

/// Every route of the web API.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/api/v1/user/", post(user::sign_up).put(user::change))
        .route("/api/v1/recovery", post(recovery::ask))
        .route("/api/v1/recovery/confirm", post(recovery::confirm))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(map_response(forbid_storing))
}

async fn forbid_storing(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A body that is JSON of the form that is wanted.
fn body<T>(body: Result<axum::Json<T>, JsonRejection>) -> Result<T, Problem> {
    // The parser's own message could quote a password.
    body.map(|axum::Json(body)| body)
        .map_err(|_| Problem::Invalid("the body is not the JSON that is wanted here"))
}

/// A password that somebody may choose.
fn choosable(password: SecretString) -> Result<SecretString, Problem> {
    let text = password.expose_secret();
    if text.chars().count() < PASSWORD_CHARACTERS_MIN {
        return Err(Problem::Invalid("a password needs at least 8 characters"));
    }
    if text.len() > PASSWORD_BYTES_MAX {
        return Err(Problem::Invalid("a password has at most 1024 bytes"));
    }
    Ok(password)
}

/// Whoever makes a request, for the audit log.
fn actor(
    account: Option<AccountId>,
    name: &str,
    method: &'static str,
    origin: &Origin,
    request: &RequestId,
) -> Actor {
    Actor {
        account,
        address: Some(origin.client),
        request: Some(request.as_str().to_owned()),
        method,
        ..Actor::command_line(name)
    }
}
