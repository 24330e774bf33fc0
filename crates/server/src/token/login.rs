//! What was shown at a login, told by its form before anything is looked up.
//!
//! | name | what may stand in the place of the password |
//! |---|---|
//! | a user's | his password, or an application token of his own |
//! | `$app`, `$oauthtoken`, `$token` | an application token, whoever's it is |
//! | anybody's | an ID token, by the rules of [`super::id_token`] |
//! | a robot's | its secret, whatever form it has: those of other registries have no prefix |
//!
//! The form decides what is done and what it costs: a password is hashed with argon2, also where nobody has the name; a secret
//! never is.

use super::account::Account;
use super::metrics::Kind;
use super::{Auth, Error};
use portolan_auth::{SecretKind, hash_secret};
use portolan_metadata::accounts::AccountName;
use portolan_metadata::credentials::SecretHash;
use secrecy::{ExposeSecret as _, SecretString};
use std::fmt;
use std::net::IpAddr;

/// What somebody typed.
#[derive(Debug)]
pub(crate) struct Login {
    /// Not yet known to be anybody's name.
    pub(crate) name: String,
    /// Not yet known to be his.
    pub(crate) password: SecretString,
}

/// Who somebody says he is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Claimed {
    /// Whoever has the application token.
    Bearer,
    /// A user or a robot, if there is one of that name.
    Account(AccountName),
    /// Nobody: no account can have this name.
    Nobody,
}

impl Claimed {
    /// Names that stand for whoever has the token, as other registries have them.
    const BEARER_NAMES: [&str; 3] = ["$app", "$oauthtoken", "$token"];

    pub(super) fn of(name: &str) -> Self {
        if Self::BEARER_NAMES.contains(&name) {
            return Self::Bearer;
        }
        name.parse().map_or(Self::Nobody, Self::Account)
    }

    fn is_robot(&self) -> bool {
        matches!(self, Self::Account(name) if name.is_robot())
    }
}

/// For the log, which shall hold nothing that somebody makes up: a name that no account can have is not repeated.
impl fmt::Display for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer => f.write_str("the bearer of a token"),
            Self::Account(name) => write!(f, "`{name}`"),
            Self::Nobody => f.write_str("nobody"),
        }
    }
}

/// What was shown in the place of a password.
#[derive(Debug)]
pub(super) enum Shown {
    /// A robot's secret or an application token, or what is meant to be one.
    Secret(SecretHash),
    /// What looks like an ID token of a provider.
    IdToken(SecretString),
    /// Anything else.
    Password(SecretString),
}

impl Shown {
    fn of(claimed: &Claimed, text: SecretString) -> Self {
        if is_jwt(text.expose_secret()) {
            return Self::IdToken(text);
        }
        let is_secret =
            claimed.is_robot() || *claimed == Claimed::Bearer || SecretKind::of(&text).is_some();
        if is_secret {
            return Self::Secret(SecretHash::new(hash_secret(&text)));
        }
        Self::Password(text)
    }
}

/// Three parts in the alphabet of base64url, of which the first begins as `{"` does in it (RFC 7515 section 3.1).
fn is_jwt(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text.starts_with("eyJ")
        && text.split('.').count() == 3
        && text
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(plain))
}

impl Auth {
    /// The account, if what was shown is right for it. `client` is the address that the login came from.
    ///
    /// # Errors
    /// [`Error::CredentialsWrong`], which never says whether there is such a name; [`Error::TooManyFailures`].
    pub(crate) async fn check(&self, login: Login, client: IpAddr) -> Result<Account, Error> {
        let claimed = Claimed::of(&self.spelled(&login.name));
        let who = claimed.to_string();
        let shown = Shown::of(&claimed, login.password);
        let kind = Kind::from(&shown);
        let outcome = self.check_shown(claimed, login.name, shown, client).await;
        self.0.metrics.count(kind, &outcome);
        match &outcome {
            Err(Error::CredentialsWrong) => {
                tracing::info!(account = who, %client, "refused a login of {who} from {client}");
            }
            Err(Error::TooManyFailures { .. }) => {
                tracing::info!(account = who, %client, "too many wrong logins of {who} from {client}");
            }
            _ => {}
        }
        outcome
    }

    async fn check_shown(
        &self,
        claimed: Claimed,
        name: String,
        shown: Shown,
        client: IpAddr,
    ) -> Result<Account, Error> {
        match shown {
            Shown::Secret(hash) => self.check_secret(&claimed, hash, client).await,
            Shown::IdToken(token) if self.0.sso.is_configured() => {
                self.check_id_token(&name, &claimed, &token, client).await
            }
            // Whose it is would be somebody else's to say, and nobody is configured: it is a secret like any other, and nobody's.
            Shown::IdToken(token) => {
                let hash = SecretHash::new(hash_secret(&token));
                self.check_secret(&claimed, hash, client).await
            }
            Shown::Password(password) => self.check_password(name, claimed, password, client).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Claimed, Shown};
    use portolan_auth::{Secret, SecretKind};
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use secrecy::{ExposeSecret as _, SecretString};

    const ID_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln";

    fn form(name: &str, text: &str) -> &'static str {
        match Shown::of(&Claimed::of(name), SecretString::from(text)) {
            Shown::Secret(_) => "secret",
            Shown::IdToken(_) => "id token",
            Shown::Password(_) => "password",
        }
    }

    #[test]
    fn what_is_shown_is_told_by_name_and_form() {
        let token = Secret::new(SecretKind::Application, &mut StdRng::seed_from_u64(1));
        let token = token.text().expose_secret();
        let imported = "A".repeat(64);
        for (name, text, expected) in [
            ("alice", "correct horse", "password"),
            ("alice", token, "secret"),
            ("alice", &imported, "password"),
            ("alice", ID_TOKEN, "id token"),
            ("No Body!", "correct horse", "password"),
            ("acme+ci", &imported, "secret"),
            ("acme+ci", "", "secret"),
            ("acme+ci", ID_TOKEN, "id token"),
            ("$app", token, "secret"),
            ("$oauthtoken", "anything", "secret"),
            ("$token", ID_TOKEN, "id token"),
            ("$other", "anything", "password"),
            ("alice", "eyJ.only.two words", "password"),
            ("alice", "eyJ..", "password"),
        ] {
            assert_eq!(form(name, text), expected, "{name} {text}");
        }
    }

    proptest! {
        #[test]
        fn anything_has_a_form(name in "\\PC{0,20}", text in "\\PC{0,80}") {
            form(&name, &text);
        }
    }
}
