//! The running registry for tests: the real binary against a real Postgres and a real store.

use portolan_testkit::chaos_proxy::ChaosProxy;
use portolan_testkit::children::{Guarded, eventually, run, wait_for};
use portolan_testkit::client::{Answer, Client};
use portolan_testkit::folder::Folder;
use portolan_testkit::image::{Blob, Image, ManifestFile};
use portolan_testkit::pg_cluster::{PgCluster, TestDatabase};
use portolan_testkit::s3_server::S3Server;
use std::fmt::Display;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::OnceCell;

/// The administrator that every registry of the tests has.
pub(crate) const ADMIN: &str = "admin";
pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// 32 bytes in base64; nothing is secret here.
pub(crate) const SEAL: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Where blobs go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// A folder.
    Directory,
    /// A bucket of the test binary's S3 server.
    S3,
}

/// A running registry with a database and a store of its own. Killed when it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct TestApp {
    server: Guarded,
    address: SocketAddr,
    private: SocketAddr,
    environment: Vec<(String, String)>,
    database: TestDatabase,
    /// Of the process: its log, and the blobs of the first process of a registry.
    folder: Folder,
    blobs: PathBuf,
    bucket: Option<String>,
}

/// What a registry is started with.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    store: Store,
    settings: Vec<(String, String)>,
}

impl Options {
    /// Adds a setting, by the name of its variable without `PORTOLAN_`.
    pub(crate) fn with(mut self, name: &str, value: impl Display) -> Self {
        self.settings
            .push((format!("PORTOLAN_{name}"), value.to_string()));
        self
    }

    /// Starts the registry and waits until it is ready.
    pub(crate) async fn start(self) -> TestApp {
        let database = PgCluster::shared()
            .create_database_from(template().await.name())
            .await;
        let url = database.url().to_owned();
        TestApp::launch(self, database, &url)
    }

    /// Starts the registry over a database that has been migrated, and that it reaches at `url`.
    pub(crate) fn start_over(self, database: TestDatabase, url: &str) -> TestApp {
        TestApp::launch(self, database, url)
    }

    /// Starts it with a proxy on the way to its database. The test needs a runtime of many threads, since
    /// the proxy lives in it.
    pub(crate) async fn start_behind_a_proxy(self) -> (TestApp, ChaosProxy) {
        let cluster = PgCluster::shared();
        let database = cluster.create_database_from(template().await.name()).await;
        let proxy = ChaosProxy::start(cluster.primary().address()).await;
        let url = proxy.through(database.url());
        (TestApp::launch(self, database, &url), proxy)
    }
}

/// A migrated database that others are copies of.
pub(crate) async fn template() -> &'static TestDatabase {
    static TEMPLATE: OnceCell<TestDatabase> = OnceCell::const_new();
    TEMPLATE
        .get_or_init(|| async {
            let database = PgCluster::shared().create_database().await;
            let variables = [(
                "PORTOLAN_DATABASE__PRIMARY".to_owned(),
                database.url().to_owned(),
            )];
            run(command(&variables).args(["migrate", "up"]));
            database
        })
        .await
}

/// The binary with these variables and no others.
pub(crate) fn command(environment: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    let inherited = ["PATH", "HOME", "TMPDIR", "RUST_BACKTRACE"];
    let kept = inherited
        .iter()
        .filter_map(|name| Some((*name, std::env::var_os(name)?)));
    command
        .env_clear()
        .envs(kept)
        .envs(environment.iter().cloned());
    command
}

fn s3_server() -> &'static S3Server {
    static SHARED: OnceLock<S3Server> = OnceLock::new();
    SHARED.get_or_init(S3Server::start)
}

/// A number that no other caller in this process gets.
pub(crate) fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The name of a repository that no other test uses.
pub(crate) fn repository(about: &str) -> String {
    format!("{about}/r{}", unique())
}

/// Ports that were free a moment ago.
pub(crate) fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    let bind = || TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listeners: [TcpListener; N] = std::array::from_fn(|_| bind());
    listeners.map(|listener| {
        listener
            .local_addr()
            .expect("a bound socket has an address")
    })
}

impl TestApp {
    /// The registry that tests share which need no one of their own. Use [`repository`] for names.
    pub(crate) async fn shared() -> &'static Self {
        static SHARED: OnceCell<TestApp> = OnceCell::const_new();
        SHARED
            .get_or_init(|| Self::options(Store::Directory).start())
            .await
    }

    /// The same over S3.
    pub(crate) async fn shared_s3() -> &'static Self {
        static SHARED: OnceCell<TestApp> = OnceCell::const_new();
        SHARED
            .get_or_init(|| Self::options(Store::S3).start())
            .await
    }

    /// Options for a registry of one's own.
    pub(crate) fn options(store: Store) -> Options {
        Options {
            store,
            settings: Vec::new(),
        }
    }

    /// A registry of one's own over a folder.
    pub(crate) async fn start() -> Self {
        Self::options(Store::Directory).start().await
    }

    fn launch(options: Options, database: TestDatabase, url: &str) -> Self {
        let folder = Folder::new("portolan-it-");
        let bucket = (options.store == Store::S3).then(|| {
            let bucket = format!("bucket-{}", unique());
            s3_server().create_bucket(&bucket);
            bucket
        });
        let mut environment = vec![
            ("PORTOLAN_DATABASE__PRIMARY".to_owned(), url.to_owned()),
            ("PORTOLAN_SECRETS__KEY".to_owned(), SEAL.to_owned()),
            ("PORTOLAN_ADMIN__USERNAME".to_owned(), ADMIN.to_owned()),
            ("PORTOLAN_ADMIN__PASSWORD".to_owned(), PASSWORD.to_owned()),
            ("PORTOLAN_HTTP__DRAIN__DELAY".to_owned(), "0s".to_owned()),
            ("PORTOLAN_LOG__LEVEL".to_owned(), "info".to_owned()),
        ];
        let blobs = folder.path().join("blobs");
        environment.extend(storage(&blobs, bucket.as_deref()));
        environment.extend(options.settings);
        let (server, address, private) = serve(&environment, folder.path());
        Self {
            server,
            address,
            private,
            environment,
            database,
            folder,
            blobs,
            bucket,
        }
    }

    /// Another process of the same registry.
    pub(crate) fn another(&self) -> Self {
        let folder = Folder::new("portolan-it-");
        let environment = self.environment.clone();
        let (server, address, private) = serve(&environment, folder.path());
        let (database, blobs) = (self.database.clone(), self.blobs.clone());
        let bucket = self.bucket.clone();
        Self {
            server,
            address,
            private,
            environment,
            database,
            folder,
            blobs,
            bucket,
        }
    }

    /// Without credentials.
    pub(crate) fn anonymous(&self) -> Client {
        Client::new(self.address)
    }

    /// The administrator, by password.
    pub(crate) fn admin(&self) -> Client {
        self.anonymous().basic(ADMIN, PASSWORD)
    }

    /// A new account without any right but in its own namespace, which is its name.
    pub(crate) fn user(&self, name: &str) -> Client {
        let mut child = self
            .command()
            .args(["admin", "user", "create", name, "--password-file", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let mut stdin = child.stdin.take().expect("it is piped");
        std::io::Write::write_all(&mut stdin, PASSWORD.as_bytes()).expect("it reads");
        drop(stdin);
        assert!(
            child.wait().expect("it ends").success(),
            "no account `{name}`"
        );
        self.anonymous().basic(name, PASSWORD)
    }

    /// Makes a repository public.
    pub(crate) fn publish(&self, repository: &str) {
        run(self
            .command()
            .args(["admin", "repository", "visibility", repository, "public"]));
    }

    /// A token for these scopes, as clients get one.
    pub(crate) async fn token(&self, client: &Client, scopes: &[&str]) -> String {
        let mut target = "/v2/auth?service=portolan".to_owned();
        for scope in scopes {
            target.extend(["&scope=", scope]);
        }
        let answer = client.get(&target).await.expect(200);
        answer.json()["token"].as_str().expect("a token").to_owned()
    }

    /// This binary with this registry's configuration.
    pub(crate) fn command(&self) -> Command {
        command(&self.environment)
    }

    /// The public address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its database.
    pub(crate) fn database(&self) -> &TestDatabase {
        &self.database
    }

    /// The server process.
    pub(crate) fn server(&self) -> &Guarded {
        &self.server
    }

    /// The private address.
    pub(crate) fn private(&self) -> SocketAddr {
        self.private
    }

    /// Waits until the server has ended.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.server.wait()
    }

    /// Ends the server as the end of its machine would.
    pub(crate) fn kill(&mut self) {
        self.server.signal(rustix::process::Signal::KILL);
        self.server.wait();
    }

    /// Starts it again over what is left, on another port.
    pub(crate) fn restart(&mut self) {
        (self.server, self.address, self.private) = serve(&self.environment, self.folder.path());
    }

    /// How many multipart uploads the store holds that are neither completed nor aborted.
    pub(crate) fn unfinished_uploads(&self) -> usize {
        self.bucket
            .as_ref()
            .map_or(0, |bucket| s3_server().unfinished(bucket))
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("the log is a file")
    }

    /// The keys of all stored objects.
    pub(crate) fn objects(&self) -> Vec<String> {
        match &self.bucket {
            Some(bucket) => s3_server().objects(bucket).into_iter().collect(),
            None => files(&self.blobs),
        }
    }

    /// What was asked of the store so far; S3 only.
    pub(crate) fn store_requests(&self) -> Vec<String> {
        s3_server().requests(self.bucket.as_deref().expect("a registry over S3"))
    }

    /// One number from the database.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        let session = self.database.session().await;
        session
            .query_one(sql, &[])
            .await
            .expect("a statement that counts")
            .get(0)
    }

    /// The value of a metric line that begins with `name`, all its label sets added up.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = Client::new(self.private)
            .get("/metrics")
            .await
            .expect(200)
            .body;
        let text = String::from_utf8(text.to_vec()).expect("metrics are text");
        let line = |line: &str| {
            let (label, value) = line.rsplit_once(' ')?;
            (label == name || label.starts_with(&format!("{name}{{")))
                .then(|| value.parse::<f64>().ok())?
        };
        text.lines().filter_map(line).sum()
    }

    /// Waits until no request holds a connection, and fails where that never comes: for the end of a test
    /// with a registry of its own.
    pub(crate) async fn settled(&self) {
        eventually("no connection is in use", || async {
            self.metric("portolan_pg_connections_in_use").await == 0.0
        })
        .await;
    }
}

fn storage(blobs: &Path, bucket: Option<&str>) -> Vec<(String, String)> {
    let settings: Vec<(&str, String)> = match bucket {
        None => vec![
            ("KIND", "directory".to_owned()),
            ("DIRECTORY__PATH", blobs.display().to_string()),
        ],
        Some(bucket) => vec![
            ("KIND", "s3".to_owned()),
            ("S3__BUCKET", bucket.to_owned()),
            ("S3__ENDPOINT", s3_server().endpoint()),
            ("S3__REGION", S3Server::REGION.to_owned()),
            ("S3__ACCESS_KEY", S3Server::ACCESS_KEY.to_owned()),
            ("S3__SECRET_KEY", S3Server::SECRET_KEY.to_owned()),
            ("S3__PATH_STYLE", "true".to_owned()),
        ],
    };
    settings
        .into_iter()
        .map(|(name, value)| (format!("PORTOLAN_STORAGE__{name}"), value))
        .collect()
}

/// How often a port that was free is taken by somebody else before we give up.
const ATTEMPTS: u32 = 5;

fn serve(environment: &[(String, String)], folder: &Path) -> (Guarded, SocketAddr, SocketAddr) {
    for _ in 0..ATTEMPTS {
        let [address, private] = free_addresses();
        let log = File::create(folder.join("log")).expect("a file in our own folder");
        let mut command = command(environment);
        command
            .arg("serve")
            .env("PORTOLAN_HTTP__LISTEN", address.to_string())
            .env("PORTOLAN_HTTP__PRIVATE_LISTEN", private.to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("an open file"))
            .stderr(log);
        let mut server = Guarded::spawn("portolan serve", &mut command);
        let ready = wait_for("the registry to be ready", || {
            if server.ended().is_some() {
                return Some(false);
            }
            is_ready(private).then_some(true)
        });
        if ready {
            return (server, address, private);
        }
    }
    panic!(
        "no registry:\n{}",
        fs::read_to_string(folder.join("log")).unwrap_or_default()
    );
}

/// Blocking, because a registry is started from inside of every test's own runtime.
pub(crate) fn is_ready(private: SocketAddr) -> bool {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = std::net::TcpStream::connect(private) else {
        return false;
    };
    let request = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(
                    path.strip_prefix(folder)
                        .expect("it is inside")
                        .display()
                        .to_string(),
                );
            }
        }
    }
    found.sort();
    found
}

/// Pushes a blob in one request.
#[track_caller]
pub(crate) fn push_blob(
    client: &Client,
    repository: &str,
    blob: &Blob,
) -> impl Future<Output = ()> {
    let target = format!("/v2/{repository}/blobs/uploads/?digest={}", blob.digest);
    let asking = (client.clone(), blob.content.clone());
    async move {
        let (client, content) = asking;
        client
            .request(http::Method::POST, &target)
            .body(content)
            .send()
            .await
            .expect(201);
    }
}

/// Pushes a manifest under a tag or its digest.
pub(crate) async fn push_manifest(
    client: &Client,
    repository: &str,
    reference: &str,
    manifest: &ManifestFile,
) -> Answer {
    let target = format!("/v2/{repository}/manifests/{reference}");
    put_manifest(client, &target, manifest).await.expect(201)
}

/// Sends a manifest, whatever the answer.
pub(crate) async fn put_manifest(client: &Client, target: &str, manifest: &ManifestFile) -> Answer {
    client
        .request(http::Method::PUT, target)
        .header("content-type", &manifest.media_type)
        .body(manifest.payload.clone())
        .send()
        .await
}

/// Pushes an image with its blobs.
pub(crate) async fn push(client: &Client, repository: &str, tag: &str, image: &Image) {
    for blob in image.blobs() {
        push_blob(client, repository, blob).await;
    }
    push_manifest(client, repository, tag, &image.manifest).await;
}
