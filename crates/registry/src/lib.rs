//! What a registry does: push, pull, mount, delete, list and collect, without HTTP and without SQL.
//!
//! Every public function takes a [`Caller`] and typed names, decides the caller's right from the
//! same statement that resolves the data, and answers facts ([`Error`] included) that the server
//! puts into HTTP. A transaction begins and commits inside one function here, nothing slow runs
//! inside it, and what it acknowledges has passed the router's barrier.

mod audit;
mod authorize;
mod cache;
mod caller;
mod delete;
mod error;
pub mod explain;
mod freshness;
pub mod identity;
mod limits;
mod list;
mod mount;
mod pull;
pub mod pulls;
mod push;
mod referrers;
mod removal;
mod stores;
mod transaction;
pub mod upload;

pub use authorize::{authorize, entitle};
pub use caller::{Caller, Came, Credentials};
pub use error::{Error, UnavailableCause};
pub use freshness::Freshness;
pub use limits::{Limits, SparseImages};
pub use list::{CatalogPage, SearchPage, TagPage};
pub use mount::MountOutcome;
pub use portolan_pg::Age;
pub use pull::{BlobAnswer, BlobSource, ManifestAnswer, Purpose};
pub use push::{PushWarning, Pushed, PutManifest};
pub use referrers::{Referrer, ReferrerPage};
pub use stores::Stores;

use cache::ContentCache;
use portolan_auth::Action;
use portolan_metadata::Access;
use portolan_oci::RepositoryName;
use portolan_pg::{PointRead, Router};
use pulls::Pulls;
use rand::rngs::StdRng;
use std::sync::{Arc, Mutex};
use upload::Uploads;

/// The registry: cheap to clone, shared by every request and job of a process.
#[derive(Debug, Clone)]
pub struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    router: Router,
    stores: Stores,
    limits: Limits,
    payloads: ContentCache,
    small_blobs: ContentCache,
    uploads: Uploads,
    pulls: Pulls,
    random: Mutex<StdRng>,
}

/// What a registry is made of.
#[derive(Debug)]
pub struct Parts {
    /// The way to Postgres.
    pub router: Router,
    /// The blob stores.
    pub stores: Stores,
    /// Every bound.
    pub limits: Limits,
    /// The upload engine's own parts: schedule, memory, tasks.
    pub uploads: Uploads,
    /// Counts pulls.
    pub pulls: Pulls,
    /// Where storage keys and upload ids come from.
    pub random: StdRng,
}

/// Where a fresh read is answered.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// By a replica that can prove itself, else by the primary.
    Any,
    /// By the primary.
    Primary,
}

impl Registry {
    /// Puts the parts together; touches neither Postgres nor the store.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            router,
            stores,
            limits,
            uploads,
            pulls,
            random,
        } = parts;
        Self(Arc::new(Inner {
            payloads: ContentCache::new(limits.manifest_cache_bytes),
            small_blobs: ContentCache::new(limits.small_blob_cache_bytes),
            router,
            stores,
            limits,
            uploads,
            pulls,
            random: Mutex::new(random),
        }))
    }

    /// The bounds it was made with.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// The way to change who there is.
    pub fn identity(&self) -> identity::Identity {
        identity::Identity::new(self.0.router.clone())
    }

    fn router(&self) -> &Router {
        &self.0.router
    }

    /// A point read whose statement answers one row for every key, whatever it finds.
    async fn resolve<R: PointRead>(&self, key: R::Key) -> Result<(R::Row, Freshness), Error> {
        self.resolve_from::<R>(Source::Any, key).await
    }

    /// As [`Registry::resolve`], from this source.
    async fn resolve_from<R: PointRead>(
        &self,
        source: Source,
        key: R::Key,
    ) -> Result<(R::Row, Freshness), Error> {
        let served = match source {
            Source::Any => self.router().read_fresh::<R>(key).await?,
            Source::Primary => self.router().read_fresh_from_primary::<R>(key).await?,
        };
        let row = served
            .value
            .expect("a resolving statement answers one row for every key");
        Ok((row, served.by.into()))
    }

    /// Whether the caller may read what was resolved with `access`, as current as it is.
    fn authorize_read(
        &self,
        access: &Access,
        freshness: Freshness,
        caller: &Caller,
        name: &RepositoryName,
    ) -> Result<(), Error> {
        freshness.admit(access, self.0.limits.max_stale)?;
        authorize(access, caller, name, Action::Pull).map_err(|refusal| freshness.doubt(refusal))
    }

    fn stores(&self) -> &Stores {
        &self.0.stores
    }

    /// Runs `draw` with the registry's source of randomness.
    fn random<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        let mut random = self.0.random.lock().expect("no holder of this lock panics");
        draw(&mut random)
    }
}
