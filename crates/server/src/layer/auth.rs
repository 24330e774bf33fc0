//! Who asks: turns `Authorization` into a [`Caller`] for every request to `/v2`.
//!
//! A request without credentials is anonymous, and goes on: the statement that resolves what it asks for
//! decides. Credentials that are wrong end it here, before any work. A token costs a hash and a look into a
//! cache; its holder's rights, and whether the account still exists, are again the resolving statement's.

use super::log::Named;
use super::{Origin, RequestId};
use crate::token::{self, Auth, Authorization};
use crate::v2;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use portolan_auth::TokenHolder;
use portolan_metadata::{AccountId, CredentialId, Principal};
use portolan_registry::{Caller, Came};
use std::net::IpAddr;
use std::sync::Arc;

/// Puts the [`Caller`] into the request's extensions, or answers 401 (429, 503) itself.
pub(crate) async fn authenticate(
    State(auth): State<Auth>,
    mut request: Request,
    next: Next,
) -> Response {
    let way = Way::of(&request);
    match caller(&auth, request.headers(), way).await {
        Ok(caller) => {
            // Only there where a line is to be written.
            if let (Some(named), Some(name)) =
                (request.extensions().get::<Named>(), &caller.came.name)
            {
                named.is(name);
            }
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

async fn caller(auth: &Auth, headers: &HeaderMap, way: Way) -> Result<Caller, token::Error> {
    match Authorization::of(headers)? {
        Authorization::None => Ok(Caller::anonymous().who_came(way.came(None))),
        Authorization::Basic(login) => {
            let account = auth.check(login, way.address).await?;
            let came = way.came(Some(&account.holder()));
            Ok(Caller::with_password(account.principal()).who_came(came))
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
            let came = way.came(token.holder.as_ref());
            Ok(Caller::with_token(principal, Arc::clone(&token.grants)).who_came(came))
        }
    }
}

/// By which way the request came.
struct Way {
    address: IpAddr,
    request: Option<Arc<str>>,
}

impl Way {
    /// A pull writes nothing into the audit log, and its id is not copied here.
    fn of(request: &Request) -> Self {
        let reads = request.method() == Method::GET || request.method() == Method::HEAD;
        let extensions = request.extensions();
        let id = extensions.get::<RequestId>().filter(|_| !reads);
        Self {
            address: extensions
                .get::<Origin>()
                .expect("the layer of origins is around this one")
                .client,
            request: id.map(|id| id.as_str().into()),
        }
    }

    /// What the audit log will say of `holder`, who came by it.
    fn came(self, holder: Option<&TokenHolder>) -> Came {
        Came {
            name: holder.map(|holder| holder.name.clone()),
            method: holder.map(|holder| holder.method),
            address: Some(self.address),
            request: self.request,
        }
    }
}
