//! Passwords: changed by their owners, and kept in today's form.

use super::{Actor, Identity};
use crate::Error;
use portolan_auth::PasswordHash;
use portolan_metadata::AccountId;
use portolan_metadata::accounts::StoredPassword;
use portolan_metadata::audit::{self, Change};
use portolan_metadata::passwords;

impl Identity {
    /// Gives an account another password and ends all its tokens. Whether the old one was shown is the caller's to see to.
    ///
    /// # Errors
    /// [`Error::CredentialsVoid`] where the account is of another generation by now.
    pub async fn change_password(
        &self,
        actor: &Actor,
        account: AccountId,
        generation: i64,
        new: &PasswordHash,
    ) -> Result<(), Error> {
        let new = &StoredPassword::new(new.as_str());
        self.change(|tx| async move {
            let Some(name) = passwords::change(&tx, account, generation, new).await? else {
                return Err(Error::CredentialsVoid);
            };
            audit::record(&tx, actor, &Change::of("user.change_password", &name)).await?;
            Ok(())
        })
        .await
    }

    /// Keeps the same password in another form, if it is still the same. Nothing changes for anybody, so the log is told
    /// nothing, no token ends, and no process waits.
    pub async fn upgrade_password(
        &self,
        account: AccountId,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<bool, Error> {
        let old = StoredPassword::new(old.as_str());
        let new = StoredPassword::new(new.as_str());
        let tx = self.begin_aside().await?;
        let upgraded = passwords::upgrade(&tx, account, &old, &new).await?;
        self.finish_aside(tx).await?;
        Ok(upgraded)
    }
}
