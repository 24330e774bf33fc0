//! Application tokens, and the end of all tokens of an account.

use super::robots::seconds;
use super::{Actor, Identity};
use crate::Error;
use portolan_auth::{Secret, SecretKind};
use portolan_metadata::accounts::AccountName;
use portolan_metadata::audit::{self, Change};
use portolan_metadata::credentials::{self, NewToken, SecretHash};
use portolan_metadata::{CredentialId, Noun, Refused, Role};
use rand::CryptoRng;
use serde_json::json;
use std::time::SystemTime;

pub use portolan_metadata::credentials::TokenRow;

/// An application token to make.
#[derive(Debug, Clone)]
pub struct TokenToMake {
    /// What its owner knows it by.
    pub title: String,
    /// When it stops working.
    pub expires_at: Option<SystemTime>,
    /// What it reaches at most; `None`: all that the account may.
    pub max_role: Option<Role>,
}

impl Identity {
    /// Makes an application token of a user; its text is nowhere else.
    ///
    /// # Errors
    /// [`Refused::Missing`]: there is no such user.
    pub async fn create_token(
        &self,
        actor: &Actor,
        owner: &AccountName,
        token: TokenToMake,
        rng: &mut impl CryptoRng,
    ) -> Result<(CredentialId, Secret), Error> {
        let secret = Secret::new(SecretKind::Application, rng);
        let new = &NewToken {
            owner: owner.clone(),
            title: token.title,
            expires_at: token.expires_at,
            max_role: token.max_role,
            secret: SecretHash::new(secret.hash()),
        };
        let id = self
            .change(|tx| async move {
                let Some(id) = credentials::create_token(&tx, new).await? else {
                    return Err(Error::Refused(Refused::missing(Noun::User, owner)));
                };
                let detail = json!({
                    "id": id.get(),
                    "title": new.title,
                    "expires_at": seconds(new.expires_at),
                    "max_role": new.max_role.map(Role::as_str),
                });
                let change = Change::of("token.create", owner.as_str()).with(detail);
                audit::record(&tx, actor, &change).await?;
                Ok(id)
            })
            .await?;
        Ok((id, secret))
    }

    /// Deletes an application token; what was given for it ends at once.
    ///
    /// # Errors
    /// [`Refused::Missing`]: the account has none of that id.
    pub async fn delete_token(
        &self,
        actor: &Actor,
        owner: &AccountName,
        id: CredentialId,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            let Some(title) = credentials::delete_token(&tx, owner, id).await? else {
                return Err(Error::Refused(Refused::missing(Noun::Token, id)));
            };
            let detail = json!({ "id": id.get(), "title": title });
            let change = Change::of("token.delete", owner.as_str()).with(detail);
            audit::record(&tx, actor, &change).await?;
            Ok(())
        })
        .await
    }

    /// Application tokens of an account, oldest first, after `last`.
    pub async fn tokens(
        &self,
        owner: &AccountName,
        last: Option<CredentialId>,
        count: usize,
    ) -> Result<Vec<TokenRow>, Error> {
        Ok(credentials::list_tokens(&self.reader(), owner, last, count).await?)
    }

    /// Ends every token and session that an account has been given, or an organization's robots have. Passwords, application
    /// tokens and the secrets of robots go on.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn revoke(&self, actor: &Actor, name: &AccountName) -> Result<(), Error> {
        self.change(|tx| async move {
            if !credentials::revoke(&tx, name).await? {
                return Err(Error::Refused(Refused::missing(Noun::Account, name)));
            }
            audit::record(&tx, actor, &Change::of("account.revoke", name.as_str())).await?;
            Ok(())
        })
        .await
    }
}
