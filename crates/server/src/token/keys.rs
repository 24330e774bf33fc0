//! The signing keys in the database, sealed with the installation's own key.

use portolan_auth::{KeySource, KeysFuture, KeysUnavailable, SealKey, SigningKey, StoredKey};
use portolan_metadata::signing_keys::{self, SigningKeyRow};
use portolan_pg::Router;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::sync::{Arc, Mutex, PoisonError};

/// Reads the table `signing_key`, and makes the first key where there is none.
#[derive(Debug)]
pub(super) struct DatabaseKeys {
    router: Router,
    seal: Arc<SealKey>,
    random: Mutex<StdRng>,
}

/// Why the keys could not be read or made; it ends in the log.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Pg(#[from] portolan_pg::Error),
    #[error(transparent)]
    Metadata(#[from] portolan_metadata::Error),
    #[error(transparent)]
    Auth(#[from] portolan_auth::Error),
}

impl DatabaseKeys {
    pub(super) fn new(router: Router, seal: Arc<SealKey>, random: StdRng) -> Self {
        Self {
            router,
            seal,
            random: Mutex::new(random),
        }
    }

    async fn rows(&self) -> Result<Vec<SigningKeyRow>, Failure> {
        let rows = {
            let reader = self.router.read_list();
            signing_keys::list(&reader).await?
        };
        if rows.iter().any(|row| row.signs) {
            return Ok(rows);
        }
        self.make_first().await?;
        let primary = self.router.read_primary().await?;
        Ok(signing_keys::list(&primary).await?)
    }

    /// Makes the first key of a new installation. Of several processes that start together one wins, in
    /// SQL; the others use its key.
    async fn make_first(&self) -> Result<(), Failure> {
        let mut random = {
            let mut shared = self.random.lock().unwrap_or_else(PoisonError::into_inner);
            StdRng::from_rng(&mut *shared)
        };
        let (key, sealed) = SigningKey::generate(&self.seal, &mut random)?;
        let tx = self.router.begin().await?;
        let won = signing_keys::insert_if_none(&tx, &key.id().to_string(), &sealed).await?;
        let committed = tx.commit().await?;
        self.router.acknowledge(committed).await?;
        if won {
            tracing::info!(kid = %key.id(), "made the first signing key {}", key.id());
        }
        Ok(())
    }
}

impl KeySource for DatabaseKeys {
    fn load(&self) -> KeysFuture<'_> {
        Box::pin(async {
            let rows = self.rows().await.map_err(|cause| {
                tracing::warn!(%cause, "cannot read the signing keys: {cause}");
                KeysUnavailable
            })?;
            Ok(rows.into_iter().filter_map(stored).collect())
        })
    }
}

/// A row whose name breaks the grammar was not written by us; it verifies nothing.
fn stored(row: SigningKeyRow) -> Option<StoredKey> {
    match row.kid.parse() {
        Ok(id) => Some(StoredKey {
            id,
            sealed: row.sealed,
            signs: row.signs,
        }),
        Err(cause) => {
            tracing::error!(%cause, "the key table holds a key with a malformed name");
            None
        }
    }
}
