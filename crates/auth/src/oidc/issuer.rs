//! An issuer of ID tokens: where its endpoints are and which keys it has, as far as they are known here.
//!
//! Both are read when they are first needed, again when the copy has become old, and when a token names a key that is
//! not known, but not more often than once in some seconds: a flood of invented names costs the issuer nothing. While
//! it is out of reach the old copy serves on, up to a day.

use super::fetch::{Ask, Fetch, Shown};
use super::id_token::{self, Audience, IdToken};
use super::keys::{self, IssuerKey};
use super::{Endpoints, HttpsUrl};
use crate::keyring::is_older;
use crate::{Clock, Error, IdTokenFault};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tokio::sync::MutexGuard;

/// No two looks at an issuer begin within this time. Issuers publish a key long before they sign with it.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(5);

/// A copy older than this is read again at its next use: a key taken back stops working within it.
const AGE_MAX: Duration = Duration::from_mins(15);

/// A copy older than this is not used any more: a day without its issuer is longer than an outage.
const STALE_MAX: Duration = Duration::from_hours(24);

/// An issuer; shared by all who check its tokens.
#[derive(Debug)]
pub struct Issuer {
    url: HttpsUrl,
    fetch: Arc<dyn Fetch>,
    clock: Arc<dyn Clock>,
    known: RwLock<Option<Arc<Known>>>,
    /// When the last look began. Held while one is under way, so that those who wait share its result.
    gate: tokio::sync::Mutex<Option<SystemTime>>,
}

#[derive(Debug)]
struct Known {
    endpoints: Endpoints,
    keys: Vec<IssuerKey>,
    loaded_at: SystemTime,
}

impl Issuer {
    /// Nothing is asked before something is needed.
    pub fn new(url: HttpsUrl, fetch: Arc<dyn Fetch>, clock: Arc<dyn Clock>) -> Self {
        Self {
            url,
            fetch,
            clock,
            known: RwLock::default(),
            gate: tokio::sync::Mutex::default(),
        }
    }

    /// Its name.
    pub fn url(&self) -> &HttpsUrl {
        &self.url
    }

    /// Verifies the compact form `text`.
    ///
    /// # Errors
    /// [`Error::IdToken`] if the token is no good; other errors say nothing about it.
    pub async fn verify(&self, text: &str, audience: Audience<'_>) -> Result<IdToken, Error> {
        let header = id_token::header(text)?;
        let find =
            |known: &Known| keys::find(&known.keys, header.kid.as_deref(), header.alg).cloned();
        let mut known = self.refreshed().await?;
        if find(&known).is_none() {
            known = self.lookup(|known| find(known).is_some()).await?;
        }
        let key = find(&known).ok_or(IdTokenFault::UnknownKey)?;
        let (issuer, now) = (self.url.as_str(), self.clock.now());
        Ok(IdToken::verify(
            text, header.alg, &key, issuer, audience, now,
        )?)
    }

    /// Where its endpoints are.
    pub(super) async fn endpoints(&self) -> Result<Endpoints, Error> {
        Ok(self.refreshed().await?.endpoints.clone())
    }

    /// Asks one of its endpoints.
    pub(super) async fn ask(&self, ask: Ask) -> Result<(u16, Vec<u8>), Error> {
        match self.fetch.fetch(ask).await {
            Ok(told) => Ok((told.status, told.body)),
            Err(_) => Err(self.unreachable()),
        }
    }

    pub(super) fn unreachable(&self) -> Error {
        Error::IssuerUnreachable(self.url.clone())
    }

    pub(super) fn broken(&self, what: &'static str) -> Error {
        Error::IssuerBroken {
            issuer: self.url.clone(),
            what,
        }
    }

    /// What is known, read again if it has become old.
    async fn refreshed(&self) -> Result<Arc<Known>, Error> {
        let now = self.clock.now();
        let fresh = |known: &Known| !is_older(Some(known.loaded_at), now, AGE_MAX);
        let Some(known) = self.current() else {
            return self.lookup(fresh).await;
        };
        if fresh(&known) {
            return Ok(known);
        }
        let Ok(gate) = self.gate.try_lock() else {
            return Ok(known);
        };
        match self.lookup_holding(gate, fresh).await {
            Err(Error::IssuerUnreachable(_) | Error::IssuerBroken { .. }) => {
                self.current().ok_or_else(|| self.unreachable())
            }
            other => other,
        }
    }

    /// Asks the issuer unless `satisfied` by what another caller has read meanwhile, or the last look is too recent.
    /// Dropping this future lets the next waiter go; an unfinished look counts as one.
    async fn lookup(&self, satisfied: impl Fn(&Known) -> bool) -> Result<Arc<Known>, Error> {
        let gate = self.gate.lock().await;
        self.lookup_holding(gate, satisfied).await
    }

    async fn lookup_holding(
        &self,
        mut last: MutexGuard<'_, Option<SystemTime>>,
        satisfied: impl Fn(&Known) -> bool,
    ) -> Result<Arc<Known>, Error> {
        let now = self.clock.now();
        let known = self.current();
        if let Some(known) = known.as_ref().filter(|known| satisfied(known)) {
            return Ok(Arc::clone(known));
        }
        if !is_older(*last, now, LOOKUP_INTERVAL) {
            return known.ok_or_else(|| self.unreachable());
        }
        *last = Some(now);
        let loaded = self.load(now).await;
        // Those who have waited for a slow answer shall not each wait for another.
        *last = Some(self.clock.now());
        let known = match (loaded, known) {
            (Ok(loaded), _) => Arc::new(loaded),
            (Err(cause), Some(known)) => {
                let issuer = &self.url;
                tracing::warn!(%issuer, %cause, "going on with old keys of `{issuer}`: {cause}");
                return Ok(known);
            }
            (Err(cause), None) => return Err(cause),
        };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&known));
        Ok(known)
    }

    /// What is known and not too old to be used at all.
    fn current(&self) -> Option<Arc<Known>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        known
            .as_ref()
            .filter(|known| !is_older(Some(known.loaded_at), now, STALE_MAX))
            .map(Arc::clone)
    }

    async fn load(&self, now: SystemTime) -> Result<Known, Error> {
        let document = self.get(self.url.discovery()).await?;
        let endpoints = Endpoints::read(&self.url, &document).map_err(|what| self.broken(what))?;
        let document = self.get(endpoints.keys.clone()).await?;
        let keys =
            IssuerKey::read(&document).ok_or_else(|| self.broken("its keys are no JWK set"))?;
        Ok(Known {
            endpoints,
            keys,
            loaded_at: now,
        })
    }

    async fn get(&self, url: HttpsUrl) -> Result<Vec<u8>, Error> {
        let ask = Ask {
            url,
            shown: Shown::Nothing,
            form: None,
        };
        match self.ask(ask).await? {
            (200, body) => Ok(body),
            _ => Err(self.broken("it does not answer with its configuration or keys")),
        }
    }
}

#[cfg(test)]
mod tests;
