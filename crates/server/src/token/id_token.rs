//! ID tokens in the place of passwords: a person's, of a provider of single sign-on, and a machine's, by a robot's rules.
//!
//! | name | whose token it may be |
//! |---|---|
//! | a robot's | a trusted issuer's that one of the robot's rules admits |
//! | `$oidc` | a person's, of any provider |
//! | a provider's | a person's of that provider |
//! | a user's | that user's own |

use super::account::Account;
use super::login::Claimed;
use super::{Auth, Error};
use crate::sso::{Provider, Told};
use portolan_auth::oidc::{Audience, IdToken, unverified_issuer};
use portolan_auth::{Error as AuthError, IdTokenFault, Method};
use portolan_metadata::accounts::AccountName;
use portolan_registry::identity::{From, SignIn, SignInRefusal};
use secrecy::{ExposeSecret as _, SecretString};
use std::net::IpAddr;

/// Whoever has a token and does not know his name here.
const ANYBODY: &str = "$oidc";

/// Why a token is of no use; for the log, never for a client.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    /// It is no good.
    #[error(transparent)]
    Token(AuthError),
    /// Its holder is nobody here.
    #[error(transparent)]
    Person(#[from] SignInRefusal),
    /// It is somebody else's.
    #[error("it is of account `{0}`")]
    Other(AccountName),
    /// No such robot, or one that may not log in.
    #[error("there is no such robot, or it is disabled or has expired")]
    NoRobot,
    /// No rule admits it.
    #[error("none of the robot's {0} rules admits it")]
    NoRule(usize),
    /// Whether it is good cannot be told.
    #[error(transparent)]
    Failed(Error),
}

impl core::convert::From<AuthError> for Unfit {
    fn from(cause: AuthError) -> Self {
        match cause {
            AuthError::IdToken(_) => Self::Token(cause),
            other => Self::Failed(Error::Auth(other)),
        }
    }
}

impl core::convert::From<portolan_registry::Error> for Unfit {
    fn from(cause: portolan_registry::Error) -> Self {
        Self::Failed(Error::Registry(cause))
    }
}

impl Auth {
    /// The account that may show this token under this name.
    ///
    /// # Errors
    /// [`Error::CredentialsWrong`], whatever is wrong; the log says what.
    pub(super) async fn check_id_token(
        &self,
        name: &str,
        claimed: &Claimed,
        token: &SecretString,
        client: IpAddr,
    ) -> Result<Account, Error> {
        let text = token.expose_secret();
        let outcome = match claimed {
            Claimed::Account(robot) if robot.is_robot() => self.robot_by(robot, text).await,
            Claimed::Account(_) | Claimed::Bearer | Claimed::Nobody => {
                self.person_by(name, claimed, text, client).await
            }
        };
        match outcome {
            Ok(account) => Ok(account),
            Err(Unfit::Failed(cause)) => Err(cause),
            Err(cause) => {
                // A name may be anything here, a secret typed into the wrong field included.
                tracing::info!(%client, %cause, "refused an ID token from {client}: {cause}");
                Err(self.refuse(client))
            }
        }
    }

    async fn robot_by(&self, name: &AccountName, text: &str) -> Result<Account, Unfit> {
        let sso = &self.0.sso;
        let issuer = sso.keyless().of_token(text)?;
        let token = issuer.verify(text, Audience::OfRules).await?;
        let robot = sso.identity().federated_robot(name).await?;
        let robot = robot.filter(|robot| robot.active).ok_or(Unfit::NoRobot)?;
        let admitted = robot
            .rules
            .iter()
            .any(|(_, rule)| rule.judge(&token).is_ok());
        if !admitted {
            return Err(Unfit::NoRule(robot.rules.len()));
        }
        Ok(Account {
            id: robot.account,
            generation: robot.generation,
            name: name.as_str().parse()?,
            method: Method::Keyless,
            credential: None,
            freshness: robot.freshness,
        })
    }

    async fn person_by(
        &self,
        name: &str,
        claimed: &Claimed,
        text: &str,
        client: IpAddr,
    ) -> Result<Account, Unfit> {
        let sso = &self.0.sso;
        let (candidates, account): (Vec<&Provider>, _) = match (sso.provider(name), claimed) {
            (Some(provider), _) => (vec![provider], None),
            (None, Claimed::Account(account)) => (sso.providers().collect(), Some(account)),
            (None, _) if name == ANYBODY => (sso.providers().collect(), None),
            (None, _) => return Err(AuthError::from(IdTokenFault::UntrustedIssuer).into()),
        };
        let (provider, token) = verified(&candidates, text).await?;
        let person = provider.person(&token, Told::Some);
        let from = From {
            address: Some(client),
            request: None,
            method: Method::Oidc,
        };
        let sign_in = sso.identity().sign_in(&person, provider.sign_up, &from);
        let person = match sign_in.await? {
            SignIn::As(person) => person,
            SignIn::Refused(refusal) => return Err(refusal.into()),
        };
        if let Some(other) = account.filter(|account| **account != person.row.name) {
            return Err(Unfit::Other(other.clone()));
        }
        Ok(Account {
            id: person.row.account,
            generation: person.row.generation,
            name: person.row.name.as_str().parse()?,
            method: Method::Oidc,
            credential: None,
            freshness: person.freshness,
        })
    }
}

/// The token, and the provider that it is of. Several may have one issuer, with a client for each.
async fn verified<'a>(
    candidates: &[&'a Provider],
    text: &str,
) -> Result<(&'a Provider, IdToken), AuthError> {
    let named = unverified_issuer(text).ok_or(IdTokenFault::Malformed)?;
    let mut fault = AuthError::from(IdTokenFault::UntrustedIssuer);
    for provider in candidates {
        if provider.issuer.url().as_str() != named {
            continue;
        }
        let clients = Audience::Clients(&provider.audiences);
        match provider.issuer.verify(text, clients).await {
            Ok(token) => return Ok((provider, token)),
            Err(cause) => fault = cause,
        }
    }
    Err(fault)
}
