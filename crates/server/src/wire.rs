//! Puts the parts together: the configuration becomes handles. Nothing here decides anything else.

use crate::config::{
    ByteSize, Config, Database, Encryption, Freshness, OnPrimaryLoss, PublicUrl, Role, S3, SignUp,
    StoreKind,
};
use crate::layer::Challenger;
use crate::ldap::Directory;
use crate::sso::{self, Sso};
use crate::token::{self, Auth};
use crate::v2;
use crate::web::Mailroom;
use crate::worker::Duties;
use anyhow::Context as _;
use axum::extract::FromRef;
use portolan_auth::{Clock, SystemClock};
use portolan_blobs::{
    BlobStore, ByteBudget, DirectoryStore, PartSchedule, S3Credentials, S3Encryption, S3Endpoint,
    S3Settings, S3Store,
};
use portolan_metadata::stores::{self, NewStore};
use portolan_pg::{Endpoint, FloorPolicy, FreshnessMode, LanePolicy, Policy, Router};
use portolan_registry::identity::{Identity, KeyPolicy};
use portolan_registry::pulls::Pulls;
use portolan_registry::upload::{UploadSettings, Uploads};
use portolan_registry::{Limits, Parts, Registry, SparseImages, Stores};
use rand::rngs::{StdRng, SysRng};
use rand::{Rng as _, SeedableRng as _};
use secrecy::ExposeSecret as _;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

/// What handlers are given; each takes the handle it needs.
#[derive(Debug, Clone)]
pub(crate) struct App {
    /// What a registry does.
    pub(crate) registry: Registry,
    /// Who somebody is.
    pub(crate) auth: Auth,
    /// What a 401 says.
    pub(crate) challenger: Challenger,
    /// The knobs of `/v2`.
    pub(crate) settings: v2::Settings,
    /// Who else may say who somebody is.
    pub(crate) sso: Sso,
    /// Who may make himself an account.
    pub(crate) sign_up: SignUp,
    /// Where mails are sent from.
    pub(crate) mailroom: Mailroom,
}

impl FromRef<App> for Registry {
    fn from_ref(app: &App) -> Self {
        app.registry.clone()
    }
}

impl FromRef<App> for Auth {
    fn from_ref(app: &App) -> Self {
        app.auth.clone()
    }
}

impl FromRef<App> for Challenger {
    fn from_ref(app: &App) -> Self {
        app.challenger.clone()
    }
}

impl FromRef<App> for Sso {
    fn from_ref(app: &App) -> Self {
        app.sso.clone()
    }
}

impl FromRef<App> for SignUp {
    fn from_ref(app: &App) -> Self {
        app.sign_up
    }
}

impl FromRef<App> for Mailroom {
    fn from_ref(app: &App) -> Self {
        app.mailroom.clone()
    }
}

impl FromRef<App> for v2::Settings {
    fn from_ref(app: &App) -> Self {
        app.settings
    }
}

/// Randomness for this process, from the system.
pub(crate) fn random() -> anyhow::Result<StdRng> {
    StdRng::try_from_rng(&mut SysRng).context("the system gives no random numbers")
}

/// The way to Postgres. Nothing is dialled before somebody asks.
pub(crate) fn database(
    config: &Config,
    role: &str,
    metrics: portolan_pg::Metrics,
    random: &mut StdRng,
) -> anyhow::Result<Router> {
    database_with(config, policy(config, role)?, metrics, random)
}

/// The same for a command, which somebody waits for and nobody repeats: where a request is told to come later, it waits.
pub(crate) fn database_for_command(
    config: &Config,
    role: &str,
    random: &mut StdRng,
) -> anyhow::Result<Router> {
    /// As long as background work waits, and longer than a dial may take.
    const PATIENCE: Duration = Duration::from_secs(10);
    let mut policy = policy(config, role)?;
    policy.acquire.read = PATIENCE;
    policy.acquire.write = PATIENCE;
    database_with(config, policy, portolan_pg::Metrics::unregistered(), random)
}

/// The same by another policy than [`policy`].
pub(crate) fn database_with(
    config: &Config,
    policy: Policy,
    metrics: portolan_pg::Metrics,
    random: &mut StdRng,
) -> anyhow::Result<Router> {
    let database = &config.database;
    let primary = database
        .primary
        .as_ref()
        .context("no database is configured")?;
    let primary = Endpoint::parse(primary.secret())?;
    let replicas = database
        .replicas
        .iter()
        .map(|url| Endpoint::parse(url.secret()))
        .collect::<Result<Vec<_>, _>>()?;
    let seed = random.next_u64();
    Ok(Router::connect(policy, primary, replicas, metrics, seed))
}

/// How the configuration wants the databases to be used.
pub(crate) fn policy(config: &Config, role: &str) -> anyhow::Result<Policy> {
    let database = &config.database;
    let mut policy = Policy::default()
        .with_roles(role)
        .with_max(usize::try_from(database.pool.max)?)?
        .with_lanes(
            NonZeroUsize::new(usize::try_from(database.lanes.per_server)?)
                .unwrap_or(NonZeroUsize::MIN),
        )
        // A second address for the primary itself says that the first one is not it.
        .with_pooler(database.direct.is_some())
        .with_processes(processes(config));
    policy.lanes = lanes(database, policy.lanes)?;
    policy.floors = floors(database, policy.floors);
    Ok(policy)
}

fn lanes(database: &Database, defaults: LanePolicy) -> anyhow::Result<LanePolicy> {
    let lanes = &database.lanes;
    Ok(LanePolicy {
        batch_keys: usize::try_from(lanes.batch_keys)?,
        batch_answer_bytes: lanes.batch_bytes.length(),
        queue_keys: usize::try_from(lanes.queue_keys)?,
        queue_bytes: lanes.queue_bytes.length(),
        ..defaults
    })
}

fn floors(database: &Database, defaults: FloorPolicy) -> FloorPolicy {
    let floors = &database.floors;
    FloorPolicy {
        mode: match database.freshness {
            Freshness::Wal => FreshnessMode::Wal,
            Freshness::Beacon => FreshnessMode::Beacon,
            Freshness::ReadIndex => FreshnessMode::ReadIndex,
        },
        period: (floors.poll_min, floors.poll_max),
        stale_after: match database.on_primary_loss {
            OnPrimaryLoss::Stale => Some(database.stale_after),
            OnPrimaryLoss::Fail => None,
        },
        probes_per_second: floors.probes_per_second,
        ..defaults
    }
}

/// How many processes share the database.
pub(crate) fn processes(config: &Config) -> NonZeroU32 {
    NonZeroU32::new(config.database.pool.processes).unwrap_or(NonZeroU32::MIN)
}

/// `registry,api,worker`: what sessions are called after.
pub(crate) fn role_list(config: &Config) -> String {
    let names = config.roles.iter().map(|role| match role {
        Role::Registry => "registry",
        Role::Api => "api",
        Role::Worker => "worker",
    });
    names.collect::<Vec<_>>().join(",")
}

/// The handles that need the database: call it when the schema has been checked.
pub(crate) async fn app(
    config: &Config,
    uploads: Uploads,
    pulls: Pulls,
    logins: token::Metrics,
    router: &Router,
    random: &mut StdRng,
) -> anyhow::Result<App> {
    let stores = open_stores(config, router).await?;
    let limits = Limits {
        manifest_cache_bytes: config.limits.manifest_cache.bytes(),
        small_blob_cache_bytes: config.limits.blob_cache.bytes(),
        max_stale: config.database.max_stale,
        page_max: usize::try_from(config.limits.page)?,
        sparse_images: if config.limits.sparse_images {
            SparseImages::Accept
        } else {
            SparseImages::Refuse
        },
        ..Limits::default()
    };
    let registry = Registry::new(Parts {
        router: router.clone(),
        stores,
        limits,
        uploads,
        pulls: pulls.clone(),
        random: StdRng::from_rng(random),
    });
    let seal = key_policy(config)?.seal;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let sso = Sso::new(sso::Parts {
        config,
        identity: Identity::new(router.clone()),
        seal: Arc::clone(&seal),
        clock: Arc::clone(&clock),
        random: StdRng::from_rng(random),
    })?;
    let directory = Directory::new(&config.ldap, &seal, Arc::clone(&clock))?;
    let auth = Auth::start(token::Parts {
        router: router.clone(),
        seal,
        service: config.tokens.service.as_str().into(),
        lifetime: config.tokens.lifetime,
        max_stale: config.database.max_stale,
        login: config.login.clone(),
        processes: processes(config),
        clock,
        sso: sso.clone(),
        directory,
        pulls,
        metrics: logins,
        random: StdRng::from_rng(random),
    })
    .await?;
    let public_url = config.http.public_url.as_ref();
    let mailroom = Mailroom::new(
        &config.mail,
        public_url.map(PublicUrl::base),
        registry.identity(),
        StdRng::from_rng(random),
    )?;
    let settings = v2::Settings {
        manifest_max: config.limits.manifest.length(),
        manifest_deadline: config.http.bounds.body_pause,
        redirect: if config.storage.redirect {
            v2::Redirect::Presigned
        } else {
            v2::Redirect::Never
        },
        ..v2::Settings::default()
    };
    Ok(App {
        registry,
        challenger: auth.challenger().clone(),
        auth,
        settings,
        sso,
        sign_up: config.accounts.sign_up,
        mailroom,
    })
}

/// How signing keys follow each other, and what they are sealed with.
pub(crate) fn key_policy(config: &Config) -> anyhow::Result<KeyPolicy> {
    let seal = config.secrets.seal_key()?;
    let rotation = config.tokens.key_rotation;
    Ok(KeyPolicy {
        seal: Arc::new(seal.context("`secrets.key` is not set")?),
        lifetime: config.tokens.lifetime,
        rotation: (!rotation.is_zero()).then_some(rotation),
    })
}

/// What jobs need beside the registry.
pub(crate) fn duties(config: &Config, router: &Router) -> anyhow::Result<Duties> {
    Ok(Duties {
        identity: Identity::new(router.clone()),
        keys: key_policy(config)?,
        retention: config.audit.kept_for(),
    })
}

/// How uploads are taken in.
pub(crate) fn uploads(config: &Config) -> anyhow::Result<Uploads> {
    let uploads = &config.storage.uploads;
    let spool = uploads.spool.clone().unwrap_or_else(std::env::temp_dir);
    let budget = |size: ByteSize| u32::try_from(size.bytes()).map(ByteBudget::new);
    let mut settings = UploadSettings::new(spool);
    settings.memory = budget(uploads.memory)?;
    settings.spool_space = budget(uploads.spool_space)?;
    settings.time_to_live = uploads.expire;
    settings.pace.idle = config.http.bounds.body_pause;
    if let Some(size) = uploads.part_size {
        settings.schedule = PartSchedule::uniform(size.bytes());
    }
    Ok(Uploads::new(settings))
}

/// The row of the one store that is configured.
const STORE: &str = "default";

async fn open_stores(config: &Config, router: &Router) -> anyhow::Result<Stores> {
    let s3 = &config.storage.s3;
    let kind = config.storage.kind.context("`storage.kind` is not set")?;
    let new = match kind {
        StoreKind::Directory => NewStore {
            name: STORE,
            kind: stores::StoreKind::Directory,
            bucket: "",
            prefix: "",
            endpoint: "",
        },
        StoreKind::S3 => NewStore {
            name: STORE,
            kind: stores::StoreKind::S3,
            bucket: s3.bucket.as_deref().unwrap_or_default(),
            prefix: s3.prefix.as_deref().unwrap_or_default(),
            endpoint: s3.endpoint.as_deref().unwrap_or_default(),
        },
    };
    let tx = router.begin().await?;
    let id = stores::ensure(&tx, &new).await?;
    router.acknowledge(tx.commit().await?).await?;
    let store = store(config).await?;
    Ok(Stores::single(id, store))
}

/// The configured store.
pub(crate) async fn store(config: &Config) -> anyhow::Result<Arc<dyn BlobStore>> {
    let kind = config.storage.kind.context("`storage.kind` is not set")?;
    Ok(match kind {
        StoreKind::Directory => {
            let path = config.storage.directory.path.clone();
            let path = path.context("`storage.directory.path` is not set")?;
            let open = tokio::task::spawn_blocking(move || DirectoryStore::open(&path)).await?;
            Arc::new(open.context("cannot open the folder of blobs")?)
        }
        StoreKind::S3 => Arc::new(S3Store::connect(s3_settings(&config.storage.s3)?).await),
    })
}

fn s3_settings(s3: &S3) -> anyhow::Result<S3Settings> {
    let uri = |url: &Option<String>| url.as_ref().map(|url| url.parse()).transpose();
    let credentials = match (&s3.access_key, &s3.secret_key) {
        (Some(access_key), Some(secret_key)) => S3Credentials::Static {
            access_key: access_key.clone(),
            secret_key: secret_key.expose_secret().into(),
        },
        _ => S3Credentials::Ambient,
    };
    Ok(S3Settings {
        bucket: s3
            .bucket
            .clone()
            .context("`storage.s3.bucket` is not set")?,
        prefix: s3.prefix.clone().unwrap_or_default(),
        region: s3.region.clone(),
        endpoint: S3Endpoint {
            url: uri(&s3.endpoint)?,
            public_url: uri(&s3.public_endpoint)?,
            path_style: s3.path_style,
        },
        credentials,
        encryption: match s3.encryption {
            None => S3Encryption::BucketDefault,
            Some(Encryption::Aes256) => S3Encryption::Aes256,
            Some(Encryption::Kms) => S3Encryption::Kms {
                key: s3.kms_key.clone(),
            },
        },
    })
}
