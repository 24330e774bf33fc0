//! A migrated database for each test, a router to it, a session beside it, and the few things every test pushes.

use portolan_metadata::blobs::{self, NewBlob};
use portolan_metadata::manifests::{self, NewManifest};
use portolan_metadata::stores::{self, NewStore, StoreKind};
use portolan_metadata::tags::{self, TagMove};
use portolan_metadata::{
    BlobId, Error, ManifestId, Principal, RepositoryId, StorageKey, StoreId, gc, manifest_contents,
    migrate, repositories,
};
use portolan_oci::{Digest, ManifestKind, RepositoryName, TagName};
use portolan_pg::{AcquirePolicy, Endpoint, Metrics, Policy, Router, Shares, StatementLimits, Tx};
use portolan_testkit::pg_cluster::{PgCluster, Session, TestDatabase};
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

/// As long as anything may take on a machine that does something else as well.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

static TEMPLATE: OnceCell<TestDatabase> = OnceCell::const_new();

/// A database with the schema, and nothing else.
pub(crate) async fn migrated() -> TestDatabase {
    let cluster = PgCluster::shared();
    let template = TEMPLATE
        .get_or_init(async || {
            let template = cluster.create_database().await;
            migrate::up(template.url()).await.unwrap();
            template
        })
        .await;
    cluster.create_database_from(template.name()).await
}

/// A router with room for `writers` transactions at once, and patience.
pub(crate) fn router(database: &TestDatabase, writers: usize) -> Router {
    let policy = Policy {
        shares: Shares::of(writers + 4).unwrap(),
        acquire: AcquirePolicy {
            read: PATIENCE,
            write: PATIENCE,
            background: PATIENCE,
            ..AcquirePolicy::default()
        },
        limits: StatementLimits {
            lane: PATIENCE,
            list: PATIENCE,
            write: PATIENCE,
            background: PATIENCE,
            idle_in_transaction: PATIENCE,
        },
        ..Policy::default()
    };
    let endpoint = Endpoint::parse(&SecretString::from(database.url())).unwrap();
    Router::connect(policy, endpoint, Vec::new(), Metrics::unregistered(), 7)
}

/// A migrated database, and the ways into it.
pub(crate) struct Db {
    pub(crate) database: TestDatabase,
    pub(crate) router: Router,
    /// Beside the code under test.
    pub(crate) sql: Session,
    pub(crate) store: StoreId,
}

impl Db {
    pub(crate) async fn new() -> Self {
        let database = migrated().await;
        let router = router(&database, 8);
        let sql = database.session().await;
        let store = in_tx(&router, async |tx| {
            let new = NewStore {
                name: "default",
                kind: StoreKind::S3,
                bucket: "blobs",
                prefix: "",
                endpoint: "",
            };
            stores::ensure(tx, &new).await
        })
        .await;
        Self {
            database,
            router,
            sql,
            store,
        }
    }

    pub(crate) async fn begin(&self) -> Tx {
        self.router.begin().await.unwrap()
    }

    /// Runs `work` in a transaction of its own and commits it.
    pub(crate) async fn write<T>(&self, work: impl AsyncFnOnce(&Tx) -> Result<T, Error>) -> T {
        in_tx(&self.router, work).await
    }

    /// Runs a statement beside the code under test.
    pub(crate) async fn run(&self, sql: &str) -> u64 {
        self.sql
            .execute(sql, &[])
            .await
            .unwrap_or_else(|error| panic!("`{sql}`: {error:?}"))
    }

    /// The one number that a query yields.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let row = self
            .sql
            .query_one(sql, &[])
            .await
            .unwrap_or_else(|error| panic!("`{sql}`: {error:?}"));
        row.get(0)
    }

    /// The one truth that a query yields.
    pub(crate) async fn holds(&self, sql: &str) -> bool {
        let row = self
            .sql
            .query_one(sql, &[])
            .await
            .unwrap_or_else(|error| panic!("`{sql}`: {error:?}"));
        row.get(0)
    }

    /// A repository made by a superuser's push.
    pub(crate) async fn repository(&self, name: &str) -> RepositoryId {
        let name = path(name);
        self.write(async |tx| repositories::create(tx, &name, &Principal::Anonymous).await)
            .await
    }

    /// A blob uploaded to a repository, linked for a day.
    pub(crate) async fn blob(&self, repository: RepositoryId, content: &[u8]) -> BlobId {
        self.write(async |tx| upload_blob(tx, self.store, repository, content).await)
            .await
    }

    /// A manifest with those blobs, under a tag if there is one.
    pub(crate) async fn manifest(
        &self,
        repository: RepositoryId,
        push: &Push<'_>,
    ) -> (ManifestId, Digest) {
        self.write(async |tx| push_manifest(tx, repository, push).await)
            .await
    }

    /// Waits until a session of this database waits for a lock that another one holds.
    pub(crate) async fn until_blocked(&self) {
        let sql = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
        until("somebody waits for a lock", async || {
            self.number(sql).await > 0
        })
        .await;
    }
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn in_tx<T>(
    router: &Router,
    work: impl AsyncFnOnce(&Tx) -> Result<T, Error>,
) -> T {
    let tx = router.begin().await.unwrap();
    let outcome = work(&tx).await.unwrap_or_else(|error| panic!("{error:?}"));
    commit(tx).await;
    outcome
}

pub(crate) async fn commit(tx: Tx) {
    let _: portolan_pg::Committed = tx.commit().await.unwrap();
}

/// Runs the other side of a race; the test awaits it.
pub(crate) fn aside<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    #[expect(clippy::disallowed_methods, reason = "the test awaits the handle")]
    tokio::spawn(work)
}

pub(crate) fn path(name: &str) -> RepositoryName {
    name.parse().unwrap()
}

pub(crate) fn tag(name: &str) -> TagName {
    name.parse().unwrap()
}

pub(crate) fn digest(content: &[u8]) -> Digest {
    Digest::sha256(content)
}

/// A key that no other call of this process gives.
pub(crate) fn fresh_key() -> StorageKey {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    StorageKey::fresh(bytes)
}

/// What a test pushes: a payload that need not be a manifest, and what it refers to.
#[derive(Clone, Copy, Default)]
pub(crate) struct Push<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) blobs: &'a [Digest],
    pub(crate) children: &'a [Digest],
    pub(crate) subject: Option<Digest>,
    pub(crate) tag: Option<&'a str>,
}

impl<'a> Push<'a> {
    pub(crate) fn of(payload: &'a [u8]) -> Self {
        Self {
            payload,
            ..Self::default()
        }
    }
}

pub(crate) fn new_manifest(push: &Push<'_>) -> NewManifest {
    NewManifest {
        digest: digest(push.payload),
        kind: if push.children.is_empty() {
            ManifestKind::OciImage
        } else {
            ManifestKind::OciIndex
        },
        payload_size: push.payload.len() as u64,
        size_total: 0,
        layer_count: push.blobs.len(),
        subject: push.subject,
        artifact_type: None,
        config: None,
        platform: None,
        annotations: BTreeMap::new(),
    }
}

/// The order of statements and locks of a manifest's push. The repository is locked already.
pub(crate) async fn push_manifest(
    tx: &Tx,
    repository: RepositoryId,
    push: &Push<'_>,
) -> Result<(ManifestId, Digest), Error> {
    let own = digest(push.payload);
    let mut named = push.children.to_vec();
    named.sort();
    let related = manifests::lock_related(tx, repository, &own, &named).await?;
    manifest_contents::insert(tx, &own, push.payload).await?;
    let manifest = manifests::insert(tx, repository, &new_manifest(push)).await?;
    let present = blobs::lock_present(tx, repository, push.blobs, 0).await?;
    assert_eq!(present.len(), push.blobs.len(), "a blob is missing");
    let ids: Vec<BlobId> = present.iter().map(|blob| blob.id).collect();
    manifests::insert_blob_references(tx, repository, manifest, &ids).await?;
    let children: Vec<manifests::Child> = named
        .iter()
        .map(|child| manifests::Child {
            digest: *child,
            id: related
                .iter()
                .find(|(_, known)| known == child)
                .map(|(id, _)| *id),
            platform: None,
        })
        .collect();
    manifests::insert_children(tx, repository, manifest, &children).await?;
    manifests::adopt_orphaned_children(tx, repository, &own, manifest).await?;
    let mut touched = vec![manifest];
    if let Some(name) = push.tag {
        let name = tag(name);
        let step = TagMove {
            repository,
            tag: &name,
            manifest,
            digest: &own,
            actor: Principal::Anonymous,
            expect: None,
        };
        touched.extend(tags::move_to(tx, &step).await?.abandoned);
    }
    gc::touch_manifests(tx, &touched).await?;
    Ok((manifest, own))
}

/// The commit of an upload: a blob under a fresh key, and a link of a day.
pub(crate) async fn upload_blob(
    tx: &Tx,
    store: StoreId,
    repository: RepositoryId,
    content: &[u8],
) -> Result<BlobId, Error> {
    let new = new_blob(store, content);
    let committed = blobs::commit(tx, &new).await?;
    blobs::link(tx, repository, committed.id, Duration::from_hours(24)).await?;
    Ok(committed.id)
}

pub(crate) fn new_blob(store: StoreId, content: &[u8]) -> NewBlob {
    NewBlob {
        digest: digest(content),
        size: content.len() as u64,
        store,
        key: fresh_key(),
        content: None,
    }
}
