//! The folder of the private Postgres: made once, all or nothing, and how its server and clients name it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use rustix::fs::{Mode, OFlags};
use tokio::time::{Instant, sleep};

use super::account::Account;
use super::disk;
use super::error::Error;
use super::folder::{Folder, sync_folder};
use super::programs::Programs;

/// The role that `initdb` makes, the owner of everything.
pub(super) const ROLE: &str = "portolan";

/// The database that every cluster has; this one holds nothing else.
pub(super) const DATABASE: &str = "postgres";

/// `sun_path` of `sockaddr_un` less its closing zero (unix(7)).
const SOCKET_PATH_MAX: usize = 107;

/// The name every client of Postgres expects for its default port.
const SOCKET_NAME: &str = "/.s.PGSQL.5432";

/// How much of a program's output an error repeats.
const OUTPUT_LINES: usize = 12;

/// An opened cluster folder.
///
/// The server is given the folder as an inherited descriptor, `/proc/self/fd/N`, and makes its socket by a name
/// relative to it. So neither the rights of the folders above (root's home is closed to the account that Postgres
/// runs as) nor the length of the path (a socket's may have 107 bytes) matters.
#[derive(Debug)]
pub(super) struct Cluster {
    path: PathBuf,
    opened: OwnedFd,
    identity: String,
}

impl Cluster {
    /// Where the cluster of a data folder lies.
    pub(super) fn path_in(folder: &Folder) -> PathBuf {
        folder.file("postgres")
    }

    /// Opens the cluster; makes it at the first start.
    pub(super) async fn open_or_make(
        folder: &Folder,
        programs: &Programs,
        account: Account,
    ) -> Result<Self, Error> {
        let path = Self::path_in(folder);
        if !path.exists() {
            Self::make(folder, &path, programs, account).await?;
        }
        Self::open(path)
    }

    fn open(path: PathBuf) -> Result<Self, Error> {
        let metadata = fs::metadata(&path).map_err(Error::io("open", &path))?;
        // Without CLOEXEC: the programs of Postgres inherit it.
        let opened = rustix::fs::open(&path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .map_err(|errno| Error::io("open", &path)(errno.into()))?;
        let identity = format!("portolan.folder={}:{}", metadata.dev(), metadata.ino());
        Ok(Self {
            path,
            opened,
            identity,
        })
    }

    async fn make(
        folder: &Folder,
        path: &Path,
        programs: &Programs,
        account: Account,
    ) -> Result<(), Error> {
        remove_unfinished(folder).await?;
        disk::require(folder.path(), disk::INITDB)?;
        // Under another name until it is whole; an error or a signal on the way removes it.
        let staged = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(folder.path())
            .map_err(Error::io("make a folder in", folder.path()))?;
        account.give(staged.path())?;
        let cluster = Self::open(staged.path().to_path_buf())?;
        let output = account
            .command(&programs.program("initdb"))
            .args(["--no-locale", "--encoding=UTF8", "--username", ROLE])
            // Who may enter the folder may use the socket in it: only the account itself, and root.
            .args(["--auth-local=trust", "--auth-host=reject"])
            .arg("--pgdata")
            .arg(cluster.inherited_path())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(Error::io("run", programs.program("initdb")))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            if disk::is_full(&text) {
                return Err(disk::full(folder.path(), disk::INITDB));
            }
            return Err(Error::Initdb {
                path: path.to_path_buf(),
                output: last_lines(&text, OUTPUT_LINES),
            });
        }
        fs::rename(staged.path(), path).map_err(Error::io("put in place", path))?;
        // The folder that it would remove has another name now.
        let _ = staged.keep();
        sync_folder(folder.path())
    }

    /// Where it is, absolute.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder as a child of this process can name it.
    pub(super) fn inherited_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.opened.as_raw_fd()))
    }

    /// An argument of its server that tells it from every other Postgres of the machine.
    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// The URL of its database for clients in this process.
    pub(super) fn url(&self) -> String {
        let mut folder = self.path.clone();
        if folder.as_os_str().len() + SOCKET_NAME.len() > SOCKET_PATH_MAX {
            folder = self.inherited_path();
        }
        let host = percent_encoding::percent_encode(
            folder.as_os_str().as_encoded_bytes(),
            percent_encoding::NON_ALPHANUMERIC,
        );
        format!("postgres://{ROLE}@/{DATABASE}?host={host}&sslmode=disable")
    }
}

const UNFINISHED: &str = "postgres.new-";

/// An `initdb` outlives the start that was killed, and goes on writing; it takes a second, on a busy machine some.
const INITDB_ENDS: Duration = Duration::from_secs(20);

/// Removes what a start that was killed inside `initdb` left.
async fn remove_unfinished(folder: &Folder) -> Result<(), Error> {
    let deadline = Instant::now() + INITDB_ENDS;
    let entries = fs::read_dir(folder.path()).map_err(Error::io("read", folder.path()))?;
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            continue;
        }
        while let Err(error) = fs::remove_dir_all(entry.path()) {
            // A file came while the others went.
            let grows = error.kind() == io::ErrorKind::DirectoryNotEmpty;
            if !grows || Instant::now() >= deadline {
                return Err(Error::io("remove", entry.path())(error));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// The last `count` lines that are not empty.
pub(super) fn last_lines(text: &str, count: usize) -> String {
    let mut lines: Vec<&str> = text
        .lines()
        .rev()
        .filter(|line| !line.trim().is_empty())
        .take(count)
        .collect();
    lines.reverse();
    lines.join("\n")
}
