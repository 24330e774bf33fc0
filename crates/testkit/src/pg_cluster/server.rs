//! One running Postgres: started, stopped, killed, and asked where it is.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use std::os::unix::process::CommandExt;

use rustix::process::Signal;

use super::binaries::Binaries;
use crate::children::{signal_process, wait_for};

/// What every server is started with, and what the test added.
#[derive(Debug, Clone)]
pub(super) struct Settings(Vec<(String, String)>);

impl Settings {
    pub(super) fn new(durable: bool, extra: &[(String, String)]) -> Self {
        let on = if durable { "on" } else { "off" };
        let mut settings: Vec<(String, String)> = [
            ("listen_addresses", "127.0.0.1"),
            ("fsync", on),
            ("full_page_writes", on),
            // Tests of several crates run side by side, each test with a pool of eight.
            ("max_connections", "300"),
            ("shared_buffers", "64MB"),
            ("wal_level", "replica"),
            ("max_wal_senders", "10"),
            // A replica that a test stopped must find the log where it left it.
            ("wal_keep_size", "256MB"),
            ("hot_standby", "on"),
            ("log_connections", "on"),
            ("log_line_prefix", "%m [%p] %q%a "),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        settings.extend_from_slice(extra);
        Self(settings)
    }
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Ends the sessions and writes a checkpoint.
    Fast,
    /// Ends at once; recovers at the next start.
    Immediate,
    /// `kill -9`.
    Kill,
}

/// One Postgres process with its data folder and port.
#[derive(Debug)]
pub struct PgServer {
    binaries: Binaries,
    data: PathBuf,
    settings: Settings,
    port: u16,
    process: Mutex<Option<Child>>,
}

impl PgServer {
    pub(super) fn start(binaries: &Binaries, data: PathBuf, settings: Settings) -> Self {
        let mut server = Self {
            binaries: binaries.clone(),
            data,
            settings,
            port: 0,
            process: Mutex::new(None),
        };
        // Between our look and its bind somebody else may take the port.
        for _ in 0..5 {
            server.port = free_port();
            if server.try_start() {
                return server;
            }
        }
        panic!("postgres does not start:\n{}", server.log());
    }

    /// Starts it again, on the same port, after [`PgServer::stop`]. Blocks until it answers.
    pub fn start_again(&self) {
        assert!(self.try_start(), "postgres does not start:\n{}", self.log());
    }

    fn try_start(&self) -> bool {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("the folder can be written to");
        let mut command = self.binaries.command("postgres");
        command.arg("-D").arg(&self.data);
        command.arg("-c").arg(format!("port={}", self.port));
        command.arg("-c").arg(format!(
            "unix_socket_directories={}",
            self.socket_folder().display()
        ));
        for (name, value) in &self.settings.0 {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be opened twice"))
            .stderr(log)
            // A Ctrl-C in the terminal is the watchdog's to handle.
            .process_group(0)
            .spawn()
            .expect("postgres can be executed");
        let mut process = self.process();
        let child = process.insert(child);
        let ready = wait_for("postgres to start", || {
            if child.try_wait().expect("it is our child").is_some() {
                return Some(false);
            }
            // The eighth line of this file is the server's state: <https://www.postgresql.org/docs/15/app-pg-ctl.html>.
            let pid_file = fs::read_to_string(self.pid_path()).ok()?;
            let state = pid_file.lines().nth(7)?.trim();
            (state == "ready").then_some(true)
        });
        if !ready {
            *process = None;
        }
        ready
    }

    /// Stops it and waits for its end. Does nothing if it does not run.
    pub fn stop(&self, how: Stop) {
        let Some(mut child) = self.process().take() else {
            return;
        };
        let signal = match how {
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
            Stop::Kill => Signal::KILL,
        };
        signal_process(child.id(), signal).expect("it is our child, and not waited for");
        wait_for("postgres to end", || {
            child.try_wait().expect("it is our child")
        });
        if how == Stop::Kill {
            // It could not remove it itself, and its process id will be somebody else's one day.
            let _ = fs::remove_file(self.pid_path());
        }
    }

    /// Sends a signal to the server's first process, such as STOP and CONT.
    pub fn signal(&self, signal: Signal) {
        let process = self.process();
        let child = process.as_ref().expect("postgres runs");
        signal_process(child.id(), signal).expect("it is our child, and not waited for");
    }

    /// The id of the server's first process.
    pub(super) fn id(&self) -> u32 {
        self.process().as_ref().expect("postgres runs").id()
    }

    /// One of Postgres's programs, as the server's user.
    pub(super) fn program(&self, name: &str) -> Command {
        self.binaries.command(name)
    }

    /// `postgres://…` over TCP.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable",
            self.port
        )
    }

    /// `postgres://…` over the Unix socket.
    pub fn socket_url(&self, database: &str) -> String {
        format!(
            "postgres://postgres@/{database}?host={}&port={}&sslmode=disable",
            self.socket_folder().display(),
            self.port
        )
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// A connection string for Postgres's own programs.
    pub(super) fn conninfo(&self, application_name: &str) -> String {
        format!(
            "host={} port={} user=postgres application_name={application_name}",
            self.socket_folder().display(),
            self.port
        )
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn socket_folder(&self) -> &Path {
        self.data.parent().expect("it lies in the cluster's folder")
    }

    fn log_path(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    fn pid_path(&self) -> PathBuf {
        self.data.join("postmaster.pid")
    }
}

impl Drop for PgServer {
    fn drop(&mut self) {
        self.stop(Stop::Immediate);
    }
}

pub(super) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("there is a free port")
        .port()
}
