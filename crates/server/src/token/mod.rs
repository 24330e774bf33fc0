//! The token service: who somebody is, in exchange for a password or a secret, as a short-lived token.
//!
//! `/v2/auth` speaks both dialects that clients have: the distribution project's GET
//! (<https://distribution.github.io/distribution/spec/auth/token/>) and OAuth's POST
//! (<https://distribution.github.io/distribution/spec/auth/oauth/>). Asking for more than one may have is
//! never an error; the token carries the intersection, decided by the same function that will decide
//! again when the token is used.

mod account;
mod answer;
mod authorization;
mod chores;
mod endpoint;
mod error;
mod form;
mod guard;
mod id_token;
mod keys;
mod ldap;
mod login;
mod metrics;
mod password;
mod published;
mod rights;
mod secret;

pub(crate) use authorization::Authorization;
pub(crate) use endpoint::routes;
pub(crate) use error::{Error, StartError};
pub(crate) use metrics::Metrics;
pub(crate) use published::routes as published;

use crate::config;
use crate::layer::challenge::Challenger;
use crate::ldap::Directory;
use crate::sso::Sso;
use chores::Chores;
use guard::Guard;
use keys::DatabaseKeys;
use portolan_auth::{
    Clock, Keyring, PasswordHash, PasswordLimits, Passwords, SealKey, Token, TokenSigner,
    TokenVerifier,
};
use portolan_pg::Router;
use portolan_registry::identity::Identity;
use portolan_registry::pulls::Pulls;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use secrecy::SecretString;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What the token service is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The way to Postgres.
    pub(crate) router: Router,
    /// Opens the signing keys.
    pub(crate) seal: Arc<SealKey>,
    /// The name that tokens are made for; lower case, the same in every process.
    pub(crate) service: Arc<str>,
    /// How long a token lives; not below a minute, since clients round up to that.
    pub(crate) lifetime: Duration,
    /// How old an answer about what is not public may be while the primary is lost.
    pub(crate) max_stale: Duration,
    /// How often a password may be wrong.
    pub(crate) login: config::Login,
    /// How many processes share what is bounded for all of them.
    pub(crate) processes: NonZeroU32,
    /// Who else may say who somebody is.
    pub(crate) sso: Sso,
    /// Who knows whose passwords those are that nobody here has.
    pub(crate) directory: Option<Directory>,
    /// Where it is noted when a secret was used.
    pub(crate) pulls: Pulls,
    /// Counts logins.
    pub(crate) metrics: Metrics,
    /// The time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Where salts, nonces and token ids come from.
    pub(crate) random: StdRng,
}

/// Checks passwords, makes tokens and verifies them; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Auth(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    router: Router,
    identity: Identity,
    sso: Sso,
    directory: Option<Directory>,
    pulls: Pulls,
    metrics: Metrics,
    max_stale: Duration,
    guard: Guard,
    chores: Chores,
    passwords: Passwords,
    keyring: Arc<Keyring>,
    signer: TokenSigner,
    verifier: TokenVerifier,
    challenger: Challenger,
    random: Mutex<StdRng>,
}

impl Auth {
    /// Starts the service: reads the signing keys, and makes the first one in a new installation.
    ///
    /// While the database is out of reach it starts all the same, and reads the keys when it needs them.
    ///
    /// # Errors
    /// Keys that this installation's `SECRETS__KEY` does not open: every login would fail.
    pub(crate) async fn start(parts: Parts) -> Result<Self, StartError> {
        let Parts {
            router,
            seal,
            service,
            lifetime,
            max_stale,
            login,
            processes,
            sso,
            directory,
            pulls,
            metrics,
            clock,
            mut random,
        } = parts;
        let passwords = Passwords::new(PasswordLimits::default(), &mut random)?;
        let guard = Guard::new(&login, processes, &seal);
        let source = DatabaseKeys::new(
            router.clone(),
            Arc::clone(&seal),
            StdRng::from_rng(&mut random),
        );
        let keyring = Arc::new(Keyring::new(seal, Box::new(source), Arc::clone(&clock)));
        match keyring.active().await {
            Ok(key) => tracing::debug!(kid = %key.id(), "signing tokens with key {}", key.id()),
            Err(cause @ portolan_auth::Error::KeysUnavailable(_)) => {
                tracing::warn!(%cause, "starting without signing keys: {cause}");
            }
            Err(cause) => return Err(cause.into()),
        }
        Ok(Self(Arc::new(Inner {
            identity: Identity::new(router.clone()),
            router,
            sso,
            directory,
            pulls,
            metrics,
            max_stale,
            guard,
            chores: Chores::new(),
            passwords,
            keyring: Arc::clone(&keyring),
            signer: TokenSigner::new(
                Arc::clone(&keyring),
                Arc::clone(&clock),
                Arc::clone(&service),
                lifetime,
            ),
            verifier: TokenVerifier::new(keyring, clock, Arc::clone(&service)),
            challenger: Challenger::new(service),
            random: Mutex::new(random),
        })))
    }

    /// Writes the challenges of 401s.
    pub(crate) fn challenger(&self) -> &Challenger {
        &self.0.challenger
    }

    /// Verifies a bearer token.
    pub(crate) async fn verify(&self, text: &str) -> Result<Arc<Token>, Error> {
        Ok(self.0.verifier.verify(text).await?)
    }

    /// The stored form of a new password.
    pub(crate) async fn hash(
        &self,
        password: SecretString,
    ) -> Result<PasswordHash, portolan_auth::Error> {
        let passwords = &self.0.passwords;
        passwords.hash(password, &mut self.random()).await
    }

    /// The way to change who there is.
    pub(crate) fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// How long an address has to wait before it may ask for another account or mail; `None`: it need not, and has asked.
    pub(crate) fn asked_too_often(&self, client: IpAddr) -> Option<Duration> {
        self.0.guard.asked(client, Instant::now())
    }

    /// Somebody has shown in another way that he has the account of this name: the wrong passwords before do not shut him out.
    pub(crate) fn is_known(&self, name: &str, client: IpAddr) {
        let guard = &self.0.guard;
        guard.succeeded(&guard.who(name, client));
    }

    /// A source of randomness for one task, so that none waits for another's.
    fn random(&self) -> StdRng {
        StdRng::from_rng(&mut *self.0.random.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
