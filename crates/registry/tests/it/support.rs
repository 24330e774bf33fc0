//! A registry for tests: a database of its own, a store of its own, and as many processes over
//! both as a test wants.

use crate::staged::{Script, Staged};
use bytes::Bytes;
use futures::{TryStreamExt, stream};
use portolan_auth::SystemClock;
use portolan_blobs::{
    BlobStore, ByteBudget, DirectoryStore, PartSchedule, S3Credentials, S3Encryption, S3Endpoint,
    S3Settings, S3Store, ScheduleStep,
};
use portolan_metadata::accounts::{self, NewUser, StoredPassword};
use portolan_metadata::stores::{self, NewStore, StoreKind};
use portolan_metadata::{Principal, StoreId, migrate};
use portolan_oci::{Algorithm, ContentRange, Digest, RepositoryName, UploadId};
use portolan_pg::{AcquirePolicy, Endpoint, Metrics, Policy, Router, StatementLimits};
use portolan_registry::pulls::Pulls;
use portolan_registry::upload::{ClaimSettings, UploadBody, UploadSettings, Uploads};
use portolan_registry::{BlobSource, Caller, Error, Limits, Parts, Purpose, Registry, Stores};
use portolan_testkit::children::PATIENCE;
use portolan_testkit::children::eventually;
use portolan_testkit::pg_cluster::{PgCluster, PgReplica, Session, TestDatabase};
use portolan_testkit::s3_server::S3Server;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use secrecy::SecretString;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// One S3 server for all tests, a bucket for each.
static S3: LazyLock<S3Server> = LazyLock::new(S3Server::start);
static TEMPLATE: OnceCell<TestDatabase> = OnceCell::const_new();
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Where a test's blobs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    S3,
}

/// A database and a store, without a process.
#[derive(Debug)]
pub(crate) struct Site {
    database: TestDatabase,
    pub(crate) sql: Session,
    kind: Kind,
    bucket: String,
    folder: TempDir,
    pub(crate) caller: Caller,
    pub(crate) stranger: Caller,
    pub(crate) settings: UploadSettings,
    pub(crate) limits: Limits,
}

async fn migrated() -> TestDatabase {
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

impl Site {
    pub(crate) async fn new(kind: Kind) -> Self {
        Self::on(migrated().await, kind).await
    }

    /// On a database that has the schema.
    pub(crate) async fn on(database: TestDatabase, kind: Kind) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let bucket = format!("registry-{number}");
        if kind == Kind::S3 {
            S3.create_bucket(&bucket);
        }
        let folder = tempfile::tempdir().unwrap();
        let mut settings = UploadSettings::new(folder.path().join("spool"));
        std::fs::create_dir(&settings.spool).unwrap();
        settings.schedule = schedule(kind);
        settings.claims = ClaimSettings {
            lease: Duration::from_mins(1),
            renew: Duration::from_secs(20),
            wait: Duration::ZERO,
        };
        let router = router(&database);
        let caller = account(&router, "admin", true).await;
        let stranger = account(&router, "stranger", true).await;
        router.close().await;
        let sql = database.session().await;
        Self {
            database,
            sql,
            kind,
            bucket,
            folder,
            caller,
            stranger,
            settings,
            limits: Limits::default(),
        }
    }

    /// A way to the database beside the processes.
    pub(crate) fn router(&self) -> Router {
        router(&self.database)
    }

    /// A way to the database and to its replicas.
    pub(crate) fn router_over(&self, replicas: &[PgReplica]) -> Router {
        let url = |replica: &PgReplica| endpoint(&replica.server().url(self.database.name()));
        let replicas = replicas.iter().map(url).collect();
        connect(endpoint(self.database.url()), replicas)
    }

    /// A session beside `sql`.
    pub(crate) async fn session(&self) -> Session {
        self.database.session().await
    }

    /// Where the database is.
    pub(crate) fn url(&self) -> &str {
        self.database.url()
    }

    /// Waits until so many sessions of this database wait for locks that others hold.
    pub(crate) async fn until_blocked(&self, sessions: i64) {
        let sql = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
        eventually("somebody waits for a lock", async || {
            self.number(sql).await >= sessions
        })
        .await;
    }

    /// A user who may write to his own namespace only.
    pub(crate) async fn user(&self, name: &str) -> Caller {
        let router = self.router();
        let caller = account(&router, name, false).await;
        router.close().await;
        caller
    }

    /// A process.
    pub(crate) async fn process(&self) -> Registry {
        self.process_with(Script::default()).await.0
    }

    /// A process whose store does what a script says.
    pub(crate) async fn process_with(&self, script: Script) -> (Registry, Arc<Script>) {
        self.process_over(self.router(), script).await
    }

    /// A process that has its own way to the database.
    pub(crate) async fn process_over(
        &self,
        router: Router,
        script: Script,
    ) -> (Registry, Arc<Script>) {
        let tx = router.begin().await.unwrap();
        let new = NewStore {
            name: "default",
            kind: StoreKind::S3,
            bucket: &self.bucket,
            prefix: "",
            endpoint: "",
        };
        let id: StoreId = stores::ensure(&tx, &new).await.unwrap();
        let _committed = tx.commit().await.unwrap();
        let script = Arc::new(script);
        let store = Staged::new(self.store().await, Arc::clone(&script));
        let registry = Registry::new(Parts {
            router,
            stores: Stores::single(id, Arc::new(store)),
            limits: self.limits.clone(),
            uploads: Uploads::new(self.settings.clone()),
            pulls: Pulls::new(Arc::new(SystemClock)),
            random: StdRng::seed_from_u64(NEXT.fetch_add(1, Ordering::Relaxed)),
        });
        (registry, script)
    }

    pub(crate) async fn store(&self) -> Arc<dyn BlobStore> {
        match self.kind {
            Kind::Directory => Arc::new(DirectoryStore::open(&self.blobs()).unwrap()),
            Kind::S3 => Arc::new(S3Store::connect(s3(&self.bucket)).await),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    fn blobs(&self) -> PathBuf {
        self.folder.path().join("blobs")
    }

    /// The keys of all objects, finished or not.
    pub(crate) fn objects(&self) -> BTreeSet<String> {
        match self.kind {
            Kind::S3 => {
                assert_eq!(S3.unfinished(&self.bucket), 0, "a multipart upload is left");
                S3.objects(&self.bucket)
            }
            Kind::Directory => {
                let mut found = BTreeSet::new();
                walk(&self.blobs(), &self.blobs(), &mut found);
                found
            }
        }
    }

    /// What was asked of the bucket.
    pub(crate) fn requests(&self) -> Vec<String> {
        S3.requests(&self.bucket)
    }

    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.sql.query_one(sql, &[]).await.unwrap().get(0)
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.sql.batch_execute(sql).await.unwrap();
    }

    /// What follows when time goes by: expired uploads are swept, and quarantines end. Then no
    /// object may be left that is not a blob's, and no row that names one.
    pub(crate) async fn nothing_is_left_over(&self, registry: &Registry) {
        registry.drain_uploads().await;
        self.run("UPDATE upload SET expires_at = now(), lock_until = NULL")
            .await;
        while registry.sweep_uploads(10).await.unwrap() == 10 {}
        self.run("UPDATE object_delete SET not_before = now(), claimed_at = NULL")
            .await;
        loop {
            let deletion = registry.delete_objects(10).await.unwrap();
            assert_eq!((deletion.kept, deletion.refused), (0, 0));
            if deletion.total() < 10 {
                break;
            }
        }
        let rows = self
            .sql
            .query("SELECT storage_key FROM blob", &[])
            .await
            .unwrap();
        let blobs: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(self.objects(), blobs);
        for table in ["upload", "upload_part", "object_delete"] {
            assert_eq!(
                self.number(&format!("SELECT count(*) FROM {table}")).await,
                0,
                "{table}"
            );
        }
        assert_eq!(std::fs::read_dir(&self.settings.spool).unwrap().count(), 0);
    }
}

/// With patience: a machine that compiles beside the tests is no overload to be told about.
fn router(database: &TestDatabase) -> Router {
    connect(endpoint(database.url()), Vec::new())
}

/// The same by another address.
pub(crate) fn router_by(url: &str) -> Router {
    connect(endpoint(url), Vec::new())
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint::parse(&SecretString::from(url)).unwrap()
}

fn connect(primary: Endpoint, replicas: Vec<Endpoint>) -> Router {
    let acquire = AcquirePolicy {
        read: PATIENCE,
        write: PATIENCE,
        background: PATIENCE,
        ..AcquirePolicy::default()
    };
    let limits = StatementLimits {
        lane: PATIENCE,
        list: PATIENCE,
        write: PATIENCE,
        background: PATIENCE,
        idle_in_transaction: PATIENCE,
    };
    let policy = Policy {
        acquire,
        limits,
        ..Policy::default()
    };
    Router::connect(policy, primary, replicas, Metrics::unregistered(), 7)
}

async fn account(router: &Router, name: &str, superuser: bool) -> Caller {
    let tx = router.begin().await.unwrap();
    let new = NewUser {
        name: name.parse().unwrap(),
        password_hash: StoredPassword::new("$argon2id$none"),
        superuser,
    };
    let id = accounts::create_user(&tx, &new).await.unwrap();
    let _committed = tx.commit().await.unwrap();
    Caller::with_password(Principal::Account {
        id,
        // A new account's.
        generation: 1,
        credential: None,
    })
}

fn s3(bucket: &str) -> S3Settings {
    S3Settings {
        bucket: bucket.to_owned(),
        prefix: String::new(),
        region: Some(S3Server::REGION.to_owned()),
        endpoint: S3Endpoint {
            url: Some(S3.endpoint().parse().unwrap()),
            public_url: None,
            path_style: true,
        },
        credentials: S3Credentials::Static {
            access_key: S3Server::ACCESS_KEY.to_owned(),
            secret_key: S3Server::SECRET_KEY.into(),
        },
        encryption: S3Encryption::BucketDefault,
    }
}

/// Parts as small as a store allows, in several steps.
pub(crate) fn schedule(kind: Kind) -> PartSchedule {
    let unit = unit(kind);
    let step = |through, halves: u64| ScheduleStep {
        through,
        size: unit * halves / 2,
    };
    // S3 takes no part but the last below 5 MiB; a remainder that becomes a part is longer than the last argument.
    PartSchedule::steps(
        vec![step(2, 2), step(4, 3), step(6, 4), step(40, 7)],
        unit * 5 / 4,
    )
}

/// The size of the first part.
pub(crate) fn unit(kind: Kind) -> u64 {
    match kind {
        Kind::Directory => 40_000,
        Kind::S3 => 5 << 20,
    }
}

fn walk(root: &Path, folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            walk(root, &path, found);
        } else {
            found.insert(
                path.strip_prefix(root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
            );
        }
    }
}

pub(crate) fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

/// Bytes that differ everywhere, so that a piece in the wrong place shows.
pub(crate) fn bytes(seed: u64, len: u64) -> Bytes {
    let len = usize::try_from(len).unwrap();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut content = Vec::with_capacity(len + 8);
    while content.len() < len {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(len);
    content.into()
}

pub(crate) fn sha256(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, content)
}

/// How a network cuts a body: pieces of an odd size.
fn pieces(content: &Bytes) -> Vec<Result<Bytes, io::Error>> {
    let size = (content.len() / 7).max(1_001);
    let cut = |start| Ok(content.slice(start..content.len().min(start + size)));
    (0..content.len()).step_by(size).map(cut).collect()
}

/// A body of known length.
pub(crate) fn body(content: &Bytes) -> UploadBody {
    UploadBody::new(stream::iter(pieces(content)), Some(content.len() as u64))
}

/// A body as docker streams it: without a length.
pub(crate) fn streamed(content: &Bytes) -> UploadBody {
    UploadBody::new(stream::iter(pieces(content)), None)
}

/// A body that breaks off after `content`.
pub(crate) fn broken(content: &Bytes) -> UploadBody {
    let mut pieces = pieces(content);
    pieces.push(Err(io::ErrorKind::ConnectionReset.into()));
    UploadBody::new(stream::iter(pieces), None)
}

/// A body that stops after `content` and never ends.
pub(crate) fn stalled(content: &Bytes) -> UploadBody {
    use futures::StreamExt;
    UploadBody::new(stream::iter(pieces(content)).chain(stream::pending()), None)
}

pub(crate) fn range(start: u64, content: &Bytes) -> ContentRange {
    ContentRange {
        start,
        end: start + content.len() as u64 - 1,
    }
}

/// A process as a client sees it, with the repository it pushes to.
pub(crate) struct Client<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) caller: &'a Caller,
    pub(crate) name: RepositoryName,
}

impl Client<'_> {
    pub(crate) async fn start(&self) -> UploadId {
        self.registry
            .start_upload(self.caller, &self.name, None)
            .await
            .unwrap()
            .id
    }

    pub(crate) async fn append(&self, id: UploadId, body: UploadBody) -> Result<u64, Error> {
        let status = self
            .registry
            .append_upload(self.caller, &self.name, id, None, body)
            .await?;
        Ok(status.received)
    }

    pub(crate) async fn append_at(
        &self,
        id: UploadId,
        start: u64,
        content: &Bytes,
    ) -> Result<u64, Error> {
        let range = Some(range(start, content));
        let body = body(content);
        let status = self
            .registry
            .append_upload(self.caller, &self.name, id, range, body)
            .await?;
        Ok(status.received)
    }

    pub(crate) async fn finish(
        &self,
        id: UploadId,
        digest: Digest,
        body: UploadBody,
    ) -> Result<u64, Error> {
        let done = self
            .registry
            .finish_upload(self.caller, &self.name, id, digest, None, body)
            .await?;
        assert_eq!(done.digest, digest);
        Ok(done.size)
    }

    pub(crate) async fn received(&self, id: UploadId) -> Result<u64, Error> {
        Ok(self
            .registry
            .upload_status(self.caller, &self.name, id)
            .await?
            .received)
    }

    /// The blob as a pull gets it.
    pub(crate) async fn pull(&self, digest: Digest) -> Bytes {
        let found = self
            .registry
            .blob(self.caller, &self.name, digest, Purpose::Get)
            .await
            .unwrap();
        let content = match found.source {
            BlobSource::Bytes(content) => content,
            BlobSource::Stored { store, key } => {
                let stream = self.registry.open(store, &key, None).await.unwrap();
                let pieces: Vec<Bytes> = stream.bytes.try_collect().await.unwrap();
                pieces.concat().into()
            }
        };
        assert_eq!(content.len() as u64, found.size);
        content
    }
}

/// Budgets that tell whether all was given back.
pub(crate) fn budgets(settings: &mut UploadSettings, memory: u32) -> ByteBudget {
    settings.memory = ByteBudget::new(memory);
    settings.memory.clone()
}

/// More than the first part and less than all.
pub(crate) fn several_parts(kind: Kind) -> u64 {
    unit(kind) * 5 / 2 + 1_234
}

/// Makes a test of each function for each store.
macro_rules! on_both_stores {
    ($($name:ident)*) => {
        mod directory {
            $(#[tokio::test] async fn $name() { super::$name(super::Kind::Directory).await; })*
        }
        mod s3 {
            $(#[tokio::test] async fn $name() { super::$name(super::Kind::S3).await; })*
        }
    };
}
pub(crate) use on_both_stores;
