//! Passwords of users.
//!
//! A name that nobody has is treated as one that somebody has, in what it costs, in what it hears, and in what it hears after
//! too many tries. So what *other* processes counted, which is known of accounts alone, is never told: while they have shut a
//! network out, every password from there is wrong.

use super::account::Account;
use super::chores::Chore;
use super::login::Claimed;
use super::{Auth, Error};
use portolan_auth::{Method, PasswordHash, Subject};
use portolan_metadata::accounts::AccountName;
use portolan_metadata::lockouts::{PasswordByName, PasswordKey, PasswordRow};
use portolan_registry::Freshness;
use secrecy::{ExposeSecret as _, SecretString};
use std::net::IpAddr;
use tokio::time::Instant;

/// Somebody, and what his password is checked against.
struct Found {
    row: PasswordRow,
    stored: PasswordHash,
    subject: Subject,
    freshness: Freshness,
}

impl Auth {
    /// The account, if the password is right and may be tried from there at present.
    pub(super) async fn check_password(
        &self,
        name: String,
        claimed: Claimed,
        password: SecretString,
        client: IpAddr,
    ) -> Result<Account, Error> {
        let guard = &self.0.guard;
        let who = guard.who(&name, client);
        if let Some(retry_after) = guard.wait(&who, Instant::now()) {
            return Err(Error::TooManyFailures { retry_after });
        }
        let found = match claimed {
            Claimed::Account(name) => self.find(name, who.network).await?,
            Claimed::Bearer | Claimed::Nobody => None,
        };
        let open = found.filter(|found| found.row.locked_for.is_none() || !guard.locks_out());
        let stored = open.as_ref().map(|found| found.stored.clone());
        let shown = password.clone();
        let right = self.0.passwords.verify(password, stored).await?;
        match open {
            Some(found) if right => {
                guard.succeeded(&who);
                self.tidy(&found, shown, who.network);
                Ok(Account {
                    id: found.row.account,
                    generation: found.row.generation,
                    name: found.subject,
                    method: Method::Password,
                    credential: None,
                    freshness: found.freshness,
                })
            }
            open => {
                let attempt = guard.attempt(&name, shown.expose_secret());
                let is_new = guard.failed(&who, attempt, Instant::now());
                if let (Some(found), true) = (open, is_new && guard.locks_out()) {
                    self.0.chores.add(Chore::Failed {
                        account: found.row.account,
                        network: who.network,
                        attempt,
                    });
                }
                Err(Error::CredentialsWrong)
            }
        }
    }

    /// What a right password leaves to be done, which the login does not wait for.
    fn tidy(&self, found: &Found, password: SecretString, network: IpAddr) {
        if found.freshness != Freshness::Current {
            return;
        }
        let account = found.row.account;
        if found.row.failed_before {
            self.0.chores.add(Chore::Right { account, network });
        }
        if found.stored.needs_upgrade() {
            self.0.chores.add(Chore::Upgrade {
                account,
                old: found.stored.clone(),
                password,
            });
        }
    }

    async fn find(&self, name: AccountName, network: IpAddr) -> Result<Option<Found>, Error> {
        let subject: Subject = name.as_str().parse()?;
        let key = PasswordKey { name, network };
        let served = self.0.router.read_fresh::<PasswordByName>(key).await?;
        // While the primary is lost a name that a replica does not have is as wrong as any: another answer would tell
        // which names there are.
        let Some(row) = served.value else {
            return Ok(None);
        };
        let stored = match row.password_hash.as_str().parse() {
            Ok(stored) => stored,
            Err(cause) => {
                tracing::error!(account = %subject, %cause, "account {subject} cannot log in: {cause}");
                return Ok(None);
            }
        };
        Ok(Some(Found {
            row,
            stored,
            subject,
            freshness: served.by.into(),
        }))
    }
}
