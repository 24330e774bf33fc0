//! Checking passwords without letting them exhaust the process.
//!
//! A check costs about 20 ms and 19 MiB on purpose, so few run at a time, few wait, and the rest hear
//! "later" at once. A name that nobody has costs the same as a wrong password. A password that was right is
//! remembered, by a keyed digest, together with the stored hash it was right for: scripts that send Basic
//! with every request pay once, a fleet that logs in at once with one password waits for one hash, and a
//! changed password is wrong at once, because its hash is another.

use crate::{Error, PasswordHash};
use aws_lc_rs::hmac;
use moka::future::Cache;
use rand::CryptoRng;
use secrecy::{ExposeSecret as _, SecretString};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A longer password is wrong without being hashed in full; hashing cost does not depend on it.
const PASSWORD_BYTES_MAX: usize = 1024;

/// Entries of 32 bytes and bookkeeping, about 1 MiB in all.
const REMEMBERED_MAX: u64 = 8 * 1024;

/// As long as a token lives: whoever logs in again within this time need not pay again.
const REMEMBERED_FOR: Duration = Duration::from_mins(5);

/// How much password checking a process does.
#[derive(Debug, Clone, Copy)]
pub struct PasswordLimits {
    /// Checks at the same time; each takes a core and 19 MiB.
    pub parallel: NonZeroUsize,
    /// Checks that may wait for one of those; the next one hears [`Error::Overloaded`].
    pub waiting: usize,
}

impl Default for PasswordLimits {
    /// Two at a time keep memory under 40 MiB; 64 waiters are served in less than a second.
    fn default() -> Self {
        Self {
            parallel: NonZeroUsize::new(2).expect("two is not zero"),
            waiting: 64,
        }
    }
}

/// Why a password is not remembered; small, because those who share a check share this.
#[derive(Debug, Clone, Copy)]
enum NotRight {
    Wrong,
    Overloaded,
    Cancelled,
}

/// Hashes and checks passwords.
#[derive(Debug)]
pub struct Passwords {
    running: Arc<Semaphore>,
    /// A permit for everybody who runs or waits.
    admitted: Arc<Semaphore>,
    /// What an unknown name is checked against.
    decoy: PasswordHash,
    digest_key: hmac::Key,
    remembered: Cache<[u8; 32], ()>,
}

impl Passwords {
    /// Computes one hash (about 20 ms), which is the decoy for unknown names.
    pub fn new(limits: PasswordLimits, rng: &mut impl CryptoRng) -> Result<Self, Error> {
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        let nobody = SecretString::from(hex::encode(PasswordHash::salt(rng)));
        Ok(Self {
            running: Arc::new(Semaphore::new(limits.parallel.get())),
            admitted: Arc::new(Semaphore::new(limits.parallel.get() + limits.waiting)),
            decoy: PasswordHash::compute(&nobody, PasswordHash::salt(rng))?,
            digest_key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            remembered: Cache::builder()
                .max_capacity(REMEMBERED_MAX)
                .time_to_live(REMEMBERED_FOR)
                .build(),
        })
    }

    /// The stored form of a new password.
    pub async fn hash(
        &self,
        password: SecretString,
        rng: &mut impl CryptoRng,
    ) -> Result<PasswordHash, Error> {
        let salt = PasswordHash::salt(rng);
        self.run(move || PasswordHash::compute(&password, salt))
            .await?
    }

    /// Whether `password` is right for `stored`; `None` is a name that nobody has, and never right.
    ///
    /// Dropping the future lets a check that has begun finish, within the same bound, for nobody.
    pub async fn verify(
        &self,
        password: SecretString,
        stored: Option<PasswordHash>,
    ) -> Result<bool, Error> {
        let exists = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.decoy.clone());
        let memory = self.digest(&password, &stored);
        let plausible = password.expose_secret().len() <= PASSWORD_BYTES_MAX;
        let checked = if plausible {
            password
        } else {
            SecretString::from("")
        };
        let check = async {
            let right = self.run(move || stored.matches(&checked)).await;
            match right {
                Ok(true) if plausible && exists => Ok(()),
                Ok(_) => Err(NotRight::Wrong),
                Err(Error::Overloaded) => Err(NotRight::Overloaded),
                Err(_) => Err(NotRight::Cancelled),
            }
        };
        // Only what is right stays; equal checks under way are shared, whatever comes out.
        match self
            .remembered
            .try_get_with(memory, check)
            .await
            .map_err(|shared| *shared)
        {
            Ok(()) => Ok(true),
            Err(NotRight::Wrong) => Ok(false),
            Err(NotRight::Overloaded) => Err(Error::Overloaded),
            Err(NotRight::Cancelled) => Err(Error::Cancelled),
        }
    }

    /// Runs `work` on a blocking thread. The permits go with it, so that a caller who gives up does not make
    /// room for a second check beside the one he left behind.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let admitted = Arc::clone(&self.admitted)
            .try_acquire_owned()
            .map_err(|_| Error::Overloaded)?;
        let running = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(|_| Error::Cancelled)?;
        let permits: [OwnedSemaphorePermit; 2] = [admitted, running];
        tokio::task::spawn_blocking(move || {
            let done = work();
            drop(permits);
            done
        })
        .await
        .map_err(|_| Error::Cancelled)
    }

    /// Binds a password to the stored hash; keyed, so that a dump of this process's memory gives no fast way
    /// to guess passwords once the key is gone with it.
    fn digest(&self, password: &SecretString, stored: &PasswordHash) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.digest_key);
        // The stored form holds no NUL.
        context.update(stored.as_str().as_bytes());
        context.update(&[0]);
        context.update(password.expose_secret().as_bytes());
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::{PasswordLimits, Passwords};
    use crate::{Error, PasswordHash};
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use secrecy::SecretString;
    use std::num::NonZeroUsize;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    fn passwords(rng: &mut StdRng) -> Passwords {
        Passwords::new(PasswordLimits::default(), rng).unwrap()
    }

    #[tokio::test]
    async fn only_the_right_password_is_right() {
        let mut rng = StdRng::seed_from_u64(1);
        let passwords = passwords(&mut rng);
        let stored = passwords
            .hash(secret("correct horse"), &mut rng)
            .await
            .unwrap();
        assert!(
            stored
                .as_str()
                .starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
        );
        for _ in 0..2 {
            let stored = Some(stored.clone());
            assert!(
                passwords
                    .verify(secret("correct horse"), stored.clone())
                    .await
                    .unwrap()
            );
            assert!(
                !passwords
                    .verify(secret("correct horsf"), stored.clone())
                    .await
                    .unwrap()
            );
            assert!(!passwords.verify(secret(""), stored).await.unwrap());
        }
        assert!(
            !passwords
                .verify(secret("correct horse"), None)
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn a_changed_password_is_wrong_at_once() {
        let mut rng = StdRng::seed_from_u64(1);
        let passwords = passwords(&mut rng);
        let old = passwords.hash(secret("old"), &mut rng).await.unwrap();
        let new = passwords.hash(secret("new"), &mut rng).await.unwrap();
        assert!(passwords.verify(secret("old"), Some(old)).await.unwrap());
        assert!(!passwords.verify(secret("old"), Some(new)).await.unwrap());
    }

    #[tokio::test]
    async fn a_remembered_password_costs_no_hash() {
        let mut rng = StdRng::seed_from_u64(1);
        let passwords = passwords(&mut rng);
        let stored = passwords.hash(secret("right"), &mut rng).await.unwrap();
        assert!(
            passwords
                .verify(secret("right"), Some(stored.clone()))
                .await
                .unwrap()
        );
        // With every place taken, only what is remembered can still be answered.
        passwords.running.close();
        assert!(
            passwords
                .verify(secret("right"), Some(stored.clone()))
                .await
                .unwrap()
        );
        let other = passwords.verify(secret("wrong"), Some(stored)).await;
        assert!(matches!(other, Err(Error::Cancelled)));
    }

    #[tokio::test]
    async fn beyond_the_bound_the_answer_is_later() {
        let mut rng = StdRng::seed_from_u64(1);
        let limits = PasswordLimits {
            parallel: NonZeroUsize::MIN,
            waiting: 1,
        };
        let passwords = Passwords::new(limits, &mut rng).unwrap();
        let stored = Some(passwords.decoy.clone());
        let (one, two, three) = tokio::join!(
            passwords.verify(secret("a"), stored.clone()),
            passwords.verify(secret("b"), stored.clone()),
            passwords.verify(secret("c"), stored),
        );
        assert!(!one.unwrap() && !two.unwrap());
        assert!(matches!(three, Err(Error::Overloaded)));
        assert!(!passwords.verify(secret("d"), None).await.unwrap());
    }

    #[tokio::test]
    async fn a_fleet_with_one_password_waits_for_one_hash() {
        let mut rng = StdRng::seed_from_u64(1);
        let limits = PasswordLimits {
            parallel: NonZeroUsize::MIN,
            waiting: 0,
        };
        let passwords = Passwords::new(limits, &mut rng).unwrap();
        let stored = passwords.hash(secret("shared"), &mut rng).await.unwrap();
        let login = || passwords.verify(secret("shared"), Some(stored.clone()));
        let (one, two, three) = tokio::join!(login(), login(), login());
        assert!(one.unwrap() && two.unwrap() && three.unwrap());
    }

    #[tokio::test]
    async fn an_endless_password_is_wrong() {
        let mut rng = StdRng::seed_from_u64(1);
        let passwords = passwords(&mut rng);
        let empty = passwords.hash(secret(""), &mut rng).await.unwrap();
        let long = secret(&"x".repeat(4096));
        assert!(!passwords.verify(long, Some(empty)).await.unwrap());
    }

    #[test]
    fn other_kinds_of_hash_are_refused() {
        for text in [
            "",
            "secret",
            "$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA",
            "$argon2id$v=19$m=1,t=1,p=1",
        ] {
            assert!(text.parse::<PasswordHash>().is_err(), "{text}");
        }
    }
}
