//! Robots' secrets and application tokens: found by their hash, in one look-up that many logins share.
//!
//! Nobody guesses 256 bits, so nothing locks anybody out here: whoever shows a robot's name and rubbish harms himself alone.

use super::account::Account;
use super::login::Claimed;
use super::{Auth, Error};
use portolan_auth::Method;
use portolan_metadata::credentials::{CredentialBySecret, CredentialKind, SecretHash, SecretRow};
use portolan_registry::Freshness;
use std::net::IpAddr;
use tokio::time::Instant;

impl Auth {
    /// The account that the secret is of, if it is the one that was named.
    pub(super) async fn check_secret(
        &self,
        claimed: &Claimed,
        hash: SecretHash,
        client: IpAddr,
    ) -> Result<Account, Error> {
        let served = self.0.router.read_fresh::<CredentialBySecret>(hash).await?;
        let Some(row) = served.value.filter(|row| fits(claimed, row)) else {
            return Err(self.refuse(client));
        };
        let freshness = Freshness::from(served.by);
        if !row.used_this_hour && freshness == Freshness::Current {
            self.0.pulls.used(row.credential);
        }
        let (method, credential) = match row.kind {
            // It has one, and another raises its generation.
            CredentialKind::Robot => (Method::Robot, None),
            CredentialKind::Application => (Method::Application, Some(row.credential)),
        };
        Ok(Account {
            id: row.account,
            generation: row.generation,
            name: row.name.as_str().parse()?,
            method,
            credential,
            freshness,
        })
    }

    /// What a wrong secret is answered with: nothing that tells which names or secrets there are, and after too many from one
    /// network that there were too many. A right one is never refused for that.
    pub(crate) fn refuse(&self, client: IpAddr) -> Error {
        match self.0.guard.secret_failed(client, Instant::now()) {
            None => Error::CredentialsWrong,
            Some(retry_after) => Error::TooManyFailures { retry_after },
        }
    }
}

/// Whether the secret may be shown under this name.
fn fits(claimed: &Claimed, row: &SecretRow) -> bool {
    match claimed {
        Claimed::Bearer => row.kind == CredentialKind::Application,
        Claimed::Account(name) => *name == row.name,
        Claimed::Nobody => false,
    }
}
