//! Passwords of users: those that are kept here, and those that a directory knows.
//!
//! An account that has a password here is asked for that one alone. So who looks after this registry gets in whatever becomes of
//! the directory, waits for nobody, and what he types goes nowhere else. Every other name is the directory's to judge, if there
//! is one.
//!
//! A name that nobody has is treated as one that somebody has, in what it costs, in what it hears, and in what it hears after
//! too many tries. So what *other* processes counted, which is known of accounts alone, is never told: while they have shut a
//! network out, every password from there is wrong. Where a directory is asked, it is asked something for every name.

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
    /// `None`: it has no password here.
    stored: Option<PasswordHash>,
    subject: Subject,
    freshness: Freshness,
}

impl Auth {
    /// A name as it is looked up and counted here: where there is a directory, which makes no difference between capital
    /// letters and others, nor is one made here.
    pub(super) fn spelled(&self, typed: &str) -> String {
        match &self.0.directory {
            Some(_) => typed.to_ascii_lowercase(),
            None => typed.to_owned(),
        }
    }

    /// The account, if the password is right and may be tried from there at present.
    pub(super) async fn check_password(
        &self,
        typed: String,
        claimed: Claimed,
        password: SecretString,
        client: IpAddr,
    ) -> Result<Account, Error> {
        let guard = &self.0.guard;
        let name = self.spelled(&typed);
        let who = guard.who(&name, client);
        if let Some(retry_after) = guard.wait(&who, Instant::now()) {
            return Err(Error::TooManyFailures { retry_after });
        }
        let found = match claimed {
            Claimed::Account(name) => self.find(name, who.network).await?,
            Claimed::Bearer | Claimed::Nobody => None,
        };
        let is_locked = |found: &Found| found.row.locked_for.is_some() && guard.locks_out();
        let is_elsewheres = found
            .as_ref()
            .is_none_or(|found| found.stored.is_none() && !is_locked(found));
        let open = found.filter(|found| !is_locked(found));
        let mut _turn = None;
        let account = match &self.0.directory {
            Some(directory) if is_elsewheres => {
                // Until it is counted: those that wait see it.
                _turn = directory.turn(&name, &typed, &password).await?;
                if let Some(retry_after) = guard.wait(&who, Instant::now()) {
                    return Err(Error::TooManyFailures { retry_after });
                }
                let account = self.check_by(directory, &typed, &password, client).await?;
                if account.is_none() {
                    // As long as for a name that has a password here.
                    self.0.passwords.verify(password.clone(), None).await?;
                }
                account
            }
            directory => {
                let account = self.check_here(open.as_ref(), &password).await?;
                if let (None, Some(directory)) = (&account, directory) {
                    // As long as for a name that is the directory's.
                    directory.pretend(&typed).await;
                }
                account
            }
        };
        let Some(account) = account else {
            let attempt = guard.attempt(&name, password.expose_secret());
            let is_new = guard.failed(&who, attempt, Instant::now());
            if let (Some(found), true) = (open, is_new && guard.locks_out()) {
                self.0.chores.add(Chore::Failed {
                    account: found.row.account,
                    network: who.network,
                    attempt,
                });
            }
            return Err(Error::CredentialsWrong);
        };
        guard.succeeded(&who);
        if let Some(found) = open {
            self.tidy(found, password, who.network);
        }
        Ok(account)
    }

    /// The account, if the password is the one that is kept here.
    async fn check_here(
        &self,
        found: Option<&Found>,
        password: &SecretString,
    ) -> Result<Option<Account>, Error> {
        let stored = found.and_then(|found| found.stored.clone());
        let right = self.0.passwords.verify(password.clone(), stored).await?;
        Ok(found.filter(|_| right).map(|found| Account {
            id: found.row.account,
            generation: found.row.generation,
            name: found.subject.clone(),
            method: Method::Password,
            credential: None,
            freshness: found.freshness,
        }))
    }

    /// What a right password leaves to be done, which the login does not wait for.
    fn tidy(&self, found: Found, password: SecretString, network: IpAddr) {
        if found.freshness != Freshness::Current {
            return;
        }
        let account = found.row.account;
        if found.row.failed_before {
            self.0.chores.add(Chore::Right { account, network });
        }
        if let Some(old) = found.stored.filter(PasswordHash::needs_upgrade) {
            self.0.chores.add(Chore::Upgrade {
                account,
                old,
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
        let stored = match row.password_hash.as_ref().map(|hash| hash.as_str().parse()) {
            // Nobody else could tell whether a password is his.
            None if self.0.directory.is_none() => return Ok(None),
            None => None,
            Some(Ok(stored)) => Some(stored),
            Some(Err(cause)) => {
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
