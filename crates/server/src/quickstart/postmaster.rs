//! The private Postgres while it runs: start, wait, stop, and the one that an earlier start left behind.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::account::Account;
use super::cluster::{Cluster, last_lines};
use super::disk;
use super::error::Error;
use super::folder::Folder;
use super::guard::Guard;
use super::programs::Programs;

/// Settings of a server with one client on one machine; everything else stays as PostgreSQL ships it.
const SETTINGS: [&str; 7] = [
    // Reached by the socket in its own folder, and by nothing else.
    "listen_addresses=",
    "unix_socket_directories=.",
    "unix_socket_permissions=0700",
    "port=5432",
    // One process takes at most 8; the rest is for a curious `psql`.
    "max_connections=25",
    // A laptop should not find a gigabyte of old log; 256 MiB still spreads checkpoints.
    "max_wal_size=256MB",
    "log_timezone=UTC",
];

/// Time between two looks at a condition that nobody signals.
const LOOK: Duration = Duration::from_millis(20);

/// A shutdown checkpoint writes what is dirty (at most `shared_buffers`, 128 MiB): seconds on a slow disk.
const FAST_STOP: Duration = Duration::from_secs(20);

/// An immediate shutdown writes nothing; Postgres itself kills its children after 5 s.
const IMMEDIATE_STOP: Duration = Duration::from_secs(8);

/// A log longer than this is put aside at the next start; so two of them bound what it takes.
const LOG_BYTES: u64 = 4 << 20;

/// How much of the log an error repeats.
const LOG_LINES: usize = 8;

/// A running server, its guard beside it.
#[derive(Debug)]
pub(super) struct Postmaster {
    child: Child,
    guard: Guard,
    log: Log,
}

impl Postmaster {
    /// Starts the server, its guard first. Dropped, the guard stops it.
    pub(super) async fn spawn(
        folder: &Folder,
        cluster: &Cluster,
        programs: &Programs,
        account: Account,
    ) -> Result<Self, Error> {
        disk::require(folder.path(), disk::START)?;
        let log = Log::open(folder)?;
        let mut guard = Guard::start(account)?;
        let child = command(cluster, programs, account)
            .stderr(log.writer()?)
            .spawn()
            .map_err(Error::io("run", programs.program("postgres")))?;
        if let Some(process) = child.id() {
            guard.watch(process).await?;
        }
        Ok(Self { child, guard, log })
    }

    /// Waits until the server takes connections; recovery after a crash may take its time. Cancel safe.
    pub(super) async fn ready(&mut self, cluster: &Cluster) -> Result<(), Error> {
        let file = cluster.path().join("postmaster.pid");
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.log.explain(status));
            }
            if fs::read_to_string(&file).is_ok_and(|text| is_ready(&text)) {
                return Ok(());
            }
            sleep(LOOK).await;
        }
    }

    /// Waits until the server ends by itself, which it should not. Cancel safe.
    pub(super) async fn ended(&mut self) -> Error {
        let status = match self.child.wait().await {
            Ok(status) => status,
            Err(error) => return Error::io("wait for", "postgres")(error),
        };
        self.log.explain(status)
    }

    /// Stops the server and returns when it is gone.
    pub(super) async fn stop(mut self) {
        for (signal, patience) in [(Signal::INT, FAST_STOP), (Signal::QUIT, IMMEDIATE_STOP)] {
            if let Some(process) = self.child.id().and_then(pid) {
                // It may just have ended; then the wait below returns at once.
                let _ = kill_process(process, signal);
            }
            if timeout(patience, self.child.wait()).await.is_ok() {
                break;
            }
        }
        // Nothing happens to one that has ended.
        let _ = self.child.kill().await;
        self.guard.release().await;
    }
}

fn command(cluster: &Cluster, programs: &Programs, account: Account) -> Command {
    let mut command = account.command(&programs.program("postgres"));
    command.arg("-D").arg(cluster.inherited_path());
    for setting in SETTINGS.iter().copied().chain([cluster.identity()]) {
        command.args(["-c", setting]);
    }
    // A group of its own: Ctrl-C is for us, who stop Postgres after the last request is answered.
    command.stdout(Stdio::null()).process_group(0);
    command
}

/// The eighth line of `postmaster.pid` is the server's state (its miscadmin.h, `LOCK_FILE_LINE_PM_STATUS`).
fn is_ready(postmaster_pid: &str) -> bool {
    postmaster_pid
        .lines()
        .nth(7)
        .is_some_and(|line| line.trim() == "ready")
}

/// Stops a server that outlived an earlier start, and forgets one that is gone.
///
/// Postgres believes a stale `postmaster.pid` whenever *any* process of its account has that number, so that it
/// would refuse to start after a power cut, or in a container whose dead are not collected. We hold the folder's
/// lock and know our own server by its arguments, so we can tell.
pub(super) async fn stop_left_over(cluster: &Cluster) -> Result<(), Error> {
    let file = cluster.path().join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&file) else {
        return Ok(());
    };
    let number: Option<i32> = text
        .lines()
        .next()
        .and_then(|line| line.trim().parse().ok());
    if let Some(number) = number {
        let process = u32::try_from(number).ok().and_then(pid);
        for signal in [Signal::INT, Signal::QUIT, Signal::KILL] {
            if !runs(number, cluster) {
                break;
            }
            if let Some(process) = process {
                let _ = kill_process(process, signal);
            }
            let gone = async {
                while runs(number, cluster) {
                    sleep(LOOK).await;
                }
            };
            let _ = timeout(IMMEDIATE_STOP, gone).await;
        }
        if runs(number, cluster) {
            return Err(Error::LeftOver {
                path: cluster.path().to_path_buf(),
                process: number,
            });
        }
    }
    match fs::remove_file(&file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", file)(error))
        }
        _ => Ok(()),
    }
}

/// Whether the process is a living server of this very folder. A dead one that nobody waited for has no arguments.
fn runs(process: i32, cluster: &Cluster) -> bool {
    let arguments = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let by_hand = cluster.path().as_os_str().as_encoded_bytes();
    arguments
        .split(|byte| *byte == 0)
        .any(|argument| argument == cluster.identity().as_bytes() || argument == by_hand)
}

fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

/// `postgres.log`, and where this start's part of it begins.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
    start: u64,
}

impl Log {
    fn open(folder: &Folder) -> Result<Self, Error> {
        let path = folder.file("postgres.log");
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > LOG_BYTES) {
            fs::rename(&path, folder.file("postgres.log.1")).map_err(Error::io("rename", &path))?;
        }
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let start = file.metadata().map_err(Error::io("read", &path))?.len();
        Ok(Self { path, file, start })
    }

    fn writer(&self) -> Result<Stdio, Error> {
        let copy = self
            .file
            .try_clone()
            .map_err(Error::io("open", &self.path))?;
        Ok(copy.into())
    }

    /// Why the server ended, from what it wrote since this start.
    fn explain(&self, status: ExitStatus) -> Error {
        let text = self.text().unwrap_or_default();
        if disk::is_full(&text) {
            return disk::full(self.path.parent().unwrap_or(Path::new("/")), disk::START);
        }
        Error::PostgresEnded {
            status,
            log: self.path.clone(),
            tail: last_lines(&text, LOG_LINES),
        }
    }

    /// At most the last 64 KiB: more lines than an error repeats.
    fn text(&self) -> std::io::Result<String> {
        let end = self.file.metadata()?.len();
        let from = self.start.max(end.saturating_sub(64 << 10));
        let mut bytes = vec![0; usize::try_from(end - from).unwrap_or_default()];
        self.file.read_exact_at(&mut bytes, from)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::is_ready;

    #[test]
    fn ready_is_read_from_the_eighth_line_only() {
        let head = "4711\n/proc/self/fd/9\n1795395629\n5432\n.\n\n 10281004         4\n";
        assert!(is_ready(&format!("{head}ready   \n")));
        assert!(!is_ready(&format!("{head}starting\n")));
        assert!(!is_ready(head));
        assert!(!is_ready("4711\n"));
    }
}
