//! A new password for whoever reads the account's mail.

use super::{Actor, Identity};
use crate::Error;
use portolan_auth::{PasswordHash, Secret, SecretKind};
use portolan_metadata::accounts::{AccountName, EmailAddress, StoredPassword};
use portolan_metadata::audit::{self, Change};
use portolan_metadata::credentials::SecretHash;
use portolan_metadata::recovery;
use rand::CryptoRng;
use std::time::Duration;

pub use portolan_metadata::recovery::Addressee;

/// How long a mail is good: long enough for slow mail servers, short enough that a mailbox which is read later opens
/// nothing.
pub const RECOVERY_LIFETIME: Duration = Duration::from_hours(1);

/// Mails of one account that are good at a time: nobody can fill a mailbox with them.
const AT_MOST: usize = 3;

impl Identity {
    /// Begins the recovery of the account that has this address, and returns what the mail needs. `None`: there is none to
    /// send, which whoever asked must not be told.
    pub async fn begin_recovery(
        &self,
        actor: &Actor,
        address: &EmailAddress,
        rng: &mut impl CryptoRng,
    ) -> Result<Option<(Addressee, Secret)>, Error> {
        let secret = Secret::new(SecretKind::Recovery, rng);
        let hash = SecretHash::new(secret.hash());
        let begun = self
            .change(|tx| async move {
                let begun =
                    recovery::begin(&tx, address.as_str(), &hash, RECOVERY_LIFETIME, AT_MOST)
                        .await?;
                let Some(addressee) = begun else {
                    return Ok(None);
                };
                let change = Change::of("user.begin_recovery", addressee.account.as_str());
                audit::record(&tx, actor, &change).await?;
                Ok(Some(addressee))
            })
            .await?;
        Ok(begun.map(|addressee| (addressee, secret)))
    }

    /// Whether a mail had this secret and is still good.
    pub async fn may_recover(&self, secret: &SecretHash) -> Result<bool, Error> {
        let primary = self.router.read_primary().await?;
        Ok(recovery::is_open(&primary, secret).await?)
    }

    /// Ends a recovery: the account has another password, and all its tokens end. Returns whose it is.
    ///
    /// # Errors
    /// [`Error::CredentialsVoid`] where the mail is not good any more.
    pub async fn finish_recovery(
        &self,
        actor: impl Fn(&AccountName) -> Actor,
        secret: &SecretHash,
        new: &PasswordHash,
    ) -> Result<AccountName, Error> {
        let (actor, new) = (&actor, &StoredPassword::new(new.as_str()));
        self.change(|tx| async move {
            let Some(name) = recovery::finish(&tx, secret, new).await? else {
                return Err(Error::CredentialsVoid);
            };
            let change = Change::of("user.recover", name.as_str());
            audit::record(&tx, &actor(&name), &change).await?;
            Ok(name)
        })
        .await
    }

    /// Deletes mails that are good no more, at most `count`; returns how many.
    pub async fn sweep_recoveries(&self, count: usize) -> Result<u64, Error> {
        let tx = self.begin_aside().await?;
        let swept = recovery::sweep(&tx, count).await?;
        self.finish_aside(tx).await?;
        Ok(swept)
    }
}
