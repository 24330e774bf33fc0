//! The signing keys this process knows, and when it looks for others.
//!
//! The keys live sealed in the database, so every process verifies every token by itself. They are read
//! through a [`KeySource`]: when one is first needed, again when the copy has become old (so that a key
//! taken out of the table stops working), and when a token names a key we have not seen, but not more than
//! once a second: a flood of invented names costs one read a second and nothing else.

use crate::token::LEEWAY;
use crate::{Clock, Error, KeyId, PublicKey, SealKey, SigningKey, TokenFault};
use std::collections::HashMap;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tokio::sync::MutexGuard;

/// No two reads of the key table start within this time (design: "an unknown `kid` costs at most one key read
/// per second").
const LOOKUP_INTERVAL: Duration = Duration::from_secs(1);

/// A copy older than this is read again at its next use. A rotation makes its new key sign only after twice
/// this time, so that it is known everywhere first.
pub(crate) const RING_AGE_MAX: Duration = Duration::from_mins(1);

/// How long a new key is published before it signs: every process has read the table by then, also one whose first try
/// failed.
pub const PUBLISHED_FOR: Duration = RING_AGE_MAX.saturating_mul(2);

/// How long a key verifies after another signs, where tokens live for `lifetime`: a process whose copy is old signs with
/// it for a while yet, and clocks differ.
pub const fn verifies_for(lifetime: Duration) -> Duration {
    lifetime
        .saturating_add(LEEWAY)
        .saturating_add(RING_AGE_MAX.saturating_mul(2))
}

/// A row of the key table.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// Its name.
    pub id: KeyId,
    /// What [`SigningKey::generate`] gave for the database.
    pub sealed: Vec<u8>,
    /// Whether new tokens are signed with it; where several are, the first one is taken.
    pub signs: bool,
}

/// The key table could not be read; the source has said why in the log.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the key table could not be read")]
pub struct KeysUnavailable;

/// What a [`KeySource`] returns.
pub type KeysFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Vec<StoredKey>, KeysUnavailable>> + Send + 'a>>;

/// Where the keys are stored.
///
/// Dropping the future gives the read up; nothing is kept of it.
pub trait KeySource: Debug + Send + Sync {
    /// Every key that may still verify, the preferred signing key first. May make the first key where there
    /// is none.
    fn load(&self) -> KeysFuture<'_>;
}

/// The keys of this process.
#[derive(Debug)]
pub struct Keyring {
    seal: Arc<SealKey>,
    source: Box<dyn KeySource>,
    clock: Arc<dyn Clock>,
    ring: RwLock<Arc<Ring>>,
    /// When the last lookup began. Held while one is under way, so that those who wait share its result.
    gate: tokio::sync::Mutex<Option<SystemTime>>,
}

#[derive(Debug, Default)]
struct Ring {
    keys: HashMap<KeyId, Arc<SigningKey>>,
    active: Option<Arc<SigningKey>>,
    /// The key that should sign cannot be opened with our sealing key.
    active_sealed_away: bool,
    loaded_at: Option<SystemTime>,
}

impl Keyring {
    /// An empty ring; nothing is read before a key is needed.
    pub fn new(seal: Arc<SealKey>, source: Box<dyn KeySource>, clock: Arc<dyn Clock>) -> Self {
        Self {
            seal,
            source,
            clock,
            ring: RwLock::default(),
            gate: tokio::sync::Mutex::default(),
        }
    }

    /// The key for new tokens.
    pub async fn active(&self) -> Result<Arc<SigningKey>, Error> {
        let ring = self.refreshed().await?;
        if let Some(key) = &ring.active {
            return Ok(Arc::clone(key));
        }
        let ring = self.lookup(|ring| ring.active.is_some()).await?;
        match &ring.active {
            Some(key) => Ok(Arc::clone(key)),
            None if ring.active_sealed_away => Err(Error::SealedWithOtherKey),
            None => Err(Error::NoActiveKey),
        }
    }

    /// The key called `id`.
    pub async fn find(&self, id: KeyId) -> Result<Arc<SigningKey>, Error> {
        let ring = self.refreshed().await?;
        if let Some(key) = ring.keys.get(&id) {
            return Ok(Arc::clone(key));
        }
        let ring = self.lookup(|ring| ring.keys.contains_key(&id)).await?;
        ring.keys
            .get(&id)
            .map(Arc::clone)
            .ok_or(Error::Token(TokenFault::UnknownKey))
    }

    /// The public halves of all keys that verify now or will soon, in the order of their names.
    pub async fn public(&self) -> Result<Vec<PublicKey>, Error> {
        let ring = self.refreshed().await?;
        let mut keys: Vec<&Arc<SigningKey>> = ring.keys.values().collect();
        keys.sort_by_key(|key| key.id().to_string());
        Ok(keys.into_iter().map(|key| key.public()).collect())
    }

    /// The ring, read again if it has become old. An old ring still serves where the table is out of reach
    /// (pulls outlive the primary), and while another caller is reading.
    async fn refreshed(&self) -> Result<Arc<Ring>, Error> {
        let ring = self.current();
        let now = self.clock.now();
        if !is_older(ring.loaded_at, now, RING_AGE_MAX) {
            return Ok(ring);
        }
        let fresh = |ring: &Ring| !is_older(ring.loaded_at, now, RING_AGE_MAX);
        if ring.loaded_at.is_none() {
            return self.lookup(fresh).await;
        }
        let Ok(gate) = self.gate.try_lock() else {
            return Ok(ring);
        };
        match self.lookup_holding(gate, fresh).await {
            Err(Error::KeysUnavailable(_)) => Ok(ring),
            other => other,
        }
    }

    /// Reads the table unless `satisfied` by what another caller has read meanwhile, or the last read is too
    /// recent. Dropping this future lets the next waiter go; an unfinished read counts as one.
    async fn lookup(&self, satisfied: impl Fn(&Ring) -> bool) -> Result<Arc<Ring>, Error> {
        let gate = self.gate.lock().await;
        self.lookup_holding(gate, satisfied).await
    }

    async fn lookup_holding(
        &self,
        mut last: MutexGuard<'_, Option<SystemTime>>,
        satisfied: impl Fn(&Ring) -> bool,
    ) -> Result<Arc<Ring>, Error> {
        let ring = self.current();
        let now = self.clock.now();
        if satisfied(&ring) {
            return Ok(ring);
        }
        if !is_older(*last, now, LOOKUP_INTERVAL) {
            return match ring.loaded_at {
                Some(_) => Ok(ring),
                None => Err(KeysUnavailable.into()),
            };
        }
        *last = Some(now);
        let stored = self.source.load().await?;
        let ring = Arc::new(self.open(&ring, stored, now));
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&ring);
        Ok(ring)
    }

    /// Whether a token may still rest on the key called `id`, without asking the table.
    pub(crate) fn knows(&self, id: KeyId) -> bool {
        self.current().keys.contains_key(&id)
    }

    fn current(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn open(&self, before: &Ring, stored: Vec<StoredKey>, now: SystemTime) -> Ring {
        let mut ring = Ring {
            loaded_at: Some(now),
            ..Ring::default()
        };
        for row in stored {
            let known = before.keys.get(&row.id).map(Arc::clone);
            let opened = match known {
                Some(key) => Ok(key),
                None => SigningKey::open(row.id, &row.sealed, &self.seal).map(Arc::new),
            };
            match opened {
                Ok(key) => {
                    if row.signs && ring.active.is_none() {
                        ring.active = Some(Arc::clone(&key));
                    }
                    ring.keys.insert(row.id, key);
                }
                Err(cause) => {
                    ring.active_sealed_away |= row.signs;
                    tracing::error!(kid = %row.id, %cause, "cannot open signing key {}", row.id);
                }
            }
        }
        ring
    }
}

/// Whether `then` lies more than `age` before `now`; a clock that was set back counts as old.
pub(crate) fn is_older(then: Option<SystemTime>, now: SystemTime, age: Duration) -> bool {
    then.is_none_or(|then| now.duration_since(then).map_or(true, |since| since >= age))
}

#[cfg(test)]
mod tests {
    use super::{
        KeySource, Keyring, KeysFuture, KeysUnavailable, PUBLISHED_FOR, StoredKey, verifies_for,
    };
    use crate::token::LEEWAY;
    use crate::{Clock, Error, KeyId, ManualClock, SealKey, SigningKey, TokenFault};
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use secrecy::SecretBox;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, SystemTime};

    #[derive(Debug, Clone, Default)]
    struct Table {
        rows: Arc<Mutex<Option<Vec<StoredKey>>>>,
        reads: Arc<AtomicUsize>,
    }

    impl KeySource for Table {
        fn load(&self) -> KeysFuture<'_> {
            self.reads.fetch_add(1, Ordering::SeqCst);
            let rows = self.rows.lock().unwrap().clone();
            Box::pin(async move { rows.ok_or(KeysUnavailable) })
        }
    }

    struct Fixture {
        table: Table,
        clock: Arc<ManualClock>,
        seal: Arc<SealKey>,
        ring: Keyring,
        rng: StdRng,
    }

    impl Fixture {
        fn new() -> Self {
            let seal = Arc::new(SealKey::from_bytes(&SecretBox::new(Box::new([7; 32]))).unwrap());
            let table = Table::default();
            let clock = Arc::new(ManualClock::at(
                SystemTime::UNIX_EPOCH + Duration::from_hours(1),
            ));
            let ring = Keyring::new(
                Arc::clone(&seal),
                Box::new(table.clone()),
                Arc::clone(&clock) as Arc<dyn Clock>,
            );
            Self {
                table,
                clock,
                seal,
                ring,
                rng: StdRng::seed_from_u64(3),
            }
        }

        fn store(&mut self, signs: bool) -> KeyId {
            let (key, sealed) = SigningKey::generate(&self.seal, &mut self.rng).unwrap();
            let row = StoredKey {
                id: key.id(),
                sealed,
                signs,
            };
            self.table
                .rows
                .lock()
                .unwrap()
                .get_or_insert_default()
                .push(row);
            key.id()
        }

        fn reads(&self) -> usize {
            self.table.reads.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn an_unknown_key_costs_one_read_a_second() {
        let mut fixture = Fixture::new();
        fixture.store(true);
        for _ in 0..100 {
            let invented = KeyId::random(&mut fixture.rng);
            let refused = fixture.ring.find(invented).await;
            assert!(matches!(refused, Err(Error::Token(TokenFault::UnknownKey))));
        }
        assert_eq!(fixture.reads(), 1);
        fixture.clock.advance(Duration::from_secs(1));
        let invented = KeyId::random(&mut fixture.rng);
        assert!(fixture.ring.find(invented).await.is_err());
        assert_eq!(fixture.reads(), 2);
    }

    #[tokio::test]
    async fn a_key_that_another_process_made_is_found() {
        let mut fixture = Fixture::new();
        let first = fixture.store(true);
        assert_eq!(fixture.ring.active().await.unwrap().id(), first);
        let second = fixture.store(false);
        fixture.clock.advance(Duration::from_secs(2));
        assert_eq!(fixture.ring.find(second).await.unwrap().id(), second);
        assert_eq!(fixture.ring.find(first).await.unwrap().id(), first);
        assert_eq!(fixture.ring.active().await.unwrap().id(), first);
        assert_eq!(fixture.reads(), 2);
    }

    #[tokio::test]
    async fn a_key_taken_out_of_the_table_stops_working_within_a_minute() {
        let mut fixture = Fixture::new();
        let id = fixture.store(true);
        assert!(fixture.ring.find(id).await.is_ok());
        fixture.table.rows.lock().unwrap().as_mut().unwrap().clear();
        fixture.clock.advance(Duration::from_mins(1));
        assert!(matches!(
            fixture.ring.find(id).await,
            Err(Error::Token(TokenFault::UnknownKey))
        ));
        assert!(!fixture.ring.knows(id));
    }

    #[tokio::test]
    async fn known_keys_outlive_the_table() {
        let mut fixture = Fixture::new();
        let id = fixture.store(true);
        assert!(fixture.ring.find(id).await.is_ok());
        *fixture.table.rows.lock().unwrap() = None;
        fixture.clock.advance(Duration::from_hours(1));
        assert!(fixture.ring.find(id).await.is_ok());
        assert!(fixture.ring.active().await.is_ok());
    }

    #[tokio::test]
    async fn without_a_table_nothing_can_be_said() {
        let mut fixture = Fixture::new();
        let id = KeyId::random(&mut fixture.rng);
        for _ in 0..3 {
            assert!(matches!(
                fixture.ring.find(id).await,
                Err(Error::KeysUnavailable(_))
            ));
        }
        assert_eq!(fixture.reads(), 1);
    }

    /// Five processes, of which each is asked now and then, and reads the table only because its copy is old.
    #[tokio::test]
    async fn a_rotation_is_noticed_by_no_process_however_old_its_copy_is() {
        const LIFETIME: Duration = Duration::from_mins(5);
        let mut fixture = Fixture::new();
        fixture.store(true);
        let ring = || {
            let table = Box::new(fixture.table.clone());
            let clock = Arc::clone(&fixture.clock) as Arc<dyn Clock>;
            Keyring::new(Arc::clone(&fixture.seal), table, clock)
        };
        let rings: Vec<Keyring> = (0..5).map(|_| ring()).collect();
        let started = fixture.clock.now();
        let mut tokens: Vec<(Duration, KeyId)> = Vec::new();
        let mut ends: Vec<(Duration, KeyId)> = Vec::new();
        for second in 0..4_000 {
            let now = Duration::from_secs(second);
            // A rotation every ten minutes, step by step as they are made in the table.
            if second % 600 == 100 {
                fixture.store(false);
            }
            let signs_from = 100 + PUBLISHED_FOR.as_secs();
            if second >= signs_from && (second - signs_from).is_multiple_of(600) {
                let mut rows = fixture.table.rows.lock().unwrap();
                for row in rows.as_mut().unwrap() {
                    if row.signs {
                        ends.push((now + verifies_for(LIFETIME), row.id));
                    }
                    row.signs = !ends.iter().any(|(_, id)| *id == row.id);
                }
            }
            let ended: Vec<KeyId> = ends
                .iter()
                .filter(|(end, _)| *end <= now)
                .map(|(_, id)| *id)
                .collect();
            fixture
                .table
                .rows
                .lock()
                .unwrap()
                .as_mut()
                .unwrap()
                .retain(|row| !ended.contains(&row.id));
            tokens.retain(|(from, _)| *from + LIFETIME + LEEWAY > now);
            for (number, ring) in rings.iter().enumerate() {
                // Some are asked every second, some once a minute, at other moments.
                let every = [1, 7, 31, 61, 59][number];
                if second % every != number as u64 % every {
                    continue;
                }
                let active = ring.active().await.unwrap().id();
                for (from, id) in &tokens {
                    assert!(
                        ring.knows(*id),
                        "process {number} after {second} s: a token of {from:?} is refused"
                    );
                }
                tokens.push((now, active));
            }
            fixture.clock.advance(Duration::from_secs(1));
        }
        assert_eq!(fixture.clock.now(), started + Duration::from_secs(4_000));
        assert!(ends.len() >= 6 && fixture.table.rows.lock().unwrap().as_ref().unwrap().len() <= 3);
    }

    #[tokio::test]
    async fn keys_sealed_with_another_secret_are_reported_as_such() {
        let mut fixture = Fixture::new();
        fixture.seal = Arc::new(SealKey::from_bytes(&SecretBox::new(Box::new([8; 32]))).unwrap());
        fixture.store(true);
        assert!(matches!(
            fixture.ring.active().await,
            Err(Error::SealedWithOtherKey)
        ));
    }
}
