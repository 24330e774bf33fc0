//! Who asks: turns `Authorization` into a [`Caller`] for every request to `/v2`.
//!
//! A request without credentials is anonymous, and goes on: the statement that resolves what it asks for
//! decides. Credentials that are wrong end it here, before any work. A token costs a hash and a look into a
//! cache; its holder's rights, and whether the account still exists, are again the resolving statement's.

use super::origin::Origin;
use crate::token::{self, Auth, Authorization};
use crate::v2;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use portolan_metadata::{AccountId, CredentialId, Principal};
use portolan_registry::Caller;
use std::net::IpAddr;
use std::sync::Arc;

/// Puts the [`Caller`] into the request's extensions, or answers 401 (429, 503) itself.
pub(crate) async fn authenticate(
    State(auth): State<Auth>,
    mut request: Request,
    next: Next,
) -> Response {
    let origin: Option<&Origin> = request.extensions().get();
    let client = origin
        .expect("the layer of origins is around this one")
        .client;
    match caller(&auth, request.headers(), client).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => {
            if let token::Error::TokenInvalid(fault) = &error {
                tracing::debug!(%fault, "refused a token: {fault}");
            }
            v2::Error::from(error).into_response()
        }
    }
}

async fn caller(auth: &Auth, headers: &HeaderMap, client: IpAddr) -> Result<Caller, token::Error> {
    match Authorization::of(headers)? {
        Authorization::None => Ok(Caller::anonymous()),
        Authorization::Basic(login) => {
            let account = auth.check(login, client).await?;
            Ok(Caller::with_password(account.principal()))
        }
        Authorization::Bearer(text) => {
            let token = auth.verify(text).await?;
            let principal = match &token.holder {
                Some(holder) => Principal::Account {
                    id: AccountId::from(holder.account),
                    generation: holder.generation,
                    credential: holder.credential.map(CredentialId::from),
                },
                None => Principal::Anonymous,
            };
            Ok(Caller::with_token(principal, Arc::clone(&token.grants)))
        }
    }
}
