//! A real Postgres for tests: one primary per test binary, a database per test, and streaming replicas on demand.
//!
//! Built from the installed binaries. A test that needs the server to misbehave starts its own with
//! [`PgCluster::start`]; all others share one with [`PgCluster::shared`]. Starting, stopping and promoting block the
//! thread: call them from a multi-thread runtime if something else must go on meanwhile.

mod binaries;
mod database;
mod follow;
mod part;
mod pooler;
mod replica;
mod server;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use self::{
    binaries::Binaries,
    server::{Settings, Stop},
};
pub use self::{
    database::{Session, TestDatabase},
    part::{Frozen, Part},
    pooler::PgBouncer,
    replica::PgReplica,
    server::PgServer,
};
use crate::children::{Watchdog, run};

/// Stops every server under `$1` at once and removes the folder. A server that was killed has its `postmaster.pid`
/// removed by us, so what is left names one of ours.
const CLEAN_UP: &str = r#"
for pidfile in "$1"/*/postmaster.pid; do
  [ -f "$pidfile" ] && kill -QUIT "$(head -n 1 "$pidfile")" 2>/dev/null
done
tries=0
while ls "$1"/*/postmaster.pid >/dev/null 2>&1 && [ $tries -lt 50 ]; do
  tries=$((tries + 1)); sleep 0.1
done
for pidfile in "$1"/*/postmaster.pid; do
  [ -f "$pidfile" ] && kill -KILL "$(head -n 1 "$pidfile")" 2>/dev/null
done
rm -rf "$1"
"#;

/// The certificate, in PEM, of an authority whose key nobody has; it signed the one of [`PgOptions::with_tls`]. Both are
/// valid from 2020 to 2120.
pub const TLS_AUTHORITY: &str = include_str!("pg_cluster/tls/authority.pem");

/// How a cluster is started.
#[derive(Debug, Clone, Default)]
pub struct PgOptions {
    durable: bool,
    settings: Vec<(String, String)>,
    files: Vec<(&'static str, &'static str)>,
    stranger: bool,
}

impl PgOptions {
    /// Has a system identifier of its own: all other clusters of a process share one.
    #[must_use]
    pub fn stranger(mut self) -> Self {
        self.stranger = true;
        self
    }

    /// Waits for the disk at each commit, as production does: for tests that kill the machine's Postgres. Off by
    /// default, because tests need speed and the kernel survives them.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Adds a setting, as in `postgresql.conf`, to the primary and the replicas.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts a file, readable to the server alone, into the data folder; the folder of relative paths in settings.
    #[must_use]
    pub fn with_file(mut self, name: &'static str, content: &'static str) -> Self {
        self.files.push((name, content));
        self
    }

    /// Speaks TLS as `localhost`, with a certificate that [`TLS_AUTHORITY`] vouches for.
    #[must_use]
    pub fn with_tls(self) -> Self {
        self.with_file("server.crt", include_str!("pg_cluster/tls/server.pem"))
            .with_file("server.key", include_str!("pg_cluster/tls/server.key"))
            .with("ssl", "on")
    }

    /// Writes into the log what `pg_rewind` needs, so that a server can follow one that took over from it:
    /// [`PgServer::follow`]. Off by default, because it makes the log several times as long.
    #[must_use]
    pub fn rewindable(self) -> Self {
        self.with("wal_log_hints", "on")
            .with("full_page_writes", "on")
    }

    /// Starts the cluster.
    pub fn start(self) -> PgCluster {
        PgCluster::start_with(self)
    }
}

/// A primary in a folder of its own. Stopped, and the folder removed, when this is dropped or the process ends.
#[derive(Debug)]
pub struct PgCluster {
    // Dropped in this order: the server is stopped, then the folder removed.
    primary: PgServer,
    options: PgOptions,
    binaries: Binaries,
    databases: AtomicUsize,
    replicas: AtomicUsize,
    poolers: AtomicUsize,
    folder: PathBuf,
    _watchdog: Watchdog,
}

impl PgCluster {
    /// The cluster of this test process, started by the first who asks.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<PgCluster> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A cluster of one's own, with the default options.
    pub fn start() -> Self {
        Self::start_with(PgOptions::default())
    }

    /// Options for a cluster of one's own.
    pub fn options() -> PgOptions {
        PgOptions::default()
    }

    fn start_with(options: PgOptions) -> Self {
        let binaries = Binaries::find();
        let folder = new_folder(&binaries);
        let watchdog = Watchdog::start(CLEAN_UP, &folder);
        let data = folder.join("primary");
        if options.stranger {
            init(&binaries, &data);
        } else {
            run(binaries
                .command_of("/bin/cp")
                .arg("--archive")
                .arg(Pristine::of(&binaries).join("data"))
                .arg(&data));
        }
        for (name, content) in &options.files {
            binaries.write(&data.join(name), content);
        }
        let settings = Settings::new(options.durable, &options.settings);
        let primary = PgServer::start(&binaries, data, settings);
        Self {
            primary,
            options,
            binaries,
            databases: AtomicUsize::new(0),
            replicas: AtomicUsize::new(0),
            poolers: AtomicUsize::new(0),
            folder,
            _watchdog: watchdog,
        }
    }

    /// The primary.
    pub fn primary(&self) -> &PgServer {
        &self.primary
    }

    /// Creates an empty database.
    pub async fn create_database(&self) -> TestDatabase {
        self.create_database_from("template1").await
    }

    /// Creates a copy of the database `template`, to which nobody may be connected.
    pub async fn create_database_from(&self, template: &str) -> TestDatabase {
        self.create(&format!("TEMPLATE \"{template}\"")).await
    }

    /// Creates an empty database of another locale than the cluster's, which is `C`.
    pub async fn create_database_of(&self, locale: &str) -> TestDatabase {
        self.create(&format!("TEMPLATE template0 LOCALE '{locale}'"))
            .await
    }

    async fn create(&self, like: &str) -> TestDatabase {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        database::create(&self.primary, &name, like).await;
        TestDatabase::new(&self.primary, name)
    }

    /// Starts a streaming replica of the primary, from a base backup taken now. Blocks the thread.
    pub fn add_replica(&self) -> PgReplica {
        let number = self.replicas.fetch_add(1, Ordering::Relaxed);
        let data = self.folder.join(format!("replica{number}"));
        run(self
            .binaries
            .command("pg_basebackup")
            .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
            .arg("--dbname")
            .arg(self.primary.conninfo(&format!("replica{number}")))
            .arg("--pgdata")
            .arg(&data));
        let settings = Settings::new(self.options.durable, &self.options.settings);
        PgReplica::new(PgServer::start(&self.binaries, data, settings))
    }

    /// Starts a transaction pooler in front of `server`, or of a proxy to it. Those who come through it call themselves
    /// `postgres` or one of `users`.
    pub fn start_pooler(&self, server: SocketAddr, users: &[&str]) -> PgBouncer {
        let number = self.poolers.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.join(format!("pooler{number}"));
        PgBouncer::start(&self.binaries, folder, server, users)
    }

    /// Stops the primary: waits for nobody, but writes what it has to.
    pub fn shutdown(&self) {
        self.primary.stop(Stop::Fast);
    }

    /// Stops the primary and starts it again on the same port.
    pub fn restart(&self) {
        self.primary.stop(Stop::Fast);
        self.primary.start_again();
    }

    /// Kills the primary as a power cut would; [`PgServer::start_again`] recovers it.
    pub fn kill9(&self) {
        self.primary.stop(Stop::Kill);
    }

    /// Runs one of Postgres's programs, such as `pg_rewind`, as the servers' user.
    pub fn command(&self, program: &str) -> Command {
        self.binaries.command(program)
    }

    /// The folder that holds the data folders.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// A data folder as `initdb` makes it, made once in a process and copied for each cluster: a quarter of the time. All
/// clusters of a process therefore have the same system identifier.
#[derive(Debug)]
struct Pristine {
    folder: PathBuf,
    _watchdog: Watchdog,
}

impl Pristine {
    fn of(binaries: &Binaries) -> &'static Path {
        static PRISTINE: OnceLock<Pristine> = OnceLock::new();
        let pristine = PRISTINE.get_or_init(|| {
            let folder = new_folder(binaries);
            let watchdog = Watchdog::start(CLEAN_UP, &folder);
            init(binaries, &folder.join("data"));
            Self {
                folder,
                _watchdog: watchdog,
            }
        });
        &pristine.folder
    }
}

fn init(binaries: &Binaries, data: &Path) {
    run(binaries
        .command("initdb")
        .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
        .args(["--locale=C", "--no-sync", "--no-instructions", "-D"])
        .arg(data));
}

/// A new folder that the servers' user owns.
fn new_folder(binaries: &Binaries) -> PathBuf {
    // Not the system's choice of temporary folder: a socket's path may have at most 107 bytes.
    let folder = tempfile::Builder::new()
        .prefix("portolan-pg-")
        .tempdir_in("/tmp")
        .expect("a folder can be made in /tmp")
        .keep();
    binaries.own(&folder);
    folder
}
