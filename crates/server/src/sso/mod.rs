//! Single sign-on and keyless logins: people who log in at a provider, machines that show an ID token.
//!
//! Which providers and issuers there are is the operator's to say ([`crate::config`]); how a token is verified is in
//! `auth`, and whose account somebody is in `registry`. Here are the way of a browser to the provider and back
//! ([`flow`]), its session ([`session`]), and the few pages that it sees.

mod cookie;
mod done;
mod error;
mod fetch;
mod flow;
mod page;
mod provider;
mod return_to;
mod session;

pub(crate) use provider::{GROUP_BYTES_MAX, GROUPS_MAX, Provider, Told, is_address};

use crate::config::Config;
use crate::wire::App;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::map_response;
use axum::routing::{get, post};
use fetch::HttpFetch;
use portolan_auth::oidc::{Fetch, HttpsUrl, Issuer, unverified_issuer};
use portolan_auth::{Clock, Error as AuthError, IdTokenFault, SealKey};
use portolan_registry::identity::Identity;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;

/// Most logins that wait for a provider at a time; each takes some ten milliseconds. Anybody can begin one.
const EXCHANGES: usize = 64;

/// A form here has a token of 64 characters and a title.
const FORM_BYTES_MAX: usize = 4 * 1024;

/// What this is made of.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    /// Which providers there are, and which issuers are trusted.
    pub(crate) config: &'a Config,
    /// Makes the accounts.
    pub(crate) identity: Identity,
    /// Seals what browsers carry.
    pub(crate) seal: Arc<SealKey>,
    /// The time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Where nonces and secrets come from.
    pub(crate) random: StdRng,
}

/// Everybody who may say who somebody is; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Sso(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    providers: BTreeMap<String, Provider>,
    keyless: Issuers,
    identity: Identity,
    seal: Arc<SealKey>,
    clock: Arc<dyn Clock>,
    exchanges: Semaphore,
    random: Mutex<StdRng>,
}

/// The issuers whose tokens stand for robots.
#[derive(Debug)]
pub(crate) struct Issuers(BTreeMap<HttpsUrl, Arc<Issuer>>);

impl Issuers {
    /// The configured ones. Nobody is asked before a token comes.
    pub(crate) fn new(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Self> {
        Ok(Self::over(
            config,
            &(Arc::new(HttpFetch::new()?) as _),
            clock,
        ))
    }

    fn over(config: &Config, fetch: &Arc<dyn Fetch>, clock: &Arc<dyn Clock>) -> Self {
        let issuer = |url: &HttpsUrl| {
            let issuer = Issuer::new(url.clone(), Arc::clone(fetch), Arc::clone(clock));
            (url.clone(), Arc::new(issuer))
        };
        Self(config.keyless.issuers.iter().map(issuer).collect())
    }

    /// Whether the operator trusts `issuer`.
    pub(crate) fn trusts(&self, issuer: &str) -> bool {
        self.0.keys().any(|url| url.as_str() == issuer)
    }

    /// The one that has made `token`, as that says. None but those that are trusted is ever asked whether it is true.
    ///
    /// # Errors
    /// [`IdTokenFault::UntrustedIssuer`]
    pub(crate) fn of_token(&self, token: &str) -> Result<&Issuer, AuthError> {
        let named = unverified_issuer(token).ok_or(IdTokenFault::Malformed)?;
        let mut all = self.0.values();
        let found = all.find(|issuer| issuer.url().as_str() == named);
        Ok(found.ok_or(IdTokenFault::UntrustedIssuer)?)
    }
}

impl Sso {
    /// As configured. Nobody is asked before somebody logs in.
    pub(crate) fn new(parts: Parts<'_>) -> anyhow::Result<Self> {
        let Parts {
            config,
            identity,
            seal,
            clock,
            random,
        } = parts;
        let fetch: Arc<dyn Fetch> = Arc::new(HttpFetch::new()?);
        let mut providers = BTreeMap::new();
        for (name, provider) in &config.oidc.0 {
            let provider = Provider::new(name, provider, &fetch, &clock)?;
            providers.insert(name.clone(), provider);
        }
        Ok(Self(Arc::new(Inner {
            providers,
            keyless: Issuers::over(config, &fetch, &clock),
            identity,
            seal,
            clock,
            exchanges: Semaphore::new(EXCHANGES),
            random: Mutex::new(random),
        })))
    }

    /// Whether anybody else may say who somebody is.
    pub(crate) fn is_configured(&self) -> bool {
        !self.0.providers.is_empty() || !self.0.keyless.0.is_empty()
    }

    /// The provider of that name.
    pub(crate) fn provider(&self, name: &str) -> Option<&Provider> {
        self.0.providers.get(name)
    }

    /// All of them.
    pub(crate) fn providers(&self) -> impl Iterator<Item = &Provider> {
        self.0.providers.values()
    }

    /// The issuers whose tokens stand for robots.
    pub(crate) fn keyless(&self) -> &Issuers {
        &self.0.keyless
    }

    /// Makes accounts, and finds them.
    pub(crate) fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// A source of randomness for one task, so that none waits for another's.
    fn random(&self) -> StdRng {
        StdRng::from_rng(&mut *self.0.random.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// `/auth`: what browsers ask.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/auth/oidc/{provider}/login", get(flow::login))
        .route("/auth/oidc/{provider}/callback", get(flow::callback))
        .route("/auth/done", get(done::show))
        .route("/auth/token", post(done::make_token))
        .route("/auth/sign-out", post(done::sign_out))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(CatchPanicLayer::new())
        // Outermost, so that refusals have it too.
        .layer(map_response(page::guard))
}
