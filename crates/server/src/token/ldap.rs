//! Passwords that a directory knows, and the accounts of those whose they are.

use super::account::Account;
use super::{Auth, Error};
use crate::ldap::Directory;
use portolan_auth::Method;
use portolan_registry::identity::{From, SignIn, SignUp};
use secrecy::SecretString;
use std::net::IpAddr;

/// Nobody comes to an account by this.
const NOBODY_NEW: SignUp = SignUp {
    open: false,
    link_by_email: false,
};

impl Auth {
    /// The account of whoever the directory says that this is, if the password is his and he may log in here.
    ///
    /// # Errors
    /// Where the directory does not say: nothing is known of the password then.
    pub(super) async fn check_by(
        &self,
        directory: &Directory,
        name: &str,
        password: &SecretString,
        client: IpAddr,
    ) -> Result<Option<Account>, Error> {
        let Some(member) = directory.check(name, password).await? else {
            return Ok(None);
        };
        let person = &member.person;
        let subject = &person.subject;
        let from = From {
            address: Some(client),
            request: None,
            method: Method::Ldap,
        };
        let identity = &self.0.identity;
        if !member.admitted {
            // What he has by his groups he loses all the same.
            identity
                .sign_in(person, NOBODY_NEW, &from)
                .await
                .map_err(Error::Registry)?;
            tracing::info!(
                subject,
                "refused `{subject}` of the directory: not in `ldap.required_group`"
            );
            return Ok(None);
        }
        let sign_in = identity.sign_in(person, directory.sign_up(), &from).await;
        match sign_in.map_err(Error::Registry)? {
            SignIn::As(person) => Ok(Some(Account {
                id: person.row.account,
                generation: person.row.generation,
                name: person.row.name.as_str().parse()?,
                method: Method::Ldap,
                credential: None,
                freshness: person.freshness,
            })),
            SignIn::Refused(refusal) => {
                tracing::info!(subject, "refused `{subject}` of the directory: {refusal}");
                Ok(None)
            }
        }
    }
}
