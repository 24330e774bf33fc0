//! Wrong passwords, as all processes count them.
//!
//! They are no changes of who there is: the audit log has no rows of them, and nobody waits until all processes see one.

use super::Identity;
use crate::Error;
use portolan_metadata::AccountId;
use portolan_metadata::lockouts;
use std::net::IpAddr;

pub use portolan_metadata::lockouts::LockoutRules;

/// Wrong passwords are forgotten after so long without another: who guesses that slowly gets nowhere, and who mistypes
/// now and then is never shut out.
pub const FORGET_FAILURES: std::time::Duration = std::time::Duration::from_hours(24);

impl Identity {
    /// Counts a wrong password for an account from a network. `attempt` is a keyed digest of it.
    pub async fn password_failed(
        &self,
        account: AccountId,
        network: IpAddr,
        attempt: &[u8; 32],
        rules: &LockoutRules,
    ) -> Result<(), Error> {
        let tx = self.begin_aside().await?;
        lockouts::failed(&tx, account, network, attempt, rules).await?;
        self.finish_aside(tx).await
    }

    /// Forgets them: a right one came from there.
    pub async fn password_was_right(
        &self,
        account: AccountId,
        network: IpAddr,
    ) -> Result<(), Error> {
        let tx = self.begin_aside().await?;
        lockouts::clear(&tx, account, network).await?;
        self.finish_aside(tx).await
    }

    /// Deletes what is forgotten, at most `count` rows; returns how many.
    pub async fn sweep_lockouts(&self, count: usize) -> Result<u64, Error> {
        let tx = self.begin_aside().await?;
        let swept = lockouts::sweep(&tx, FORGET_FAILURES, count).await?;
        self.finish_aside(tx).await?;
        Ok(swept)
    }
}
