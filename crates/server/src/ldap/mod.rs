//! Logins by a directory (LDAP): somebody is looked up by the name that he typed, and what he typed for a password is tried as
//! his.
//!
//! | file | what is in it |
//! |---|---|
//! | [`session`] | one connection: searches and binds, with what can go wrong in them |
//! | [`line`] | what it goes over: TLS, and how much a server may say |
//! | [`ask`] | what is asked, in which order, and what the answers mean |
//! | [`turns`] | one guess of a name after the other |
//! | [`breaker`] | a directory that does not answer is left alone for a while |
//! | [`filter`], [`dn`], [`entry`] | texts that come from people, and from the directory |
//!
//! It is asked over connections that live as long as a login: one that has been bound as somebody is nobody else's. Which
//! account somebody is, and what his groups give him, is in `registry`, as for single sign-on; who is asked first and what is
//! counted in [`crate::token`].

mod ask;
mod breaker;
mod dn;
mod entry;
mod filter;
mod line;
mod session;
mod tls;
mod turns;

pub(crate) use dn::Dn;
pub(crate) use filter::FilterTemplate;
pub(crate) use session::Trouble;
pub(crate) use turns::Turn;

use crate::config::{self, LinkBy};
use anyhow::Context as _;
use ask::{Answer, Ask};
use breaker::Breaker;
use moka::future::Cache;
use portolan_auth::{Clock, DigestKey, Error as AuthError, SealKey};
use portolan_registry::identity::{ExternalPerson, SignUp};
use secrecy::{ExposeSecret as _, SecretString};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use turns::Turns;

/// What the directory is called in rows: beside the groups that teams follow, and in the audit log.
pub(crate) const PROVIDER: &str = "ldap";

/// Logins that may wait for one of the connections: half a second's worth, as for passwords.
const WAITING_MAX: usize = 64;
/// Entries of some hundred bytes, with the groups of each: some MiB.
const REMEMBERED_MAX: u64 = 8 * 1024;
/// When to come again where the directory itself is well.
const AGAIN: Duration = Duration::from_secs(1);
/// What no directory has as a name, and no filter should carry.
const NAME_BYTES_MAX: usize = 256;
/// Longer ones are wrong here too without being looked at.
const PASSWORD_BYTES_MAX: usize = 1024;

/// Somebody whom the directory knows, and whose password is right.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// Who he is, and his groups.
    pub(crate) person: ExternalPerson,
    /// Whether he is in the group that may log in.
    pub(crate) admitted: bool,
}

/// Why nobody is logged in; small, because those who ask the same at once share it.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    Wrong,
    Overloaded,
    Unreachable(Duration),
}

/// A directory; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Directory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ask: Ask,
    breaker: Breaker,
    bounds: config::LdapBounds,
    running: Semaphore,
    /// A permit for everybody who asks or waits.
    admitted: Semaphore,
    digests: DigestKey,
    remembered: Option<Cache<[u8; 32], Arc<Member>>>,
    turns: Turns,
    sign_up: SignUp,
}

impl Directory {
    /// As configured, or `None` where none is. Nobody is asked before somebody logs in.
    pub(crate) fn new(
        config: &config::Ldap,
        seal: &SealKey,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Option<Self>> {
        if !config.is_configured() {
            return Ok(None);
        }
        let bounds = config.bounds.clone();
        let patience = bounds.login;
        let connections =
            usize::try_from(bounds.connections).context("`ldap.bounds.connections`")?;
        let remembered = (!bounds.remember.is_zero()).then(|| {
            Cache::builder()
                .max_capacity(REMEMBERED_MAX)
                .time_to_live(bounds.remember)
                .build()
        });
        Ok(Some(Self(Arc::new(Inner {
            ask: Ask::new(config, clock)?,
            breaker: Breaker::new(bounds.login),
            bounds,
            running: Semaphore::new(connections),
            admitted: Semaphore::new(connections + WAITING_MAX),
            digests: seal.digest_key("password of a directory"),
            remembered,
            turns: Turns::new(patience),
            sign_up: SignUp {
                open: config.sign_up,
                link_by_email: config.link_by == LinkBy::Email,
            },
        }))))
    }

    /// What becomes of those whom nobody knows yet.
    pub(crate) fn sign_up(&self) -> SignUp {
        self.0.sign_up
    }

    /// Waits until no other password is asked about that may be this name's, as it is counted. `None`: this one is known
    /// to be right, and needs nobody's leave.
    ///
    /// # Errors
    /// [`AuthError::Overloaded`]: too many came before.
    pub(crate) async fn turn(
        &self,
        counted: &str,
        typed: &str,
        password: &SecretString,
    ) -> Result<Option<Turn<'_>>, AuthError> {
        let key = self.key(typed, password.expose_secret());
        let remembered = self.0.remembered.as_ref();
        if remembered.is_some_and(|remembered| remembered.contains_key(&key)) {
            return Ok(None);
        }
        let turn = self.0.turns.take(counted).await;
        turn.map(Some).ok_or(AuthError::Overloaded)
    }

    fn key(&self, name: &str, password: &str) -> [u8; 32] {
        self.0
            .digests
            .digest(&[name.as_bytes(), password.as_bytes()])
    }

    /// Who `name` is there, if `password` is his; `None`: it is not, or there is nobody of that name.
    ///
    /// # Errors
    /// [`AuthError::DirectoryUnreachable`], [`AuthError::Overloaded`]: nobody knows.
    pub(crate) async fn check(
        &self,
        name: &str,
        password: &SecretString,
    ) -> Result<Option<Arc<Member>>, AuthError> {
        let text = password.expose_secret();
        // A bind with an empty password is one as nobody, and is let in (RFC 4513 section 5.1.2).
        if text.is_empty() || text.len() > PASSWORD_BYTES_MAX || !is_askable(name) {
            self.pretend(name).await;
            return Ok(None);
        }
        let asking = async { self.asked(name, text).await.map(Arc::new) };
        let outcome = match &self.0.remembered {
            None => asking.await,
            Some(remembered) => {
                // Only what is right stays; equal ones under way are shared, whatever comes out.
                remembered
                    .try_get_with(self.key(name, text), asking)
                    .await
                    .map_err(|shared| *shared)
            }
        };
        match outcome {
            Ok(member) => Ok(Some(member)),
            Err(Refusal::Wrong) => Ok(None),
            Err(Refusal::Overloaded) => Err(AuthError::Overloaded),
            Err(Refusal::Unreachable(retry_after)) => {
                Err(AuthError::DirectoryUnreachable { retry_after })
            }
        }
    }

    /// Takes as long as [`Self::check`] of a name that the directory does not have, for a name that it is not asked about.
    pub(crate) async fn pretend(&self, name: &str) {
        let name = if is_askable(name) { name } else { "nobody" };
        let asking = Box::pin(self.0.ask.look_for_nobody(name));
        let _ = self.within_bounds(asking).await;
    }

    async fn asked(&self, name: &str, password: &str) -> Result<Member, Refusal> {
        // Large, and what asks for it is on the way of every request.
        let asking = Box::pin(self.0.ask.log_in(name, password));
        match self.within_bounds(asking).await? {
            Answer::Right(member) => Ok(member),
            Answer::Wrong => Err(Refusal::Wrong),
        }
    }

    /// Asks, if the directory is not being left alone, when there is room for it, and not for longer than may be.
    async fn within_bounds<T>(
        &self,
        asking: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Refusal> {
        let inner = &*self.0;
        let came = Instant::now();
        if let Some(rest) = inner.breaker.rest(came) {
            return Err(Refusal::Unreachable(rest));
        }
        let Ok(_admitted) = inner.admitted.try_acquire() else {
            return Err(Refusal::Overloaded);
        };
        let Ok(running) = timeout(inner.bounds.login, inner.running.acquire()).await else {
            return Err(Refusal::Unreachable(AGAIN));
        };
        let _running = running.map_err(|_| Refusal::Overloaded)?;
        let began = Instant::now();
        let attempt = inner.breaker.enter(began).map_err(Refusal::Unreachable)?;
        let answer = timeout(inner.bounds.login, asking).await;
        let trouble = match answer {
            Ok(Ok(answer)) => {
                attempt.succeeded();
                return Ok(answer);
            }
            Ok(Err(trouble)) => trouble,
            Err(_) => {
                inner.ask.prefer_another();
                Trouble::Silent
            }
        };
        if !trouble.is_everybodys() {
            attempt.succeeded();
            tracing::warn!(cause = %trouble, "the directory does not say who somebody is: {trouble}");
            return Err(Refusal::Unreachable(AGAIN));
        }
        let rest = attempt.failed(Instant::now());
        tracing::warn!(
            cause = %trouble,
            "the directory cannot be asked, and is left alone for {} s: {trouble}",
            rest.as_secs()
        );
        Err(Refusal::Unreachable(rest))
    }

    /// What each server says to who looks people up; for the doctor.
    pub(crate) async fn examine(&self) -> Vec<(String, Result<(), Trouble>)> {
        let mut found = Vec::new();
        for server in self.0.ask.servers() {
            let looked = timeout(self.0.bounds.login, self.0.ask.examine(server));
            let looked = looked.await.unwrap_or(Err(Trouble::Silent));
            found.push((server.url().to_owned(), looked));
        }
        found
    }
}

/// Whether the directory is asked for a name. Directories compare without regard to capital letters, to blanks around, and to much that can
/// be written with more than ASCII; whoever guesses passwords could go through all spellings of one name. Of those that
/// are asked for, all but capital letters tell names apart, and these nobody counts.
fn is_askable(name: &str) -> bool {
    let plain = |byte: u8| (b' '..=b'~').contains(&byte);
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(plain)
        && name.trim_matches(' ') == name
        && !name.contains("  ")
}

#[cfg(test)]
mod tests {
    use super::is_askable;

    #[test]
    fn a_name_is_asked_for_in_one_spelling() {
        for name in [
            "alice",
            "Alice",
            "alice@example.com",
            "CORP\\alice",
            "Alice Doe",
            "*)(uid=*",
        ] {
            assert!(is_askable(name), "{name}");
        }
        let long = "x".repeat(257);
        for name in [
            "",
            " alice",
            "alice ",
            "alice  doe",
            "al\u{ad}ice",
            "al\u{ef}ce",
            "alice\0",
            "a\tb",
            &long,
        ] {
            assert!(!is_askable(name), "{name:?}");
        }
    }
}
