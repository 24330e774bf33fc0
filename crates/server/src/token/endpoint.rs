//! `GET` and `POST /v2/auth`.

use super::account::Account;
use super::answer::Answer;
use super::authorization::Authorization;
use super::form::{Asked, Pairs, password_grant};
use super::login::Login;
use super::{Auth, Error};
use crate::layer::Origin;
use crate::wire::App;
use axum::Router;
use axum::extract::rejection::FormRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Form};
use portolan_auth::{Grant, SignedToken, TokenRequest};
use portolan_metadata::Principal;
use portolan_registry::Freshness;
use std::net::IpAddr;

/// A form with as many scopes as a token can carry is below 16 KiB.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// The token endpoint.
pub(crate) fn routes() -> Router<App> {
    let methods = get(by_query).post(by_form).fallback(refuse_method);
    Router::new()
        .route("/v2/auth", methods)
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        // Outermost, so that refusals carry it too.
        .layer(map_response(forbid_storing))
}

/// The distribution project's dialect: parameters in the query, credentials in `Authorization`, if any.
async fn by_query(
    State(auth): State<Auth>,
    Extension(origin): Extension<Origin>,
    headers: HeaderMap,
    Query(pairs): Query<Pairs>,
) -> Result<Answer, Error> {
    let login = match Authorization::of(&headers)? {
        Authorization::None => None,
        Authorization::Basic(login) => Some(login),
        Authorization::Bearer(_) => return Err(Error::CredentialsWrong),
    };
    let issued = auth.issue(login, origin.client, Asked::of(&pairs)).await?;
    Ok(Answer {
        token: issued.token,
        scope: None,
        freshness: issued.freshness,
    })
}

/// OAuth's dialect: everything in a form. Whatever is wrong with the form is 400, after which containerd
/// tries GET.
async fn by_form(
    State(auth): State<Auth>,
    Extension(origin): Extension<Origin>,
    form: Result<Form<Pairs>, FormRejection>,
) -> Result<Answer, Error> {
    let Form(pairs) =
        form.map_err(|_| Error::BadRequest("a form of at most 64 KiB is expected"))?;
    let asked = Asked::of(&pairs);
    let login = password_grant(pairs)?;
    let issued = auth.issue(Some(login), origin.client, asked).await?;
    Ok(Answer {
        token: issued.token,
        scope: Some(joined(&issued.grants)),
        freshness: issued.freshness,
    })
}

async fn refuse_method() -> Error {
    Error::MethodUnknown
}

/// Tokens are nobody else's business (RFC 6749 section 5.1).
async fn forbid_storing(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A token, and what it came of.
struct Issued {
    token: SignedToken,
    grants: Vec<Grant>,
    freshness: Freshness,
}

impl Auth {
    /// Makes the token that `login`, from the address `client`, may have of what is `asked`.
    async fn issue(
        &self,
        login: Option<Login>,
        client: IpAddr,
        asked: Asked,
    ) -> Result<Issued, Error> {
        let account: Option<Account> = match login {
            Some(login) => Some(self.check(login, client).await?),
            // Nobody, for nothing: a client that pings without knowing how to log in must hear that.
            None if !asked.any => return Err(Error::Anonymous),
            None => None,
        };
        let principal = account
            .as_ref()
            .map_or(Principal::Anonymous, Account::principal);
        let (grants, rights) = self.granted(principal, asked.scopes).await?;
        let holder = account.as_ref().map(Account::holder);
        let request = TokenRequest {
            holder,
            grants: grants.clone(),
        };
        let token = self.0.signer.sign(request, &mut self.random()).await?;
        let login = account
            .as_ref()
            .map_or(Freshness::Current, Account::freshness);
        Ok(Issued {
            token,
            grants,
            freshness: login.max(rights),
        })
    }
}

fn joined(grants: &[Grant]) -> String {
    grants
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}
