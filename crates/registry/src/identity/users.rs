//! Users, as they are made, changed and shut out.

use super::{Actor, Identity, replaced};
use crate::Error;
use portolan_metadata::accounts::{
    self, AccountKind, AccountName, AccountRow, EmailAddress, NewUser, StoredPassword, Superuser,
};
use portolan_metadata::audit::{self, Change};
use portolan_metadata::teams::{self, TeamPath, TeamRole};
use portolan_metadata::{AccountId, Noun, Refused};
use serde_json::json;

/// Most teams that are shown of one account.
const TEAMS: usize = 1_000;

impl Identity {
    /// Makes a user, and the namespace of the same name.
    ///
    /// # Errors
    /// [`Refused::NameTaken`], [`Refused::EmailTaken`]
    pub async fn create_user(
        &self,
        actor: &Actor,
        new: &NewUser,
        email: Option<&EmailAddress>,
    ) -> Result<AccountId, Error> {
        self.change(|tx| async move {
            let id = accounts::create_user(&tx, new).await?;
            if email.is_some() {
                accounts::set_email(&tx, id, email).await?;
            }
            let detail = json!({ "superuser": new.superuser });
            let change = Change::of("user.create", new.name.as_str()).with(detail);
            audit::record(&tx, actor, &change).await?;
            Ok(id)
        })
        .await
    }

    /// Makes the administrator's account if nobody has its name; false: somebody has, and nothing of it was changed.
    pub async fn ensure_administrator(
        &self,
        actor: &Actor,
        name: &AccountName,
        password_hash: &StoredPassword,
    ) -> Result<bool, Error> {
        self.change(|tx| async move {
            let made = accounts::ensure_admin(&tx, name, password_hash).await?;
            if made {
                let detail = json!({ "superuser": true });
                let change = Change::of("user.create", name.as_str()).with(detail);
                audit::record(&tx, actor, &change).await?;
            }
            Ok(made)
        })
        .await
    }

    /// Sets a user's password and ends all his tokens.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn set_password(
        &self,
        actor: &Actor,
        name: &AccountName,
        password_hash: &StoredPassword,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            if !accounts::set_password(&tx, name, password_hash).await? {
                return Err(Error::Refused(Refused::missing(Noun::User, name)));
            }
            audit::record(&tx, actor, &Change::of("user.set_password", name.as_str())).await?;
            Ok(())
        })
        .await
    }

    /// Sets or takes a user's address.
    ///
    /// # Errors
    /// [`Refused::Missing`], [`Refused::EmailTaken`]
    pub async fn set_email(
        &self,
        actor: &Actor,
        name: &AccountName,
        email: Option<&EmailAddress>,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            let user = accounts::lock(&tx, name, AccountKind::User).await?;
            accounts::set_email(&tx, user.id, email).await?;
            let detail = replaced(user.email, email.map(EmailAddress::as_str));
            let change = Change::of("user.set_email", name.as_str()).with(detail);
            audit::record(&tx, actor, &change).await?;
            Ok(())
        })
        .await
    }

    /// Lets a user in, or shuts him out; either ends all his tokens.
    ///
    /// # Errors
    /// [`Refused::Missing`], [`Refused::LastSuperuser`]
    pub async fn set_user_active(
        &self,
        actor: &Actor,
        name: &AccountName,
        active: bool,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            accounts::set_active(&tx, name, active).await?;
            accounts::of_kind(accounts::find(&*tx, name).await?, name, AccountKind::User)?;
            let action = if active {
                "user.enable"
            } else {
                "user.disable"
            };
            audit::record(&tx, actor, &Change::of(action, name.as_str())).await?;
            Ok(())
        })
        .await
    }

    /// Sets what a user may everywhere.
    ///
    /// # Errors
    /// [`Refused::Missing`], [`Refused::LastSuperuser`]
    pub async fn set_superuser(
        &self,
        actor: &Actor,
        name: &AccountName,
        superuser: Superuser,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            let user = accounts::set_superuser(&tx, name, superuser).await?;
            let detail = replaced(user.superuser.as_str(), superuser.as_str());
            let change = Change::of("user.superuser", name.as_str()).with(detail);
            audit::record(&tx, actor, &change).await?;
            Ok(())
        })
        .await
    }

    /// The account of that name, of whichever kind.
    pub async fn account(&self, name: &AccountName) -> Result<Option<AccountRow>, Error> {
        Ok(accounts::find(&self.reader(), name).await?)
    }

    /// The accounts of a kind after `last`, by name, no more than `rows`.
    pub async fn accounts(
        &self,
        kind: AccountKind,
        last: Option<&AccountName>,
        rows: usize,
    ) -> Result<Vec<AccountRow>, Error> {
        Ok(accounts::list(&self.reader(), kind, last, rows).await?)
    }

    /// The first thousand teams that an account is in.
    pub async fn teams_of(&self, account: AccountId) -> Result<Vec<(TeamPath, TeamRole)>, Error> {
        Ok(teams::list_of_account(&self.reader(), account, TEAMS).await?)
    }
}
