//! Names and passwords against the accounts in the database.

use super::{Auth, Error};
use portolan_auth::{Method, PasswordHash, Subject, TokenHolder};
use portolan_metadata::accounts::{AccountName, CredentialByName};
use portolan_metadata::{AccountId, Principal};
use portolan_registry::Freshness;
use secrecy::SecretString;

/// What somebody typed.
#[derive(Debug)]
pub(crate) struct Login {
    /// Not yet known to be anybody's name.
    pub(crate) name: String,
    /// Not yet known to be his.
    pub(crate) password: SecretString,
}

/// Whoever showed the right password.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    id: AccountId,
    generation: i64,
    name: Subject,
    freshness: Freshness,
}

impl Account {
    /// How current it is that this is the account's password.
    pub(super) const fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// As the resolving statements want it.
    pub(crate) fn principal(&self) -> Principal {
        Principal::Account {
            id: self.id,
            generation: self.generation,
            credential: None,
        }
    }

    /// As a token names it, and the audit log.
    pub(crate) fn holder(&self) -> TokenHolder {
        TokenHolder {
            account: self.id.get(),
            generation: self.generation,
            name: self.name.clone(),
            method: Method::Password,
            credential: None,
        }
    }
}

impl Auth {
    /// The account, if the password is right. A name that nobody has costs as much as a wrong password, and
    /// sounds the same.
    pub(crate) async fn check(&self, login: Login) -> Result<Account, Error> {
        let found = match login.name.parse() {
            Ok(name) => self.find(name).await?,
            Err(_) => None,
        };
        let (account, stored) = found.unzip();
        let right = self.0.passwords.verify(login.password, stored).await?;
        match account {
            Some(account) if right => Ok(account),
            _ => Err(Error::CredentialsWrong),
        }
    }

    async fn find(&self, name: AccountName) -> Result<Option<(Account, PasswordHash)>, Error> {
        let subject: Subject = name.as_str().parse()?;
        let served = self.0.router.read_fresh::<CredentialByName>(name).await?;
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
        let account = Account {
            id: row.account,
            generation: row.generation,
            name: subject,
            freshness: served.by.into(),
        };
        Ok(Some((account, stored)))
    }
}
