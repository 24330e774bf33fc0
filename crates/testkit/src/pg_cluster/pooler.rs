//! A real pgbouncer in transaction mode: a session of the server is lent for one transaction, then to somebody else.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Stdio,
};

use super::{binaries::Binaries, database::Session, server::free_port};
use crate::children::{Guarded, wait_for};

/// How to get what is missing.
const INSTALL: &str = "pgbouncer is needed: `apt-get install pgbouncer`, or have it in PATH";

/// The user who may give it orders; the one that every cluster of the tests has.
const OPERATOR: &str = "postgres";

/// A pooler in front of one server at a time. Stopped when dropped.
#[derive(Debug)]
pub struct PgBouncer {
    process: Guarded,
    binaries: Binaries,
    folder: PathBuf,
    port: u16,
}

impl PgBouncer {
    pub(super) fn start(
        binaries: &Binaries,
        folder: PathBuf,
        server: SocketAddr,
        users: &[&str],
    ) -> Self {
        fs::create_dir(&folder).expect("the cluster's folder can be written to");
        binaries.own(&folder);
        let users = [OPERATOR].iter().chain(users);
        let lines: Vec<String> = users.map(|user| format!("\"{user}\" \"\"\n")).collect();
        binaries.write(&folder.join("users"), &lines.concat());
        // Between our look and its bind somebody else may take the port.
        for _ in 0..5 {
            let port = free_port();
            configure(binaries, &folder, port, server);
            let mut process = Guarded::spawn("pgbouncer", &mut command(binaries, &folder));
            let ready = wait_for("pgbouncer to listen", || {
                if process.ended().is_some() {
                    return Some(false);
                }
                TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                    .is_ok()
                    .then_some(true)
            });
            if ready {
                return Self {
                    process,
                    binaries: binaries.clone(),
                    folder,
                    port,
                };
            }
        }
        panic!("pgbouncer does not start:\n{}", read_log(&folder));
    }

    /// Leads to `server` from now on. Transactions that are under way end where they are.
    pub async fn point_at(&self, server: SocketAddr) {
        configure(&self.binaries, &self.folder, self.port, server);
        let console = Session::open(&self.url_as(OPERATOR, "pgbouncer"))
            .await
            .unwrap_or_else(|error| panic!("no console: {error:?}\n{}", self.log()));
        let read = console.simple_query("RELOAD").await;
        read.unwrap_or_else(|error| panic!("not read: {error:?}\n{}", self.log()));
    }

    /// `postgres://…` of a database through it.
    pub fn url(&self, database: &str) -> String {
        self.url_as(OPERATOR, database)
    }

    /// The same by another user's name.
    pub fn url_as(&self, user: &str, database: &str) -> String {
        let address = self.address();
        format!("postgres://{user}@{address}/{database}?sslmode=disable")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The process, for signals.
    pub fn process(&self) -> &Guarded {
        &self.process
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        read_log(&self.folder)
    }
}

fn configure(binaries: &Binaries, folder: &Path, port: u16, server: SocketAddr) {
    let users = folder.join("users");
    let configuration = format!(
        "[databases]\n\
         * = host={host} port={to_port}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = trust\n\
         auth_file = {users}\n\
         admin_users = {OPERATOR}\n\
         pool_mode = transaction\n\
         ; What drivers send that a session lent for one transaction cannot keep.\n\
         ignore_startup_parameters = extra_float_digits,options\n\
         max_client_conn = 500\n\
         default_pool_size = 20\n\
         ; A server that was away is tried again soon: a test does not wait a quarter of a minute.\n\
         server_login_retry = 1\n",
        host = server.ip(),
        to_port = server.port(),
        users = users.display(),
    );
    binaries.write(&folder.join("pgbouncer.ini"), &configuration);
}

fn command(binaries: &Binaries, folder: &Path) -> std::process::Command {
    let log = File::create(folder.join("log")).expect("a file in our own folder");
    let mut command = binaries.command_of(find());
    command
        .arg(folder.join("pgbouncer.ini"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file can be opened twice"))
        .stderr(log);
    command
}

/// Debian puts it where only root's `PATH` leads.
fn find() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|folder| folder.join("pgbouncer"))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{INSTALL}"))
}

fn read_log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}
