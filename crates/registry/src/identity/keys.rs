//! The keys that tokens are signed with: one follows the other, and nobody notices.
//!
//! A key is published first (`next`), so that every process knows it before it signs; then it signs, and the one before it
//! goes on verifying until the last of its tokens has ended. Each of the three steps is one transaction, and any of them may
//! be the last for a while.

use super::{Actor, Identity};
use crate::Error;
use portolan_auth::{KeyId, PUBLISHED_FOR, SealKey, SealedWith, SigningKey, verifies_for};
use portolan_metadata::audit::{self, Change};
use portolan_metadata::jobs::{self, NewJob};
use portolan_metadata::signing_keys::{self, KeyRow, KeyState};
use portolan_pg::Tx;
use rand::CryptoRng;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The job that takes the next step, by its name in the table.
pub const ROTATE_KEYS: &str = "rotate-keys";

/// How keys follow each other.
#[derive(Debug, Clone)]
pub struct KeyPolicy {
    /// What they are sealed with.
    pub seal: Arc<SealKey>,
    /// How long tokens live.
    pub lifetime: Duration,
    /// How long a key signs; `None`: until somebody says so.
    pub rotation: Option<Duration>,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// The key that signs is young enough.
    NotDue,
    /// A new key was published.
    Published {
        /// Its name.
        kid: String,
        /// In how long it may sign.
        signs_in: Duration,
    },
    /// The next key is published and not everybody knows it yet.
    Waiting {
        /// Its name.
        kid: String,
        /// In how long it may sign.
        signs_in: Duration,
    },
    /// The next key signs now.
    Signing {
        /// Its name.
        kid: String,
    },
}

/// A key as an administrator sees it.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its row.
    pub row: KeyRow,
    /// What it is sealed with; `None` where nobody knows which keys there were.
    pub sealed: Option<SealedWith>,
}

/// What became of a key that was to go at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retired {
    /// It verifies nothing any more.
    Done,
    /// The same, and this new one signs.
    ReplacedBy {
        /// Its name.
        kid: String,
    },
    /// There is no such key.
    Unknown,
}

/// What was sealed anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resealed {
    /// Rows that were sealed with an old key.
    pub anew: u64,
    /// Rows that were sealed with the current one already.
    pub current: u64,
    /// Rows that no key at hand opens; they were left alone.
    pub unknown: u64,
}

impl Identity {
    /// Every key there is.
    pub async fn keys(&self, seal: Option<&SealKey>) -> Result<Vec<Key>, Error> {
        let reader = self.router.read_primary().await?;
        let rows = signing_keys::all(&reader).await?;
        let key = |row: KeyRow| Key {
            sealed: seal.map(|seal| seal.sealed_with(&row.sealed)),
            row,
        };
        Ok(rows.into_iter().map(key).collect())
    }

    /// Takes the next step of a rotation: `now` where somebody asked for it, else if it is time. Deletes what verifies
    /// nothing any more.
    ///
    /// Whoever publishes a key also asks for the job that lets it sign.
    pub async fn rotate_keys(
        &self,
        actor: &Actor,
        policy: &KeyPolicy,
        now: bool,
        random: &mut (impl CryptoRng + Send),
    ) -> Result<Rotation, Error> {
        let tx = self.begin().await?;
        let rows = signing_keys::lock(&tx).await?;
        signing_keys::delete_ended(&tx).await?;
        let of = |state| rows.iter().find(|row: &&KeyRow| row.state == state);
        let step = match (of(KeyState::Next), of(KeyState::Signing)) {
            (Some(next), _) if next.age < PUBLISHED_FOR => Rotation::Waiting {
                kid: next.kid.clone(),
                signs_in: PUBLISHED_FOR.saturating_sub(next.age),
            },
            (Some(next), signing) => {
                if let Some(signing) = signing {
                    let lasting = verifies_for(policy.lifetime);
                    signing_keys::retire(&tx, &signing.kid, lasting).await?;
                }
                signing_keys::promote(&tx, &next.kid).await?;
                let before = signing.map(|signing| &signing.kid);
                let change =
                    Change::of("key.rotate", next.kid.as_str()).with(json!({"before": before}));
                audit::record(&tx, actor, &change).await?;
                Rotation::Signing {
                    kid: next.kid.clone(),
                }
            }
            (None, Some(signing)) if now || is_due(signing, policy) => {
                publish(&tx, actor, policy, random).await?
            }
            // The first key is made by whoever needs it.
            (None, _) => Rotation::NotDue,
        };
        if matches!(step, Rotation::NotDue | Rotation::Waiting { .. }) {
            // Nothing that a reader is promised: no barrier.
            let _committed = tx.commit().await?;
        } else {
            self.finish(tx).await?;
        }
        Ok(step)
    }

    /// Ends a key at once, and with it every token that it signed: for one that became known to others. Processes notice
    /// within a minute. Where it signed, a new one does; tokens of that one may be refused for a second by a process that
    /// has not met it.
    pub async fn retire_key(
        &self,
        actor: &Actor,
        policy: &KeyPolicy,
        kid: &str,
        random: &mut (impl CryptoRng + Send),
    ) -> Result<Retired, Error> {
        let tx = self.begin().await?;
        let rows = signing_keys::lock(&tx).await?;
        let Some(row) = rows.iter().find(|row| row.kid == kid) else {
            let _ = tx.rollback().await;
            return Ok(Retired::Unknown);
        };
        signing_keys::delete(&tx, kid).await?;
        let mut outcome = Retired::Done;
        if row.state == KeyState::Signing {
            let next = rows.iter().find(|row| row.state == KeyState::Next);
            let successor = if let Some(next) = next {
                signing_keys::promote(&tx, &next.kid).await?;
                next.kid.clone()
            } else {
                let (key, sealed) = generate(policy, random)?;
                let name = key.id().to_string();
                signing_keys::insert_next(&tx, &name, &sealed).await?;
                signing_keys::promote(&tx, &name).await?;
                name
            };
            outcome = Retired::ReplacedBy { kid: successor };
        }
        let successor = match &outcome {
            Retired::ReplacedBy { kid } => Some(kid),
            _ => None,
        };
        let detail = json!({"state": row.state.as_str(), "successor": successor});
        audit::record(&tx, actor, &Change::of("key.retire", kid).with(detail)).await?;
        self.finish(tx).await?;
        Ok(outcome)
    }

    /// Seals everything that an old key sealed with the current one.
    pub async fn reseal(
        &self,
        actor: &Actor,
        seal: &SealKey,
        random: &mut (impl CryptoRng + Send),
    ) -> Result<Resealed, Error> {
        let tx = self.begin().await?;
        let mut done = Resealed::default();
        for row in signing_keys::lock(&tx).await? {
            match (seal.sealed_with(&row.sealed), row.kid.parse::<KeyId>()) {
                (SealedWith::Current, _) => done.current += 1,
                (SealedWith::Old, Ok(id)) => {
                    let sealed =
                        SigningKey::reseal(id, &row.sealed, seal, random).map_err(Error::Keys)?;
                    signing_keys::reseal(&tx, &row.kid, &sealed).await?;
                    done.anew += 1;
                }
                (SealedWith::Unknown, _) | (SealedWith::Old, Err(_)) => done.unknown += 1,
            }
        }
        if done.anew > 0 {
            let detail = json!({"resealed": done.anew, "unknown": done.unknown});
            audit::record(
                &tx,
                actor,
                &Change::of("key.reseal", "signing_key").with(detail),
            )
            .await?;
        }
        self.finish(tx).await?;
        Ok(done)
    }
}

/// A key is published so early that it signs when its time has come.
fn is_due(signing: &KeyRow, policy: &KeyPolicy) -> bool {
    policy
        .rotation
        .is_some_and(|rotation| signing.age + PUBLISHED_FOR >= rotation)
}

async fn publish(
    tx: &Tx,
    actor: &Actor,
    policy: &KeyPolicy,
    random: &mut (impl CryptoRng + Send),
) -> Result<Rotation, Error> {
    let (key, sealed) = generate(policy, random)?;
    let kid = key.id().to_string();
    if !signing_keys::insert_next(tx, &kid, &sealed).await? {
        let table = "signing_key";
        return Err(portolan_metadata::Error::Contended { table }.into());
    }
    let job = NewJob {
        kind: ROTATE_KEYS,
        key: "",
        payload: &serde_json::Value::Null,
        // A little more, so that it is not met a moment too early.
        due_in: PUBLISHED_FOR + Duration::from_secs(1),
    };
    jobs::enqueue(tx, &job).await?;
    audit::record(tx, actor, &Change::of("key.create", kid.as_str())).await?;
    Ok(Rotation::Published {
        kid,
        signs_in: PUBLISHED_FOR,
    })
}

fn generate(
    policy: &KeyPolicy,
    random: &mut impl CryptoRng,
) -> Result<(SigningKey, Vec<u8>), Error> {
    SigningKey::generate(&policy.seal, random).map_err(Error::Keys)
}
