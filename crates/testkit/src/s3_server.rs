//! A real S3 server for tests: versitygw over a folder of its own.
//!
//! It listens on a free port of the loopback, keeps objects as plain files (so a test can count
//! what is left without asking the server), and ends when it is dropped or when the test process
//! dies, however it dies.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::children::{Guarded, wait_for};
use crate::folder::Folder;

/// The version the tests were written against.
const INSTALL: &str = "go install github.com/versity/versitygw/cmd/versitygw@v1.8.0";
/// Names the binary where it is in none of the usual places.
const BINARY_VARIABLE: &str = "PORTOLAN_TEST_VERSITYGW";
/// For one connection on the loopback.
const CONNECT_TIME: Duration = Duration::from_secs(1);
/// A port found free may be taken before the server binds it.
const START_ATTEMPTS: u32 = 5;
/// Where versitygw keeps what is unfinished, inside a bucket's folder.
const UNFINISHED: &str = ".sgwtmp";

/// A running server.
#[derive(Debug)]
pub struct S3Server {
    // Dropped in this order: first the server ends, then its folder goes.
    _server: Guarded,
    folder: Folder,
    address: SocketAddr,
}

impl S3Server {
    /// The access key of every server.
    pub const ACCESS_KEY: &'static str = "portolan-test";
    /// The secret key of every server.
    pub const SECRET_KEY: &'static str = "portolan-test-secret";
    /// The region it is in.
    pub const REGION: &'static str = "us-east-1";

    /// Starts a server and waits until it answers.
    ///
    /// # Panics
    /// When the binary is missing (the message says how to get it) or does not start.
    pub fn start() -> Self {
        let binary = binary();
        let folder = Folder::new("portolan-s3-");
        for name in ["data", "meta"] {
            fs::create_dir(folder.path().join(name)).expect("the folder is ours");
        }
        for _ in 0..START_ATTEMPTS {
            let address = free_address();
            let mut server = launch(&binary, folder.path(), address);
            if answers(address, &mut server) {
                return Self {
                    _server: server,
                    folder,
                    address,
                };
            }
        }
        let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        panic!("`{}` does not start:\n{log}", binary.display());
    }

    /// The address, like `http://127.0.0.1:34567`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address without a scheme, for a proxy in front of it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes an empty bucket.
    pub fn create_bucket(&self, name: &str) {
        fs::create_dir(self.bucket(name)).expect("each test names buckets of its own");
    }

    /// The keys of all objects in a bucket.
    pub fn objects(&self, bucket: &str) -> BTreeSet<String> {
        let root = self.bucket(bucket);
        let mut files = Vec::new();
        walk(&root, &mut files);
        let key = |file: &PathBuf| {
            file.strip_prefix(&root)
                .ok()
                .and_then(Path::to_str)
                .map(str::to_owned)
        };
        files
            .iter()
            .filter_map(key)
            .filter(|key| !key.starts_with(UNFINISHED))
            .collect()
    }

    /// How many multipart uploads of a bucket are begun and neither completed nor aborted.
    pub fn unfinished(&self, bucket: &str) -> usize {
        let keys = entries(&self.bucket(bucket).join(UNFINISHED).join("multipart"));
        keys.iter().map(|key| entries(key).len()).sum()
    }

    /// What was asked of a bucket so far: method and path with query, in order.
    pub fn requests(&self, bucket: &str) -> Vec<String> {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let path = format!("/{bucket}");
        // 01:19:24 | vgw | 200 | 367.737µs | 127.0.0.1 | POST | /bucket/key | - | uploads=
        let parse = |line: &str| {
            let fields: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, _, _, _, _, method, target, _, query] = fields.as_slice() else {
                return None;
            };
            let within = target.strip_prefix(&path)?;
            (within.is_empty() || within.starts_with('/')).then(|| {
                format!("{method} {within}?{query}")
                    .trim_end_matches('?')
                    .to_owned()
            })
        };
        log.lines().filter_map(parse).collect()
    }

    fn bucket(&self, name: &str) -> PathBuf {
        self.folder.path().join("data").join(name)
    }
}

fn binary() -> PathBuf {
    let named = std::env::var_os(BINARY_VARIABLE).map(PathBuf::from);
    let in_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .map(|folder| folder.join("versitygw"));
    let in_go = std::env::home_dir().map(|home| home.join("go/bin/versitygw"));
    named
        .into_iter()
        .chain(in_path)
        .chain(in_go)
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| {
            panic!("the S3 tests need versitygw; install it with\n\n    {INSTALL}\n")
        })
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback has a free port");
    listener
        .local_addr()
        .expect("a bound socket has an address")
}

fn launch(binary: &Path, folder: &Path, address: SocketAddr) -> Guarded {
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .expect("the folder is ours");
    let errors = log.try_clone().expect("a file can be shared");
    let mut command = Command::new(binary);
    command
        .args([
            "--keep-alive",
            "--port",
            &address.to_string(),
            "--region",
            S3Server::REGION,
        ])
        .args(["posix", "--sidecar"])
        .args([folder.join("meta"), folder.join("data")])
        .env("ROOT_ACCESS_KEY", S3Server::ACCESS_KEY)
        .env("ROOT_SECRET_KEY", S3Server::SECRET_KEY)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors);
    Guarded::spawn("versitygw", &mut command)
}

/// Waits until the server takes connections; false when it has ended instead.
fn answers(address: SocketAddr, server: &mut Guarded) -> bool {
    wait_for("versitygw to answer", || {
        if TcpStream::connect_timeout(&address, CONNECT_TIME).is_ok() {
            return Some(true);
        }
        server.ended().map(|_| false)
    })
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).into_iter().flatten().flatten();
    read.map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, files);
        } else {
            files.push(path);
        }
    }
}
